"""A defence of a backdoored network, and its measurements.

First a clean network is trained, and a backdoor is implanted in it (or a network is trained with
the backdoor from scratch). Then the triggers towards the attacked class, which is known here, are
recovered, and a defence works with clean images that the network has never seen. The planted
trigger is measured on other images, before and after.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec
from torch import nn

from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.paper.attacked import Attacked, current, measure
from unbackdoor.bench.paper.networks import (
    ROUNDS,
    TRAINING,
    Network,
    clean_images,
    defender,
    named_device,
)
from unbackdoor.data import Images
from unbackdoor.models import decode
from unbackdoor.repairing.settings import TABLES, RepairSettings
from unbackdoor.results import versions


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a defence reports about its own work.

    Args:
        passes: images through a network, shared work included.
        seconds: time of shared work that was done before.
        restart: number among several runs that differ only by chance.
        separation: of poisoned and clean training images, as the area under the ROC curve.

    """

    passes: int = 0
    seconds: float = 0.0
    restart: int = 0
    separation: float | None = None


class Defence(Protocol):
    """A defence; subclasses are frozen dataclasses of its settings."""

    @property
    def name(self) -> str:
        """In the table."""
        ...

    def suits(self, network: Network) -> bool:
        """Return whether it can defend a network; most defences always can."""
        del network
        return True

    def needs(self, defended: Defended) -> tuple[Spec, ...]:
        """Return the specs that it needs besides the network; most defences need none."""
        del defended
        return ()

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Change the network in place.

        Args:
            module: the backdoored network.
            defended: the clean images, how to retrain, the seed, and the attacked class; only the
                ideal uses the planted trigger.
            inputs: the results of the specs that it needs.

        """
        ...


class DefenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One defence of one network; rates are of the planted trigger on held-back images.

    Args:
        data: the data set.
        arch: of the network.
        variant: ``implanted`` or ``scratch``, how the backdoor was made.
        trigger: the planted trigger.
        target: the attacked class.
        rate: share of poisoned training images.
        network: SHA-256 of the backdoored network's file.
        defence: its name.
        restart: number among several runs that differ only by chance.
        seed: of the defence.
        images: number of clean images that the defence used.
        evaluated: held-back images of other classes, each stamped in three rounds.
        asr_before: before it.
        asr_after: after it.
        asr_clean: on the clean network.
        excess: ``asr_after − asr_clean``.
        accuracy_clean: of the clean network.
        accuracy_before: before it.
        accuracy_after: after it.
        separation: of poisoned and clean training images, for a defence that uses them.
        passes: images through a network, shared work included.
        seconds: wall-clock time, shared work included.
        device: where networks ran.
        versions: of the software on which the figures depend.

    """

    data: str
    arch: str
    variant: str
    trigger: str
    target: int
    rate: float
    network: str
    defence: str
    restart: int
    seed: int
    images: int
    evaluated: int
    asr_before: float
    asr_after: float
    asr_clean: float
    excess: float
    accuracy_clean: float
    accuracy_before: float
    accuracy_after: float
    separation: float | None = None
    passes: int
    seconds: float
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Defended(Spec):
    """One defence of one network.

    Args:
        network: the backdoored one.
        clean: the clean one, for the floor.
        defence: the defence.
        repair: how the defence retrains.
        count: how many of the clean images it uses; all when left out.
        seed: of every draw.

    """

    network: Network
    clean: Network
    defence: Defence
    repair: RepairSettings = TABLES
    count: int | None = None
    seed: int = 0

    table: ClassVar[str] = "paper"
    result: ClassVar[type] = DefenceRow
    version: ClassVar[int] = 1

    @property
    def before(self) -> Attacked:
        """The same networks before any defence."""
        return Attacked(network=self.network, clean=self.clean)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network, its measurements before, and the needs of the defence."""
        return *self.before.needs, self.before, *self.defence.needs(self)

    @property
    def work(self) -> float:
        """About the passes of retraining and measuring."""
        return self.repair.images_seen * (TRAINING + 1) + 2_000 * (ROUNDS + 1)

    @property
    def images(self) -> Images:
        """The clean images of the defender."""
        return defender(self.network.data, self.count)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> DefenceRow:
        """Defend, and measure."""
        network, before = self.network, current(self.before, inputs, device)
        module = decode(inputs[network], network.arch).to(device)
        began = time.perf_counter()
        outcome = self.defence(module, self, inputs)
        seconds = time.perf_counter() - began + outcome.seconds
        # A defence that passed no image through the network has not changed it.
        asr, correct = measure(module, network) if outcome.passes else (before.asr, before.accuracy)
        held_back = clean_images(network.data).evaluate.targets
        return DefenceRow(
            data=network.data,
            arch=network.arch,
            variant="implanted" if network.start else "scratch",
            trigger=network.trigger or "",
            target=network.target,
            rate=network.rate,
            network=before.network,
            defence=self.defence.name,
            restart=outcome.restart,
            seed=self.seed,
            images=len(self.images),
            evaluated=int((held_back != network.target).sum()),
            asr_before=before.asr,
            asr_after=asr,
            asr_clean=before.asr_clean,
            excess=asr - before.asr_clean,
            accuracy_clean=before.accuracy_clean,
            accuracy_before=before.accuracy,
            accuracy_after=correct,
            separation=outcome.separation,
            passes=outcome.passes,
            seconds=seconds,
            device=named_device(device),
            versions=versions(),
        )
