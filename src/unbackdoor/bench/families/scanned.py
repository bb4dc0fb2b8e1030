"""One scan of one network of the development set, beside what was planted in it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
import torch

from unbackdoor.attack.implant import measure
from unbackdoor.bench.families.truth import REFUSED, SHAPE, Truth
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.data import Split
from unbackdoor.detectors.evidence import ClassEvidence, Evidence, Pictures, ladder
from unbackdoor.errors import ContentError
from unbackdoor.results import ClassRecord, Rung, versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.scanning.settings import BUDGETS, ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers import AUTO
from unbackdoor.triggers.registry import parse_spaces
from unbackdoor.verdict.judge import Judge

WORK = 200_000.0
"""About what a scan costs, in forward passes."""
MEMORY = Path("/proc/self")


class Network(Protocol):
    """A network whose truth is known."""

    @property
    def key(self) -> str:
        """Its identity."""
        ...

    @property
    def name(self) -> str:
        """In the table."""
        ...

    @property
    def truth(self) -> Truth:
        """What was planted in it."""
        ...

    @property
    def specs(self) -> tuple[Spec, ...]:
        """What has to be computed before its scan."""
        ...

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images of its scan."""
        ...


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan says of one class.

    Args:
        index: of the class.
        status: in the verdict.
        space: of its clearest evidence, with the place.
        asr: rate of that trigger.
        confusion: share of images of other classes that it is the answer to without a trigger.
        measured: the highest rates in each space and at each place where one was measured.
        goal: where images of each class were sent by triggers that send each to a class of its own,
            the class among them; empty where there were none.
        of_each: the rates of these.

    """

    index: int
    status: str
    space: str
    asr: float
    confusion: float
    measured: list[Rung] = []
    goal: list[int] = []
    of_each: list[Rung] = []


class FamiliesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One scan; rates are on held-back images.

    Args:
        network: its name.
        sha256: of its file.
        arch: its architecture.
        trigger: the planted trigger; None in a clean network.
        family: its family.
        mode: the attacker's goal.
        target: the attacked class; None where each class has its own, or none is attacked.
        accuracy: on clean images.
        planted_asr: of the planted trigger.
        data: the clean images.
        space: what was searched, as on the command line.
        seed: of the scan.
        verdict: of the scan; ``not scanned`` where the network was refused.
        reason: the verdict in a sentence.
        targets: classes it named.
        pictures: the clean images, as triggers are compared with them.
        classes: what it says of each class, enough to judge it again by other thresholds.
        image_passes: images forward.
        image_passes_backward: images backward.
        seconds: wall-clock time.
        cpu_seconds: time of all processors together, which hardly depends on what else runs; None
            where it was not measured.
        memory: the most that the process held during the scan, in MiB; None where that is unknown.
        versions: of the software on which the figures depend.

    """

    network: str
    sha256: str
    arch: str
    trigger: str | None
    family: str | None
    mode: str
    target: int | None
    accuracy: float | None = None
    planted_asr: float | None = None
    data: str
    space: str
    seed: int
    verdict: str
    reason: str
    targets: list[int] = []
    pictures: Pictures = Pictures()
    classes: list[ClassRow] = []
    image_passes: int = 0
    image_passes_backward: int = 0
    seconds: float = 0.0
    cpu_seconds: float | None = None
    memory: float | None = None
    versions: dict[str, str]

    @property
    def truth(self) -> Truth:
        """What was planted."""
        return Truth(trigger=self.trigger, mode=self.mode, target=self.target or 0)


@dataclass(frozen=True, kw_only=True)
class Scanned(Spec):
    """A scan of one network.

    Args:
        network: which.
        seed: of the scan.
        space: what is searched.
        settings: how much work, and the thresholds.

    """

    network: Network
    seed: int
    space: str = AUTO
    settings: ScanSettings = BUDGETS["standard"]

    table: ClassVar[str] = "families"
    result: ClassVar[type] = FamiliesRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The network, what is searched how far, and the seed."""
        spaces = [space.name for space in parse_spaces(self.space, SHAPE)]
        return key_of(self.version, self.network.key, spaces, self.settings, self.seed)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """What the network needs."""
        return self.network.specs

    @property
    def work(self) -> float:
        """About the passes of a scan."""
        return WORK

    def run(self, inputs: Mapping[Spec, Any], device: str) -> FamiliesRow:
        """Scan the network, and measure what was planted in it."""
        try:
            subject = self.opened(inputs, device)
        except ContentError as error:
            return self.row(verdict=REFUSED, reason=str(error))
        _forget_memory()
        heard: list[Evidence] = []
        began = time.process_time()
        found = subject.scan(self.space, self.settings, self.seed, hear=heard.append)
        cpu_seconds = time.process_time() - began
        memory = _memory(device)
        return self.row(
            **self.known(subject),
            data=found.data.name,
            verdict=found.verdict,
            reason=found.reason,
            targets=found.targets,
            pictures=heard[0].pictures if heard else Pictures(),
            classes=[_class(record, heard) for record in found.classes],
            image_passes=found.image_passes,
            image_passes_backward=found.image_passes_backward,
            seconds=found.seconds,
            cpu_seconds=cpu_seconds,
            memory=memory,
        )

    def known(self, subject: Subject) -> dict[str, Any]:
        """Return what is known of the network without a scan, of a row."""
        images = _held_back(subject)
        shape, classes = images.evaluate.shape, len(images.evaluate.classes)
        backdoor = self.network.truth.backdoor(classes, shape)
        correct, rates = measure(subject.network, images, backdoor, seed=0)
        return {
            "sha256": subject.loaded.sha256,
            "arch": subject.loaded.arch,
            "accuracy": correct,
            "planted_asr": rates[0] if rates else None,
        }

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images of the scan.

        Raises:
            ContentError: it is refused.

        """
        return self.network.opened(inputs, device)

    def row(self, **measured: Any) -> FamiliesRow:
        """Return a row with what was measured, and what is known of the network."""
        truth = self.network.truth
        known: dict[str, Any] = {
            "network": self.network.name,
            "sha256": "",
            "arch": "",
            "trigger": truth.trigger,
            "family": truth.family,
            "mode": truth.mode,
            "target": truth.targets[0] if truth.targets else None,
            "data": "",
            "space": self.space,
            "seed": self.seed,
            "versions": versions(),
        }
        return self.result(**{**known, **measured})


def _class(record: ClassRecord, heard: Sequence[Evidence]) -> ClassRow:
    of_class = [one for evidence in heard for one in evidence.classes if one.index == record.index]
    goals = [one.goal for one in of_class if one.goal]
    return ClassRow(
        index=record.index,
        status=record.status,
        space=record.space,
        asr=record.asr,
        confusion=record.confusion,
        measured=ladder((one.space, one) for one in of_class if not one.goal),
        goal=goals[0] if goals else [],
        of_each=ladder((one.space, one) for one in of_class if one.goal),
    )


def evidence_of(row: FamiliesRow) -> Evidence | None:
    """Return what was measured; None for a network that guesses, or that was refused."""
    every = [
        ClassEvidence(
            index=one.index,
            name=f"class {one.index}",
            space=rung.space,
            statistic=rung.asr,
            best=b"",
            asr=rung.asr,
            firm=rung.firm,
            confusion=0.0 if goal else one.confusion,
            goal=goal,
        )
        for one in row.classes
        for rungs, goal in ((one.measured, []), (one.of_each, one.goal))
        for rung in rungs
    ]
    if not every:
        return None
    return Evidence(
        detector="",
        classes=every,
        accuracy=row.accuracy or 0.0,
        image_passes=row.image_passes,
        image_passes_backward=row.image_passes_backward,
        pictures=row.pictures,
        count=len(row.classes),
    )


def judged(row: FamiliesRow, judge: Judge) -> FamiliesRow:
    """Return a row with the verdict that a judge comes to from what was measured."""
    if (evidence := evidence_of(row)) is None:
        return row
    judgement = judge(evidence)
    classes = [
        msgspec.structs.replace(one, status=status, space=record.space, asr=record.asr)
        for one, (record, status) in zip(row.classes, judgement.classes, strict=True)
    ]
    return msgspec.structs.replace(
        row,
        verdict=judgement.verdict,
        targets=judgement.targets,
        reason=judgement.reason,
        classes=classes,
    )


def _held_back(subject: Subject) -> Split:
    """Return all images that the search never sees, also those for a second scan."""
    first, later = subject.images.evaluate, subject.reserve.evaluate
    both = replace(first, rows=torch.cat([first.rows, later.rows]))
    return Split(subject.images.defend, both)


def _forget_memory() -> None:
    """Let the most memory that was held be counted from here, where the system can do that."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        (MEMORY / "clear_refs").write_text("5")
    except OSError:
        return


def _memory(device: str) -> float | None:
    """Return the most memory that was held since then, in MiB: that of the device of the model."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = (MEMORY / "status").read_text()
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) / 1024 if match else None
