"""``bench panels``: compare F over a few images, chosen or random, with F over all images.

The triggers come from the screenings with the *other* seeds, at two contrasts and with noise, so
that no panel was chosen by means of them. The truth is F over all held-back images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor

from unbackdoor.bench.framework.bench import Bench, Request, rows_in_each_result
from unbackdoor.bench.framework.models import ModelFile, backdoored
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.reference.populations import objective_of_scan
from unbackdoor.data import Images
from unbackdoor.detectors.objective import Panel, balanced
from unbackdoor.detectors.recovery import FADES
from unbackdoor.errors import ArgumentError
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.scanning.settings import SCAN, ScanSettings

NOISE = 0.15
RANDOM = 20


class PanelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of panel with one seed; differences of F are root mean squares over the triggers.

    Args:
        model: as written after ``--models``.
        seed: of the scan that the panel belongs to.
        kind: ``chosen`` or ``random``.
        images: in the panel.
        difference: of F from the truth; for random panels over 20 of them.
        shared: difference of the mean of F over the triggers: how lenient or strict the panel is.
        versions: of the software on which the figures depend.

    """

    model: str
    seed: int
    kind: str
    images: int
    difference: float
    shared: float
    versions: dict[str, str]


class PanelRows(msgspec.Struct, frozen=True):
    """The rows of one run, which has all seeds because every seed needs the others."""

    rows: list[PanelRow]


@dataclass(frozen=True, kw_only=True)
class Held(Spec):
    """The panels of scans with several seeds, each tested with the triggers of the others.

    Args:
        model: with a known target.
        scanning: of the scans.
        seeds: at least two.

    """

    model: ModelFile
    scanning: ScanSettings = SCAN
    seeds: tuple[int, ...]

    table: ClassVar[str] = "panels"
    result: ClassVar[type] = PanelRows
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The model's file, the settings and the seeds."""
        return key_of(
            self.version, self.model.sha256, self.scanning, NOISE, RANDOM, list(self.seeds)
        )

    def run(self, inputs: Mapping[Spec, Any], device: str) -> PanelRows:
        """Choose panels as scans do, draw random ones, and evaluate F on each."""
        del inputs
        scans = [
            objective_of_scan(self.model, self.scanning, seed, device)[0] for seed in self.seeds
        ]
        images, target = self.model.opened(device).images, self.model.attacked
        first = scans[0].panel
        restarts = self.scanning.screening.restarts * len(FADES)
        generator = stream(0, "panels", "triggers")
        screened = torch.stack([scan.theta[-restarts:] for scan in scans])
        noise = NOISE * torch.randn(screened.shape, generator=generator)
        theta = (screened + noise).clamp(0, 1)
        everything = Panel(first.model, images.evaluate, first.space, first.temperature, generator)
        truth = everything.towards(target)(theta.flatten(0, 1)).reshape(theta.shape[:2])
        rows: list[PanelRow] = []
        for index, (seed, scan) in enumerate(zip(self.seeds, scans, strict=True)):
            others = torch.arange(len(scans)) != index
            asked, wanted = theta[others].flatten(0, 1), truth[others].flatten()
            drawn = _random_panels(scan.panel, images.defend, target, seed)
            for kind, panels in (("chosen", [scan.panel]), ("random", drawn)):
                apart = torch.stack([panel.towards(target)(asked) - wanted for panel in panels])
                rows.append(
                    PanelRow(
                        model=self.model.name,
                        seed=seed,
                        kind=kind,
                        images=len(scan.panel.pixels),
                        difference=_root_mean_square(apart),
                        shared=_root_mean_square(apart.mean(1)),
                        versions=versions(),
                    )
                )
        return PanelRows(rows)


def _random_panels(like: Panel, images: Images, target: int, seed: int) -> list[Panel]:
    """Return random panels of the size of ``like``, without images of the target class."""
    pool = images.subset((images.targets != target).nonzero()[:, 0])
    panels: list[Panel] = []
    for turn in range(RANDOM):
        own = stream(seed, "panels", "random", turn)
        some = balanced(pool, len(like.pixels), own)
        panels.append(Panel(like.model, some, like.space, like.temperature, own))
    return panels


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def plan(request: Request) -> list[Spec]:
    """Return a piece for each model.

    Raises:
        ArgumentError: there are fewer than two seeds.

    """
    if len(request.seeds) < 2:
        raise ArgumentError(
            f"--seeds: panels compares each seed with the others, expected at least 2, came "
            f"{len(request.seeds)}."
        )
    return [Held(model=model, seeds=tuple(request.seeds)) for model in backdoored(request)]


def table(rows: Sequence[PanelRow]) -> list[Line]:
    """Return one line per model and kind: root mean squares over the seeds, worst in brackets."""
    lines: list[Line] = []
    for model, kind in dict.fromkeys((row.model, row.kind) for row in rows):
        own = [row for row in rows if (row.model, row.kind) == (model, kind)]
        lines.append(
            {
                "model": f"`{model}`",
                "panel": f"{own[0].images} images, {kind}",
                "seeds": str(len(own)),
                "difference of F": _with_worst([row.difference for row in own]),
                "shared by all triggers": _with_worst([row.shared for row in own]),
            }
        )
    return lines


def _with_worst(values: Sequence[float]) -> str:
    return f"{_root_mean_square(torch.tensor(values)):.3f} ({max(values):.3f})"


BENCH = Bench(
    name="panels",
    summary="F over a few images, chosen or drawn at random, compared with F over all images.",
    plan=plan,
    rows=rows_in_each_result,
    table=table,
    flags=frozenset({"models"}),
)
