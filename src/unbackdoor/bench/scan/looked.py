"""What one method says of one network, beside the scan of this package in the same run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from unbackdoor.bench.families.scanned import WORK, FamiliesRow, Network, Scanned
from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.scan.methods import OURS, Peer
from unbackdoor.detectors.evidence import Evidence
from unbackdoor.errors import ContentError
from unbackdoor.models import freeze
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import BUDGETS, ScanSettings
from unbackdoor.triggers import AUTO
from unbackdoor.triggers.registry import parse_space

PATCH = "patch:3"
"""Where methods look that take the kind of trigger as known."""


class ClassFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a method found towards one class.

    Args:
        index: of the class.
        statistic: the number by which it ranks classes, larger for a backdoor.
        asr: of its best trigger on held-back images; None from a method that looks for none.

    """

    index: int
    statistic: float
    asr: float | None = None


class ScanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one network.

    Args:
        network: its name.
        method: short name of the method.
        sha256: of the file of the network.
        arch: its architecture.
        trigger: the planted trigger; None in a clean network.
        family: its family.
        mode: the attacker's goal.
        target: the attacked class; None where each class has its own, or none is attacked.
        planted_asr: of the planted trigger.
        accuracy: on clean images.
        seed: of every draw.
        classes: what the method found; empty for our own scan, and where the network was refused.
        scan: our own scan, in its own row only.
        image_passes: images forward.
        image_passes_backward: images backward.
        seconds: wall-clock time.
        cpu_seconds: time of all processors together, which hardly depends on what else runs.
        our_passes: forward and backward, of our own scan in the same run.
        our_cpu_seconds: of our own scan in the same run.
        versions: of the software on which the figures depend.

    """

    network: str
    method: str
    sha256: str
    arch: str
    trigger: str | None
    family: str | None
    mode: str
    target: int | None
    planted_asr: float | None
    accuracy: float | None
    seed: int
    classes: list[ClassFound] = []
    scan: FamiliesRow | None = None
    image_passes: int = 0
    image_passes_backward: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    our_passes: int
    our_cpu_seconds: float
    versions: dict[str, str]

    @property
    def truth(self) -> Truth:
        """What was planted."""
        return Truth(trigger=self.trigger, mode=self.mode, target=self.target or 0)


@dataclass(frozen=True, kw_only=True)
class Looked(Spec):
    """One method on one network.

    Args:
        network: which.
        peer: the detector of others; None for our own scan.
        seed: of every draw.
        space: what our own scan looks for.
        settings: of our own scan.

    """

    network: Network
    peer: Peer | None
    seed: int
    space: str = AUTO
    settings: ScanSettings = BUDGETS["standard"]

    table: ClassVar[str] = "scan"
    result: ClassVar[type] = ScanRow
    version: ClassVar[int] = 1

    @property
    def ours(self) -> Scanned:
        """Our own scan of the network."""
        return Scanned(
            network=self.network, seed=self.seed, space=self.space, settings=self.settings
        )

    @property
    def key(self) -> str:
        """The network, and the method with its settings and seed."""
        if self.peer is None:
            return key_of(self.version, OURS, self.ours.key)
        detector = self.peer.detector_for(self.network.truth)
        return key_of(self.version, self.network.key, self.peer.key, detector, self.seed)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """What the network needs."""
        return self.network.specs

    @property
    def work(self) -> float:
        """About the passes of a scan."""
        return WORK

    def run(self, inputs: Mapping[Spec, Any], device: str) -> ScanRow:
        """Scan the network ourselves, unless that was just done, then by the method."""
        ours = _scanned(self.ours, tuple(inputs.items()), device)
        if self.peer is None:
            return self._row(
                ours,
                scan=ours,
                image_passes=ours.image_passes,
                image_passes_backward=ours.image_passes_backward,
                seconds=ours.seconds,
                cpu_seconds=ours.cpu_seconds or 0.0,
            )
        try:
            subject = self.network.opened(inputs, device)
        except ContentError:
            return self._row(ours)
        detector = self.peer.detector_for(self.network.truth)
        model = freeze(subject.network)
        began, cpu_began = time.perf_counter(), time.process_time()
        found = detector(model, subject.images, [parse_space(PATCH)], Work(seed=self.seed))
        return self._row(
            ours,
            classes=_classes(found),
            image_passes=found.image_passes,
            image_passes_backward=found.image_passes_backward,
            seconds=time.perf_counter() - began,
            cpu_seconds=time.process_time() - cpu_began,
        )

    def _row(self, ours: FamiliesRow, **measured: Any) -> ScanRow:
        return ScanRow(
            network=self.network.name,
            method=self.peer.key if self.peer else OURS,
            sha256=ours.sha256,
            arch=ours.arch,
            trigger=ours.trigger,
            family=ours.family,
            mode=ours.mode,
            target=ours.target,
            planted_asr=ours.planted_asr,
            accuracy=ours.accuracy,
            seed=self.seed,
            our_passes=ours.image_passes + ours.image_passes_backward,
            our_cpu_seconds=ours.cpu_seconds or 0.0,
            versions=versions(),
            **measured,
        )


@lru_cache(maxsize=1)
def _scanned(spec: Scanned, inputs: tuple[tuple[Spec, Any], ...], device: str) -> FamiliesRow:
    """Scan a network, once for all methods that follow each other in one process."""
    return spec.run(dict(inputs), device)


def _classes(found: Evidence) -> list[ClassFound]:
    return [
        ClassFound(index=one.index, statistic=one.statistic, asr=one.asr if one.space else None)
        for one in found.classes
    ]
