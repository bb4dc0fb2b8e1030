"""``bench shipped``: every shipped model, or any other, judged and repaired for several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from torch import nn

from unbackdoor import models
from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line, percent, share
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.subject import Subject

DATA, SPACE = "cifar10-sample", "patch:3"
VERSION = 2
"""Raised when the code changes what a row means, so that stored rows are measured again."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scan, and the repair where something was found; rates are on held-back images.

    Args:
        model: as written after ``--models``.
        model_sha256: of its file.
        settings: fingerprint of scan and repair settings.
        trigger: the truth, None for a clean model.
        target: the truth, None for a clean model.
        seed: of the scan and the repair.
        verdict: of the scan.
        targets: classes it named.
        right: whether verdict and classes are the truth.
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
        rescan: verdict on the repaired model, by images that nothing before has seen.
        scan_passes: images forward and backward through the model during the scan.
        repair_passes: images through a model during the repair, its controls and the rescan.
        scan_seconds: wall-clock time of the scan.
        repair_seconds: wall-clock time of the repair, its controls and the rescan.
        versions: of what the figures depend on.

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


def measure(
    names: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    reference: str,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Row]:
    """Measure what ``folder`` lacks, and return the rows asked for.

    Args:
        names: models as the command line writes them.
        seeds: of scan and repair.
        folder: the store.
        reference: a clean model.
        device: where models run.
        progress: where to report.

    Raises:
        ContentError: the store does not hold rows of this benchmark.

    """
    store = Store(folder, "shipped", Row)
    settings = key_of(VERSION, SPACE, DATA, ScanSettings(), RepairSettings())
    clean = models.load(reference).module
    rows: list[Row] = []
    for name in names:
        subject = Subject.open(name, None, DATA, device, progress=progress)
        for seed in seeds:
            key = key_of(subject.loaded.sha256, settings, seed)
            rows.append(store.keep(key, lambda c=subject, s=seed: _measure(c, s, settings, clean)))
    return rows


def summary(rows: Sequence[Row]) -> list[Line]:
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
                "highest ASR, other classes": percent([row.highest_clean_asr for row in own]),
                "planted ASR before": percent([row.asr_before for row in own], lowest=True),
                "**repaired**": percent([row.asr_after for row in own]),
                "ideal": percent([row.asr_ideal for row in own]),
                "fine-tuned": percent([row.asr_fine_tuned for row in own]),
                "clean network": percent([row.asr_clean for row in own]),
                "accuracy lost": percent(lost),
                "rescan clean": share([row.rescan == "clean" for row in own if row.rescan]),
            }
        )
    return lines


def _measure(subject: Subject, seed: int, fingerprint: str, reference: nn.Module) -> Row:
    found = subject.scan(SPACE, ScanSettings(), seed)
    planted = subject.planted
    truth = [planted.target] if planted else []
    others = [record.asr for record in found.classes if record.index not in truth]
    row = Row(
        model=subject.loaded.name,
        model_sha256=subject.loaded.sha256,
        settings=fingerprint,
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
    _, repaired = subject.repair(found, ScanSettings(), seed, reference)
    table = {line.name: line for line in repaired.rows}
    return msgspec.structs.replace(
        row,
        asr_before=table["before"].original_asr,
        accuracy_after=table["repaired"].accuracy,
        asr_after=table["repaired"].original_asr,
        asr_fine_tuned=table["fine-tuned"].original_asr,
        asr_ideal=table["ideal"].original_asr if "ideal" in table else None,
        asr_clean=table["clean reference"].original_asr,
        rescan=repaired.rescan.verdict,
        repair_passes=repaired.image_passes,
        repair_seconds=repaired.seconds,
    )
