"""``bench robust``: scan and repair backdoored models with one setting changed at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar

import msgspec

from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.models import ModelFile, backdoored
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line, averaged, share
from unbackdoor.data import Split
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing import Lesson, to_unlearn, unlearn
from unbackdoor.repairing.settings import TABLES, RepairSettings
from unbackdoor.results import ClassRecord, versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers.registry import parse_space

SPACE = parse_space("patch:3")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The difference from a scan without flags.

    Args:
        settings: of the scan.
        images: number of the defender's images, equally many of each class; all when left out.
        half: bfloat16 or float32; the faster one when left out.

    """

    settings: ScanSettings = SCAN
    images: int | None = None
    half: bool | None = None


def variants() -> Mapping[str, Variant]:
    """Return the variants, by their names in the table."""
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


class VariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant with one seed.

    Args:
        model: as written after ``--models``.
        variant: its name.
        seed: of scan and repair.
        right: whether exactly the attacked class is named.
        highest_clean_asr: of any other class.
        log_volumes: log|V_β| for each of its β, in nats.
        valid: share of valid draws for each β.
        nearest: distance of the planted trigger to the nearest draw, root mean square.
        asr_after: of the planted trigger after the repair.
        accuracy_lost: by the repair.
        passes: images forward in the scan.
        versions: of the software on which the figures depend.

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


@dataclass(frozen=True, kw_only=True)
class Varied(Spec):
    """A model, scanned and repaired with one variant.

    Args:
        model: with a known 3×3 trigger.
        title: the variant's name in the table.
        variant: the changed setting.
        repair: how the model is repaired.
        seed: of the scan and the repair.

    """

    model: ModelFile
    title: str
    variant: Variant
    repair: RepairSettings = TABLES
    seed: int

    table: ClassVar[str] = "robust"
    result: ClassVar[type] = VariantRow
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The model's file, the variant, the settings and the seed."""
        own = (self.title, self.variant, self.repair, self.seed)
        return key_of(self.version, self.model.sha256, *own)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> VariantRow:
        """Scan the model, and retrain it if stairs are found."""
        del inputs
        subject = self.model.opened(device)
        if self.variant.images is not None:
            fewer = subject.images.defend.fewer(self.variant.images)
            subject = replace(subject, images=Split(fewer, subject.images.evaluate))
        found = subject.scan(SPACE.name, self.variant.settings, self.seed, half=self.variant.half)
        target = self.model.attacked
        record = found.classes[target]
        after, lost = self._repaired(subject, record) if record.stairs else (None, None)
        return VariantRow(
            model=self.model.name,
            variant=self.title,
            seed=self.seed,
            right=found.targets == [target],
            highest_clean_asr=max(c.asr for c in found.classes if c.index != target),
            log_volumes=[volume.value for volume in record.log_volume],
            valid=[stair.valid_fraction for stair in record.stairs],
            nearest=found.original.distance if found.original else None,
            asr_after=after,
            accuracy_lost=lost,
            passes=found.image_passes,
            versions=versions(),
        )

    def _repaired(self, subject: Subject, record: ClassRecord) -> tuple[float, float]:
        """Return the success of the planted trigger after a repair, and the accuracy it costs."""
        planted, images = subject.truth, subject.images
        module = copy.deepcopy(subject.network)
        lesson = Lesson(SPACE, to_unlearn(record))
        unlearn(module, images.defend, lesson, self.repair, Work(seed=self.seed))
        repaired = freeze(module)
        success = attack_success(
            repaired,
            images.evaluate,
            SPACE,
            planted.trigger.theta[None],
            planted.target,
            generator=stream(self.seed, "robust", "places"),
        )
        before = accuracy(freeze(subject.network), images.evaluate)
        return success, before - accuracy(repaired, images.evaluate)


def plan(request: Request) -> list[Spec]:
    """Return a piece for each model, seed and variant."""
    return [
        Varied(model=model, title=title, variant=variant, seed=seed)
        for model in backdoored(request)
        for seed in request.seeds
        for title, variant in variants().items()
    ]


def table(rows: Sequence[VariantRow]) -> list[Line]:
    """Return a line per model and variant: means over the seeds, worst in brackets."""
    lines: list[Line] = []
    for model, variant in dict.fromkeys((row.model, row.variant) for row in rows):
        own = [row for row in rows if (row.model, row.variant) == (model, variant)]
        levels = range(min(len(row.valid) for row in own))
        # Where no density was estimated there are draws and no volumes.
        known = range(min(len(row.log_volumes) for row in own))
        volumes = [[row.log_volumes[level] for row in own] for level in known]
        lines.append(
            {
                "model": f"`{model}`",
                "variant": variant,
                "right verdict": share([row.right for row in own]),
                "highest ASR, other classes": averaged([row.highest_clean_asr for row in own]),
                "log volumes": ", ".join(_mean(values) for values in volumes) or "–",
                "valid": ", ".join(
                    f"{fmean(row.valid[level] for row in own):.0%}" for level in levels
                )
                or "–",
                "nearest to the planted": _mean([row.nearest for row in own], digits=2),
                "**repaired**": averaged([row.asr_after for row in own]),
                "accuracy lost": averaged([row.accuracy_lost for row in own]),
                "passes": f"{fmean(row.passes for row in own):,.0f}",
            }
        )
    return lines


def _mean(values: Sequence[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if known else "–"


BENCH = Bench(
    name="robust",
    summary="A backdoored model, scanned and repaired with one setting changed at a time.",
    plan=plan,
    table=table,
    flags=frozenset({"models"}),
)
