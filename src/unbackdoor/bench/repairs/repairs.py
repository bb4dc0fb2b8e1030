"""The repairs that are compared: ours, with what it finds or what was planted, and those of others.

All have the same clean images, of which ours has to hold some back: to judge, to watch the repair
and to scan again. The rivals train on all of them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import nn

from unbackdoor.attack import Backdoor
from unbackdoor.data import Images, Split
from unbackdoor.data.catalogue import FOLDER_DEFEND_SHARE
from unbackdoor.errors import ContentError, InsufficientDataError
from unbackdoor.models import Loaded
from unbackdoor.repairing import How, Lesson, unlearn
from unbackdoor.repairing.guard import train_last
from unbackdoor.repairing.plan import always
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.clp import ClpSettings
from unbackdoor.repairing.rivals.fine_pruning import PruningSettings
from unbackdoor.repairing.rivals.fine_tuning import TUNING, TuningSettings
from unbackdoor.repairing.rivals.fst import FstSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.repairing.rivals.registry import RIVALS, RivalSettings
from unbackdoor.repairing.rivals.sau import SauSettings
from unbackdoor.repairing.settings import (
    GUARD,
    REPAIR,
    SHORT_STEPS,
    TABLES,
    Attempt,
    GuardSettings,
    RepairSettings,
)
from unbackdoor.report.words import headline
from unbackdoor.results import verdict
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Silent
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import BUDGETS, ScanSettings, Terms
from unbackdoor.subject import Subject
from unbackdoor.training import DivergedError
from unbackdoor.triggers import AUTO
from unbackdoor.verdict.bag import ours


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a repair is given.

    Args:
        network: with a backdoor; it may be changed in place.
        arch: its architecture.
        clean: a network of the same kind that was never attacked, for the control that takes it;
            None where there is none.
        backdoor: what was planted, for the control that unlearns it.
        images: clean images with true labels.
        seed: of every draw.

    """

    network: nn.Module
    arch: str
    clean: nn.Module | None
    backdoor: Backdoor
    images: Images
    seed: int


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a repair hands back.

    Args:
        network: to be used from now on.
        passes: images through networks, forward and backward passes of a scan included.
        said: what it says of its own success; empty for those that say nothing.
        exit_code: of the command that does the same; None where there is none.

    """

    network: nn.Module
    passes: int
    said: str = ""
    exit_code: int | None = None


class Repair(Protocol):
    """A repair; implementations are frozen dataclasses of its settings."""

    @property
    def name(self) -> str:
        """In the table."""
        ...

    def __call__(self, given: Given) -> Handed:
        """Repair a network.

        Raises:
            ContentError: the network is of no kind that it can repair.

        """
        ...


@dataclass(frozen=True)
class NeverAttacked:
    """The floor: a network of the same kind without a backdoor."""

    @property
    def name(self) -> str:
        """In the table."""
        return "never attacked"

    def __call__(self, given: Given) -> Handed:
        """Hand back the clean network."""
        if given.clean is None:
            raise ContentError("there is no network of this kind that was never attacked.")
        return Handed(network=given.clean, passes=0)


WHOLE = Attempt()
LOWER = (1.0, 0.3, 0.1)
"""Factors of the learning rate, tried in this order."""


@dataclass(frozen=True, kw_only=True)
class Ideal:
    """The optimum: all images are retrained on, with the trigger that was planted.

    There is no guard. Where training diverges, as it can without normalisation, the rate is lowered
    as the guard would lower it.

    Args:
        settings: the recipe.
        attempt: how retraining differs from it; by default not at all.
        label: what the table says of that.

    """

    settings: RepairSettings = TABLES
    attempt: Attempt = field(default=WHOLE, metadata={"later": True})
    label: str = field(default="", metadata={"later": True})

    @property
    def name(self) -> str:
        """In the table."""
        return f"planted trigger, {self.label}" if self.label else "planted trigger"

    def __call__(self, given: Given) -> Handed:
        """Unlearn the planted trigger without any guard."""
        (trigger,) = given.backdoor.triggers
        lesson = Lesson(trigger.space, always(trigger.theta))
        work = Work(seed=given.seed)
        for rate in LOWER:
            network = copy.deepcopy(given.network)
            train_last(network, self.attempt.layers)
            settings = replace(self.attempt, rate=rate * self.attempt.rate).of(self.settings)
            try:
                passes = unlearn(network, given.images, lesson, settings, work)
            except DivergedError:
                continue
            return Handed(network=network, passes=passes)
        raise ContentError("unlearning the planted trigger diverges at every rate.")


@dataclass(frozen=True, kw_only=True)
class Ours:
    """The commands ``scan`` and ``repair``, as a user types them.

    Args:
        space: what is searched.
        unlearning: the recipe.
        guard: how it is watched.
        scanning: how is scanned, before and after.

    """

    space: str = AUTO
    unlearning: RepairSettings = REPAIR
    guard: GuardSettings = GUARD
    scanning: ScanSettings = BUDGETS["standard"]

    @property
    def name(self) -> str:
        """In the table."""
        return "ours"

    def __call__(self, given: Given) -> Handed:
        """Scan, unlearn what was found under guard, and scan again."""
        loaded = Loaded(module=given.network, name="", sha256="", arch=given.arch)
        images = Split(*given.images.divide(FOLDER_DEFEND_SHARE))
        how = How(
            unlearning=self.unlearning,
            guard=self.guard,
            scanning=self.scanning,
            terms=Terms(bag=ours()),
        )
        passes, why = 0, "there are too few images"
        try:
            subject = Subject.of(loaded, images, progress=Silent())
            found = subject.scan(self.space, how.scanning, given.seed, terms=how.terms)
            passes = found.image_passes + found.image_passes_backward
            why = f"the scan is {found.verdict}"  # and has nothing to unlearn
            network, result = subject.repair(found, how, given.seed)
        except InsufficientDataError:
            said = f"No repair: {why}"
            return Handed(network=given.network, passes=passes, said=said, exit_code=3)
        passes += result.image_passes
        scans = [result.rescan, *(one.rescan for one in result.not_taken)]
        passes += sum(one.image_passes_backward for one in scans if one)
        return Handed(
            network=network if result.rescan else given.network,
            passes=passes,
            said=headline(result),
            exit_code=0 if verdict(result) == "clean" else 3,
        )


@dataclass(frozen=True, kw_only=True)
class Other:
    """A repair of other authors.

    Args:
        settings: their type says which.

    """

    settings: RivalSettings

    @property
    def name(self) -> str:
        """In the table."""
        return RIVALS[type(self.settings)].name

    def __call__(self, given: Given) -> Handed:
        """Repair with the clean images alone."""
        rival = RIVALS[type(self.settings)]
        generator = stream(given.seed, "repairs", rival.name)
        passes = rival(given.network, given.images, self.settings, generator=generator)
        return Handed(network=given.network, passes=passes)


SHORT = TUNING.with_epochs(20)
"""Fine-tuning for 20 epochs instead of the usual 100: the networks are small."""
LOW_RATE, LAST_LAYERS = (attempt for attempt in GUARD.attempts if attempt.gentle)
REPAIRS: tuple[Repair, ...] = (
    NeverAttacked(),
    Ideal(),
    Ideal(attempt=LOW_RATE, label="low rate"),
    Ideal(attempt=LAST_LAYERS, label="last layers"),
    Ideal(attempt=Attempt(clip=SHORT_STEPS), label="short steps"),
    Ours(),
    Other(settings=ClpSettings()),
    Other(settings=TuningSettings(training=SHORT)),
    Other(settings=FstSettings()),
    Other(settings=PruningSettings(training=SHORT)),
    Other(settings=SamSettings(training=SHORT)),
    Other(settings=IbauSettings()),
    Other(settings=AnpSettings(steps=400)),
    Other(settings=SauSettings(rounds=8, batch=64, learning_rate=5e-4)),
)
"""The controls, ours, and the others, cheap ones first. Three controls unlearn the planted trigger
with the rate, the layers or the short steps of attempts of the guard and the labels of the one
before them.
Where the published work would take an hour of a processor for each network it is less here: of
fine-tuning and FT-SAM 20 epochs, of ANP 400 steps of 2,000, of SAU a third of the steps at five
times the rate."""
