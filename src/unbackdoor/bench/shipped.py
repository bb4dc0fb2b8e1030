"""``bench shipped``: scan and repair every shipped model, or others, with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from torch import nn

from unbackdoor import models
from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.models import IMAGES, ModelFile, named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line, averaged, share
from unbackdoor.repairing import How
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.subject import Subject
from unbackdoor.triggers import DEFAULT_SPACE

HOW = How()
"""How every row is scanned and repaired."""


class ShippedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One scan, and the repair if a backdoor was found; rates are on held-back images.

    Args:
        model: as written after ``--models``.
        model_sha256: of its file.
        settings: fingerprint of scan and repair settings.
        trigger: the planted trigger, None for a clean model.
        target: the attacked class, None for a clean model.
        seed: of the scan and the repair.
        verdict: of the scan.
        targets: classes it named.
        right: whether verdict and classes are right.
        highest_asr: over all classes, of the best trigger found.
        highest_clean_asr: the same over the classes that have no backdoor.
        nearest: distance of the nearest draw to the planted trigger, root mean square.
        nearest_of_chance: the same for as many uniform draws.
        accuracy_before: on clean images.
        asr_before: of the planted trigger.
        accuracy_after: after the repair.
        asr_after: after the repair.
        asr_fine_tuned: after the same schedule without triggers.
        asr_ideal: after the same schedule with the planted trigger.
        asr_clean: of the planted trigger on the clean network.
        rescan: verdict on the repaired model, with images that were not used before, or ``not
            repaired``.
        scan_passes: images forward and backward through the model during the scan.
        repair_passes: images through a model during the repair, its controls and the rescan.
        scan_seconds: wall-clock time of the scan.
        repair_seconds: wall-clock time of the repair, its controls and the rescan.
        versions: of the software on which the figures depend.

    """

    model: str
    model_sha256: str
    settings: str
    trigger: str | None
    target: int | None
    seed: int
    verdict: str
    targets: list[int]
    right: bool
    highest_asr: float
    highest_clean_asr: float
    nearest: float | None = None
    nearest_of_chance: float | None = None
    accuracy_before: float
    asr_before: float | None = None
    accuracy_after: float | None = None
    asr_after: float | None = None
    asr_fine_tuned: float | None = None
    asr_ideal: float | None = None
    asr_clean: float | None = None
    rescan: str | None = None
    scan_passes: int
    repair_passes: int | None = None
    scan_seconds: float
    repair_seconds: float | None = None
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Judged(Spec):
    """A scan of one model, and its repair if a backdoor is found.

    Args:
        model: which.
        reference: name of a clean model, as on the command line.
        seed: of the scan and the repair.

    """

    model: ModelFile
    reference: str
    seed: int

    table: ClassVar[str] = "shipped"
    result: ClassVar[type] = ShippedRow
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The model's file, the settings and the seed."""
        return key_of(self.model.sha256, self.settings, self.seed)

    @property
    def settings(self) -> str:
        """The settings that all rows of one table share."""
        return key_of(self.version, DEFAULT_SPACE, IMAGES, HOW)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> ShippedRow:
        """Scan the model, and repair it."""
        del inputs
        subject, reference = self.model.opened(device), models.load(self.reference).module
        return _judged(subject, self.seed, self.settings, reference)


def plan(request: Request) -> list[Spec]:
    """Return a piece for each model and seed."""
    return [
        Judged(model=model, reference=request.reference, seed=seed)
        for model in named(request)
        for seed in request.seeds
    ]


def table(rows: Sequence[ShippedRow]) -> list[Line]:
    """Return one line per model: means over the seeds, the worst in brackets."""
    lines: list[Line] = []
    for name in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == name]
        lost = [
            row.accuracy_before - row.accuracy_after
            for row in own
            if row.accuracy_after is not None
        ]
        lines.append(
            {
                "model": f"`{name}`",
                "truth": f"`{own[0].trigger}` → {own[0].target}" if own[0].trigger else "clean",
                "right verdict": share([row.right for row in own]),
                "highest ASR, other classes": averaged([row.highest_clean_asr for row in own]),
                "planted ASR before": averaged([row.asr_before for row in own], lowest=True),
                "**repaired**": averaged([row.asr_after for row in own]),
                "ideal": averaged([row.asr_ideal for row in own]),
                "fine-tuned": averaged([row.asr_fine_tuned for row in own]),
                "clean network": averaged([row.asr_clean for row in own]),
                "accuracy lost": averaged(lost),
                "rescan clean": share([row.rescan == "clean" for row in own if row.rescan]),
            }
        )
    return lines


def _judged(subject: Subject, seed: int, settings: str, reference: nn.Module) -> ShippedRow:
    found = subject.scan(DEFAULT_SPACE, HOW.scanning, seed)
    planted = subject.planted[0] if subject.planted else None
    truth = sorted({one.target for one in subject.planted})
    others = [record.asr for record in found.classes if record.index not in truth]
    row = ShippedRow(
        model=subject.loaded.name,
        model_sha256=subject.loaded.sha256,
        settings=settings,
        trigger=planted.trigger.name if planted else None,
        target=planted.target if planted else None,
        seed=seed,
        verdict=found.verdict,
        targets=found.targets,
        right=found.targets == truth and found.verdict == ("backdoored" if truth else "clean"),
        highest_asr=max(record.asr for record in found.classes),
        highest_clean_asr=max(others),
        nearest=found.original.distance if found.original else None,
        nearest_of_chance=found.original.random_distance if found.original else None,
        accuracy_before=found.model.accuracy,
        scan_passes=found.image_passes + found.image_passes_backward,
        scan_seconds=found.seconds,
        versions=versions(),
    )
    if not found.targets:
        return row
    _, repaired = subject.repair(found, HOW, seed, reference)
    measured = {row.name: row for row in repaired.rows}

    def planted_rate(name: str) -> float | None:
        return measured[name].original_asr if name in measured else None

    return msgspec.structs.replace(
        row,
        asr_before=planted_rate("before"),
        accuracy_after=measured["repaired"].accuracy if repaired.rescan else None,
        asr_after=planted_rate("repaired"),
        asr_fine_tuned=planted_rate("fine-tuned"),
        asr_ideal=planted_rate("ideal"),
        asr_clean=planted_rate("clean reference"),
        rescan=repaired.rescan.verdict if repaired.rescan else "not repaired",
        repair_passes=repaired.image_passes,
        repair_seconds=repaired.seconds,
    )


BENCH = Bench(
    name="shipped",
    summary="Whether the verdicts on the shipped models are right, and the rates after a repair.",
    plan=plan,
    table=table,
    flags=frozenset({"models"}),
)
