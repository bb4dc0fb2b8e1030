"""``bench robust``: a backdoored model, scanned and repaired with one setting changed at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import msgspec

from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line, percent, share
from unbackdoor.data import Split
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing import to_unlearn, unlearn
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers.patch import Patch

DATA = "cifar10-sample"
VERSION = 2
"""Raised when the code changes what a row means, so that stored rows are measured again."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs from a scan without flags.

    Args:
        settings: of the scan.
        images: of the defender, equally many of each class; all when left out.
        half: bfloat16 or float32; what is faster here when left out.

    """

    settings: ScanSettings = SCAN
    images: int | None = None
    half: bool | None = None


def variants() -> Mapping[str, Variant]:
    """Return what is compared, by its name in the table."""
    return {
        "default": Variant(),
        "α = 0.01": Variant(settings=replace(SCAN, temperature=0.01)),
        "α = 1": Variant(settings=replace(SCAN, temperature=1.0)),
        **{
            f"β = {beta} alone": Variant(settings=replace(SCAN, betas=(beta,)))
            for beta in SCAN.betas
        },
        **{f"{count:,} images": Variant(images=count) for count in (50, 200, 1000)},
        "float32": Variant(half=False),
        "bfloat16": Variant(half=True),
    }


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One variant with one seed.

    Args:
        model: as written after ``--models``.
        variant: its name.
        seed: of scan and repair.
        right: whether the class that was attacked is named, and no other.
        highest_clean_asr: of any other class.
        log_volumes: log|V_β| for each of its β, in nats.
        valid: share of valid draws for each.
        nearest: distance of the planted trigger to the nearest draw, root mean square.
        asr_after: of the planted trigger after the repair.
        accuracy_lost: by the repair.
        passes: images forward in the scan.
        versions: of what the figures depend on.

    """

    model: str
    variant: str
    seed: int
    right: bool
    highest_clean_asr: float
    log_volumes: list[float | None]
    valid: list[float]
    nearest: float | None
    asr_after: float | None
    accuracy_lost: float | None
    passes: int
    versions: dict[str, str]


def measure(
    names: Sequence[str], seeds: Sequence[int], folder: Path, device: str, progress: Progress
) -> list[Row]:
    """Measure what ``folder`` lacks, and return the rows asked for.

    Args:
        names: models as the command line writes them; each with a known 3×3 trigger.
        seeds: of scan and repair.
        folder: the store.
        device: where models run.
        progress: where to report.

    Raises:
        ContentError: a model does not say what was planted in it.

    """
    store = Store(folder, "robust", Row)
    rows: list[Row] = []
    for name in names:
        subject = Subject.open(name, None, DATA, device, progress=progress)
        for seed in seeds:
            for title, variant in variants().items():
                key = key_of(VERSION, subject.loaded.sha256, title, variant, RepairSettings(), seed)
                rows.append(
                    store.keep(
                        key,
                        lambda c=subject, t=title, v=variant, s=seed: _measure(
                            c, t, v, s, progress
                        ),
                    )
                )
    return rows


def _measure(subject: Subject, title: str, variant: Variant, seed: int, progress: Progress) -> Row:
    planted, space = subject.truth, Patch(3)
    images = subject.images
    if variant.images is not None:
        images = Split(images.defend.fewer(variant.images), images.evaluate)
    fewer = replace(subject, images=images)
    found = fewer.scan(space.name, variant.settings, seed, half=variant.half)
    record = found.classes[planted.target]
    asr_after: float | None = None
    lost: float | None = None
    if record.stairs:
        module = copy.deepcopy(subject.network)
        sampler = to_unlearn(record, found.dimensions)
        unlearn(
            module, images.defend, space, sampler, RepairSettings(), seed=seed, progress=progress
        )
        repaired = freeze(module)
        asr_after = attack_success(
            repaired,
            images.evaluate,
            space,
            planted.trigger.theta[None],
            planted.target,
            generator=stream(seed, "robust", "places"),
        )
        lost = accuracy(freeze(subject.network), images.evaluate) - accuracy(
            repaired, images.evaluate
        )
    return Row(
        model=subject.loaded.name,
        variant=title,
        seed=seed,
        right=found.targets == [planted.target],
        highest_clean_asr=max(c.asr for c in found.classes if c.index != planted.target),
        log_volumes=[volume.value for volume in record.log_volume],
        valid=[stair.valid_fraction for stair in record.stairs],
        nearest=found.original.distance if found.original else None,
        asr_after=asr_after,
        accuracy_lost=lost,
        passes=found.image_passes,
        versions=versions(),
    )


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return a line per model and variant: means over the seeds, worst in brackets."""
    lines: list[Line] = []
    for model, variant in dict.fromkeys((row.model, row.variant) for row in rows):
        own = [row for row in rows if (row.model, row.variant) == (model, variant)]
        levels = range(min(len(row.valid) for row in own))
        volumes = [[row.log_volumes[level] for row in own] for level in levels]
        lines.append(
            {
                "model": f"`{model}`",
                "variant": variant,
                "right verdict": share([row.right for row in own]),
                "highest ASR, other classes": percent([row.highest_clean_asr for row in own]),
                "log volumes": ", ".join(_mean(level) for level in volumes) or "–",
                "valid": ", ".join(f"{fmean(row.valid[i] for row in own):.0%}" for i in levels)
                or "–",
                "nearest to the planted": _mean([row.nearest for row in own], digits=2),
                "**repaired**": percent([row.asr_after for row in own]),
                "accuracy lost": percent([row.accuracy_lost for row in own]),
                "passes": f"{fmean(row.passes for row in own):,.0f}",
            }
        )
    return lines


def _mean(values: Sequence[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if known else "–"
