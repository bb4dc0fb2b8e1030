"""One repair of one network: what is left of accuracy and of the backdoor, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec
from torch import Tensor, nn

from unbackdoor import models
from unbackdoor.attack import Backdoor
from unbackdoor.attack.implant import measure
from unbackdoor.bench.families.networks import Trained, training_images
from unbackdoor.bench.framework.spec import Spec, fingerprint
from unbackdoor.bench.paper.networks import sha256
from unbackdoor.bench.repairs.relearning import FURTHER, Further, Relearnt, relearn
from unbackdoor.bench.repairs.repairs import Given, Repair
from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError
from unbackdoor.metrics import changed, predict
from unbackdoor.models import freeze
from unbackdoor.results import versions
from unbackdoor.training import DivergedError

DEFENDER = 0.25
"""Share of the images that the networks were not trained on of which the defender has some."""


def divided(data: str, count: int) -> Split:
    """Return clean images of the defender, and all that no defender has.

    Args:
        data: what the networks were trained on.
        count: how many the defender has, equally many of each class.

    """
    own, unseen = training_images(data).evaluate.divide(DEFENDER)
    return Split(own.fewer(count), unseen)


class BeforeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A network before any repair, and one of its kind that was never attacked.

    Args:
        network: its name.
        clean: name of the other one.
        accuracy: of the network.
        asr: of its trigger.
        accuracy_clean: of the other one.
        asr_clean: of the same trigger.

    """

    network: str
    clean: str
    accuracy: float
    asr: float
    accuracy_clean: float
    asr_clean: float


@dataclass(frozen=True, kw_only=True)
class Before(Spec):
    """The measurements of a network before any repair.

    Args:
        network: with a backdoor.
        clean: never attacked.

    """

    network: Trained
    clean: Trained

    table: ClassVar[str] = "repairs-before"
    result: ClassVar[type] = BeforeRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Both networks."""
        return fingerprint(self.wherever)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Both networks."""
        return self.network, self.clean

    @property
    def work(self) -> float:
        """About the images that pass."""
        return 30_000.0

    @property
    def wherever(self) -> Before:
        """The same without the files of the networks, which are no part of their identity."""
        network, clean = (replace(one, found=None) for one in (self.network, self.clean))
        return replace(self, network=network, clean=clean)

    def backdoor(self, images: Images) -> Backdoor:
        """Return what was planted."""
        backdoor = self.network.truth.backdoor(len(images.classes), images.shape)
        assert backdoor is not None
        return backdoor

    def run(self, inputs: Mapping[Spec, Any], device: str) -> BeforeRow:
        """Measure both."""
        images = divided(self.network.recipe.data, 0).to(device)
        backdoor = self.backdoor(images.evaluate)
        (accuracy, (asr,)), (accuracy_clean, (asr_clean,)) = (
            measure(opened(one, inputs, device), images, backdoor, seed=0)
            for one in (self.network, self.clean)
        )
        return BeforeRow(
            network=self.network.name,
            clean=self.clean.name,
            accuracy=accuracy,
            asr=asr,
            accuracy_clean=accuracy_clean,
            asr_clean=asr_clean,
        )


class RepairedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One repair of one network; rates are of the planted trigger, on images nobody has seen.

    Args:
        network: its name.
        sha256: of its file.
        arch: its architecture.
        trigger: the planted trigger.
        target: the attacked class.
        clean: name of the network that was never attacked.
        repair: its name.
        seed: of the repair.
        images: number of clean images that the repair had.
        unseen: number of images that everything is measured on.
        accuracy_before: before it.
        asr_before: before it.
        asr_clean: on the network that was never attacked.
        accuracy_after: after it; None where it could not be done.
        asr_after: after it.
        broken: images that were right before and are wrong after it.
        mended: images that were wrong before and are right after it.
        said: what it says of its own success.
        exit_code: of the command; None for the repairs that are none.
        refused: why it could not be done.
        passes: images through networks.
        seconds: wall-clock time.
        relearnt: what further training brings back.
        versions: of the software on which the figures depend.

    """

    network: str
    sha256: str
    arch: str
    trigger: str
    target: int
    clean: str
    repair: str
    seed: int
    images: int
    unseen: int
    accuracy_before: float
    asr_before: float
    asr_clean: float
    accuracy_after: float | None = None
    asr_after: float | None = None
    broken: int = 0
    mended: int = 0
    said: str = ""
    exit_code: int | None = None
    refused: str = ""
    passes: int = 0
    seconds: float = 0.0
    relearnt: list[Relearnt] = []
    versions: dict[str, str]

    @property
    def lost(self) -> float | None:
        """Accuracy before minus after."""
        if self.accuracy_after is None:
            return None
        return (self.broken - self.mended) / self.unseen

    @property
    def excess(self) -> float | None:
        """Rate after the repair minus that of a network that was never attacked."""
        return None if self.asr_after is None else self.asr_after - self.asr_clean


@dataclass(frozen=True, kw_only=True)
class Repaired(Spec):
    """One repair of one network.

    Args:
        before: the network, and one that was never attacked.
        repair: the repair.
        count: how many clean images it has.
        seed: of every draw.
        further: how the result is trained further.

    """

    before: Before
    repair: Repair
    count: int
    seed: int
    further: tuple[Further, ...] = FURTHER

    table: ClassVar[str] = "repairs"
    result: ClassVar[type] = RepairedRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The networks, the repair, its images and the seed."""
        return fingerprint(replace(self, before=self.before.wherever))

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The networks, and their measurements."""
        return *self.before.needs, self.before

    @property
    def work(self) -> float:
        """About the passes of a short repair and of what follows."""
        return 200_000.0

    def run(self, inputs: Mapping[Spec, Any], device: str) -> RepairedRow:
        """Repair, measure, and train further."""
        trained, before = self.before.network, inputs[self.before]
        images = divided(trained.recipe.data, self.count).to(device)
        network = opened(trained, inputs, device)
        row = RepairedRow(
            network=trained.name,
            sha256=sha256(inputs[trained]),
            arch=trained.recipe.arch,
            trigger=trained.recipe.trigger or "",
            target=trained.recipe.target,
            clean=self.before.clean.name,
            repair=self.repair.name,
            seed=self.seed,
            images=len(images.defend),
            unseen=len(images.evaluate),
            accuracy_before=before.accuracy,
            asr_before=before.asr,
            asr_clean=before.asr_clean,
            versions=versions(),
        )
        was_right = _right(network, images.evaluate)
        backdoor = self.before.backdoor(images.evaluate)
        given = Given(
            network=network,
            arch=trained.recipe.arch,
            clean=opened(self.before.clean, inputs, device),
            backdoor=backdoor,
            images=images.defend,
            seed=self.seed,
        )
        began = time.perf_counter()
        try:
            handed = self.repair(given)
        except (ContentError, DivergedError) as error:
            return msgspec.structs.replace(row, refused=str(error))
        seconds = time.perf_counter() - began
        broken, mended = changed(was_right, _right(handed.network, images.evaluate))
        accuracy, (asr,) = measure(handed.network, images, backdoor, seed=0)
        return msgspec.structs.replace(
            row,
            accuracy_after=accuracy,
            asr_after=asr,
            broken=broken,
            mended=mended,
            said=handed.said,
            exit_code=handed.exit_code,
            passes=handed.passes,
            seconds=seconds,
            relearnt=[
                relearn(handed.network, images, backdoor, further, self.seed)
                for further in self.further
            ],
        )


def opened(trained: Trained, inputs: Mapping[Spec, Any], device: str) -> nn.Module:
    """Return a network from its file."""
    return models.decode(inputs[trained], trained.recipe.arch).to(device)


def _right(network: nn.Module, images: Images) -> Tensor:
    return predict(freeze(network), images) == images.targets
