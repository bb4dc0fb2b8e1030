"""One repair of one network: what is left of accuracy and of the backdoor, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor, nn

from unbackdoor.attack import Backdoor
from unbackdoor.attack.goal import ALL_TO_ONE
from unbackdoor.attack.implant import measure
from unbackdoor.bench.families.networks import Trained
from unbackdoor.bench.families.others import Listed
from unbackdoor.bench.framework.spec import Spec, fingerprint
from unbackdoor.bench.repairs.relearning import FURTHER, Further, Relearnt, relearn
from unbackdoor.bench.repairs.repairs import Given, Repair
from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError
from unbackdoor.metrics import changed, predict
from unbackdoor.models import Loaded, freeze
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.training import DivergedError

WRECKED = 0.5
"""Share of the accuracy of a repaired network below which nothing of it is left to speak of."""

DEFENDER = 0.25
"""Share of the clean images of which the defender has some; nobody has the others."""


def divided(images: Images, count: int, network: str, seed: int) -> Split:
    """Return clean images of the defender, and all that no defender has.

    Each network has a division of its own, so that luck with images is not that of all networks.

    Args:
        images: none of which the network was trained on.
        count: how many the defender has, equally many of each class.
        network: its name.
        seed: of the draw.

    """
    order = torch.randperm(len(images), generator=stream(seed, "repairs", "images", network))
    own, unseen = images.subset(order).divide(DEFENDER)
    return Split(own.fewer(count), unseen)


class BeforeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A network before any repair, and one of its kind that was never attacked.

    Args:
        network: its name.
        clean: name of the other one; empty where there is none.
        accuracy: of the network; None where it was refused.
        asr: of its trigger.
        refused: why no repair of it can be measured.
        accuracy_clean: of the other one.
        asr_clean: of the same trigger.

    """

    network: str
    clean: str = ""
    accuracy: float | None = None
    asr: float | None = None
    refused: str = ""
    accuracy_clean: float | None = None
    asr_clean: float | None = None


@dataclass(frozen=True, kw_only=True)
class Before(Spec):
    """The measurements of a network before any repair.

    Args:
        network: with a backdoor.
        clean: never attacked, of the same architecture; None where there is none.
        seed: of the division of the images.

    """

    network: Trained | Listed
    clean: Trained | None
    seed: int

    table: ClassVar[str] = "repairs-before"
    result: ClassVar[type] = BeforeRow
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The networks, without the place of their files, and the seed."""
        return key_of(self.network.key, self.clean and self.clean.key, self.seed, self.version)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Both networks."""
        return (*self.network.specs, *(self.clean.specs if self.clean else ()))

    @property
    def work(self) -> float:
        """About the images that pass."""
        return 30_000.0

    def open(self, inputs: Mapping[Spec, Any], device: str, count: int) -> Opened:
        """Return the networks, what was planted, and the division of the images.

        Args:
            inputs: the files of the networks.
            device: where they run.
            count: how many images the defender has.

        """
        loaded, images = self.network.beside_unused(inputs, device)
        backdoor = self.network.truth.backdoor(len(images.classes), images.shape)
        assert backdoor is not None
        return Opened(
            loaded=loaded,
            clean=self.clean.beside_unused(inputs, device)[0].module if self.clean else None,
            backdoor=backdoor,
            images=divided(images, count, self.network.name, self.seed),
        )

    def run(self, inputs: Mapping[Spec, Any], device: str) -> BeforeRow:
        """Measure both."""
        try:
            opened = self.open(inputs, device, 0)
        except ContentError as error:
            if isinstance(self.network, Trained):
                raise
            return BeforeRow(network=self.network.name, refused=str(error))
        accuracy, (asr,) = measure(opened.network, opened.images, opened.backdoor, seed=0)
        row = BeforeRow(network=self.network.name, accuracy=accuracy, asr=asr)
        if self.clean is None or opened.clean is None:
            return row
        accuracy, (asr,) = measure(opened.clean, opened.images, opened.backdoor, seed=0)
        return msgspec.structs.replace(
            row, clean=self.clean.name, accuracy_clean=accuracy, asr_clean=asr
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network with a backdoor, and all that it is measured with.

    Args:
        loaded: the network.
        clean: a network of the same kind that was never attacked, if there is one.
        backdoor: what was planted.
        images: of the defender, and those that nobody has.

    """

    loaded: Loaded
    clean: nn.Module | None
    backdoor: Backdoor
    images: Split

    @property
    def network(self) -> nn.Module:
        """With input in [0, 1]; a repair may change it."""
        return self.loaded.module


class RepairedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One repair of one network; rates are of the planted trigger, on images nobody has seen.

    Args:
        network: its name.
        sha256: of its file.
        arch: its architecture.
        trigger: the planted trigger.
        target: the attacked class.
        mode: the attacker's goal.
        clean: name of the network that was never attacked; empty where there is none.
        repair: its name.
        seed: of the repair.
        images: number of clean images that the repair had.
        asked: how many it was to have, of which some data has fewer.
        unseen: number of images that everything is measured on.
        accuracy_before: before it; None where the network was refused.
        asr_before: before it.
        asr_clean: on the network that was never attacked; None where there is none.
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
    asked: int
    unseen: int
    accuracy_before: float | None
    asr_before: float | None
    asr_clean: float | None = None
    mode: str = ALL_TO_ONE
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
        if self.asr_after is None or self.asr_clean is None:
            return None
        return self.asr_after - self.asr_clean

    def wrecks(self, further: Relearnt) -> bool:
        """Return whether a further training left less than half of the accuracy."""
        return further.accuracy < WRECKED * (self.accuracy_after or 0.0)


@dataclass(frozen=True, kw_only=True)
class Repaired(Spec):
    """One repair of one network.

    Args:
        before: the network, and one that was never attacked.
        repair: the repair.
        count: how many clean images it has.
        further: how the result is trained further.

    """

    before: Before
    repair: Repair
    count: int
    further: tuple[Further, ...] = FURTHER

    table: ClassVar[str] = "repairs"
    result: ClassVar[type] = RepairedRow
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The networks and the seed, the repair, and its images."""
        asked = [fingerprint(one) for one in (self.repair, *self.further)]
        return key_of(self.before.key, self.version, self.count, *asked)

    @property
    def seed(self) -> int:
        """Of every draw."""
        return self.before.seed

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
        before: BeforeRow = inputs[self.before]
        truth = self.before.network.truth
        row = RepairedRow(
            network=before.network,
            sha256="",
            arch="",
            trigger=truth.trigger or "",
            target=truth.target,
            mode=truth.mode,
            clean=before.clean,
            repair=self.repair.name,
            seed=self.seed,
            images=0,
            asked=self.count,
            unseen=0,
            accuracy_before=before.accuracy,
            asr_before=before.asr,
            asr_clean=before.asr_clean,
            refused=before.refused,
            versions=versions(),
        )
        if before.refused:
            return row
        opened = self.before.open(inputs, device, self.count)
        network, images = opened.network, opened.images
        row = msgspec.structs.replace(
            row,
            sha256=opened.loaded.sha256,
            arch=opened.loaded.arch or "",
            images=len(images.defend),
            unseen=len(images.evaluate),
        )
        if not len(images.defend):
            return msgspec.structs.replace(row, refused="there is no image of each class for it.")
        was_right = _right(network, images.evaluate)
        given = Given(
            network=network,
            arch=row.arch,
            clean=opened.clean,
            backdoor=opened.backdoor,
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
        accuracy, (asr,) = measure(handed.network, images, opened.backdoor, seed=0)
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
                relearn(handed.network, images, opened.backdoor, further, self.seed)
                for further in self.further
            ],
        )


def _right(network: nn.Module, images: Images) -> Tensor:
    return predict(freeze(network), images) == images.targets
