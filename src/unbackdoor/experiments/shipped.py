"""``bench shipped``: every shipped model judged and repaired, for several seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from torch import nn

from unbackdoor import models
from unbackdoor.commands import Case
from unbackdoor.errors import ContentError
from unbackdoor.files import write_bytes
from unbackdoor.results import versions
from unbackdoor.settings import RepairSettings, ScanSettings

DATA, SPACE = "cifar10-sample", "patch:3"


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


def measure_shipped(
    names: Sequence[str], seeds: Sequence[int], store: Path, reference: str
) -> list[Row]:
    """Measure what is missing in ``store``, and return the rows asked for.

    Each row is written as soon as it is measured, so that a killed run loses one row at most.

    Args:
        names: models as the command line writes them.
        seeds: of scan and repair.
        store: folder that keeps ``shipped.json``.
        reference: a clean model.

    Raises:
        ContentError: the store does not hold rows of this benchmark.

    """
    path = store / "shipped.json"
    rows = _read(path)
    fingerprint = _fingerprint()
    clean = models.load(reference).module
    wanted: list[Row] = []
    for name in names:
        case = Case.open(name, None, DATA)
        for seed in seeds:
            key = (case.loaded.sha256, fingerprint, seed)
            row = next((r for r in rows if (r.model_sha256, r.settings, r.seed) == key), None)
            if row is None:
                row = _measure(case, seed, fingerprint, clean)
                rows.append(row)
                store.mkdir(parents=True, exist_ok=True)
                write_bytes(path, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
            wanted.append(row)
    return wanted


def _measure(case: Case, seed: int, fingerprint: str, reference: nn.Module) -> Row:
    found = case.scan(SPACE, ScanSettings(), seed)
    planted = case.planted
    truth = [planted.target] if planted else []
    others = [record.asr for record in found.classes if record.index not in truth]
    row = Row(
        model=case.loaded.name,
        model_sha256=case.loaded.sha256,
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
    _, repaired = case.repair(found, ScanSettings(), seed, reference)
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


def _fingerprint() -> str:
    settings = msgspec.json.encode((SPACE, DATA, ScanSettings(), RepairSettings()), order="sorted")
    return hashlib.sha256(settings).hexdigest()[:16]


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Row])
    except msgspec.DecodeError as error:
        raise ContentError(f"--store: {path} does not hold rows of this benchmark.") from error
