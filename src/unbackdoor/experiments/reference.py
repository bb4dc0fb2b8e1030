"""``bench reference``: the flow staircase of a scan beside a long run of ``smc`` on the same F.

Both look at the same images and places. A draw's mode is its nearest pattern in black and white,
written as in ``bw:N``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from unbackdoor.commands import Case
from unbackdoor.errors import ContentError
from unbackdoor.experiments.store import Store, key_of
from unbackdoor.experiments.table import Line
from unbackdoor.mesa import Smc, Stair
from unbackdoor.models import freeze
from unbackdoor.progress import Progress
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.scanning import staircase
from unbackdoor.scanning.objective import Panel, temperature
from unbackdoor.settings import ScanSettings, SmcSettings
from unbackdoor.triggers import PatchSpace

DATA = "cifar10-sample"
VERSION = 1
"""Raised when the code changes what a row means, so that stored rows are measured again."""

POPULATION = SmcSettings(particles=300, sweeps=8, repeats=1)
COUNTS = 0.05


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One level of one class of one model, by both estimators.

    Args:
        model: as written after ``--models``.
        target: the class.
        seed: of the scan and the population.
        beta: the level.
        smc: log|V_β| in nats, by the population.
        flow: the same by the scan's flow, by importance sampling.
        flow_error: standard error of that.
        flow_bound: the lower bound from the flow's entropy.
        valid: share of the flow's draws with F ≥ β.
        modes_smc: pattern → share of the population, from 5 % on.
        modes_flow: the same patterns → share of the flow's valid draws.
        original: pattern of the planted trigger, None where it is not black and white.
        nearest_smc: distance of the planted trigger to the population, root mean square.
        nearest_flow: the same to as many of the flow's valid draws.
        smc_passes: images forward for the population, all levels.
        versions: of what the figures depend on.

    """

    model: str
    target: int
    seed: int
    beta: float
    smc: float | None
    flow: float | None
    flow_error: float | None
    flow_bound: float | None
    valid: float
    modes_smc: dict[str, float]
    modes_flow: dict[str, float]
    original: str | None
    nearest_smc: float | None
    nearest_flow: float | None
    smc_passes: int
    versions: dict[str, str]


class Rows(msgspec.Struct, frozen=True):
    """What one run measures: a row per level."""

    rows: list[Row]


def measure(
    names: Sequence[str], seeds: Sequence[int], folder: Path, device: str, progress: Progress
) -> list[Row]:
    """Measure what ``folder`` lacks, and return the rows asked for.

    Args:
        names: models as the command line writes them; each with a known 3×3 trigger.
        seeds: of scan and population.
        folder: the store.
        device: where models run.
        progress: where to report.

    Raises:
        ContentError: a model does not say what was planted in it.

    """
    store = Store(folder, "reference", Rows)
    rows: list[Row] = []
    for name in names:
        case = Case.open(name, None, DATA, device)
        for seed in seeds:
            key = key_of(VERSION, case.loaded.sha256, ScanSettings(), POPULATION, seed)
            rows += store.keep(key, lambda c=case, s=seed: Rows(_measure(c, s, progress))).rows
    return rows


def _measure(case: Case, seed: int, progress: Progress) -> list[Row]:
    planted = case.planted
    if planted is None:
        raise ContentError(f"--models: {case.loaded.name} does not say what was planted in it.")
    settings, space = ScanSettings(), PatchSpace(3)
    found = case.scan(space.name, settings, seed)
    model, images = freeze(case.loaded.module), case.images.defend
    heat = temperature(model, images)
    panel = Panel(model, images, space, heat, settings.panel, stream(seed, "scan", "panel"))
    before = model.passes
    with progress.task("population", None) as task:
        population = Smc(POPULATION)(
            lambda theta: panel(theta)[:, planted.target],
            settings.betas,
            space.dimensions,
            seed=seed,
            advance=task.advance,
        )
    passes = model.passes - before
    record = found.classes[planted.target]
    flows = staircase(record, space.dimensions).stairs
    rows: list[Row] = []
    for flow, smc in zip(flows, population, strict=True):
        count = min(int(flow.valid.sum()), int(smc.valid.sum()))
        modes, of_flow = _modes(smc), _modes(flow)
        rows.append(
            Row(
                model=case.loaded.name,
                target=planted.target,
                seed=seed,
                beta=flow.beta,
                smc=smc.log_volume,
                flow=flow.log_volume,
                flow_error=flow.log_volume_error,
                flow_bound=flow.entropy_bound,
                valid=flow.valid_fraction,
                modes_smc={name: share for name, share in modes.items() if share >= COUNTS},
                modes_flow={
                    name: of_flow.get(name, 0.0) for name, share in modes.items() if share >= COUNTS
                },
                original=_pattern(planted.trigger.theta[None])[0]
                if planted.trigger.name.startswith("bw:")
                else None,
                nearest_smc=_nearest(smc, planted.trigger.theta, count),
                nearest_flow=_nearest(flow, planted.trigger.theta, count),
                smc_passes=passes,
                versions=versions(),
            )
        )
    return rows


def _pattern(theta: Tensor) -> list[str]:
    """Return the nearest pattern of each 3×3 patch ``(B, 27)``, as ``bw:N``."""
    bits = (theta.reshape(-1, 3, 9).mean(1) > 0.5).long()
    numbers = (bits * 2 ** torch.arange(8, -1, -1)).sum(1)
    return [f"bw:{int(number)}" for number in numbers]


def _modes(stair: Stair) -> dict[str, float]:
    counts = Counter(sorted(_pattern(stair.draws[stair.valid])))
    return {name: count / counts.total() for name, count in counts.most_common()}


def _nearest(stair: Stair, theta: Tensor, count: int) -> float | None:
    if not count:
        return None
    away = (stair.draws[stair.valid][:count] - theta).square().mean(1).sqrt()
    return float(away.min())


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line per model, seed and level."""

    def nats(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    def places(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    return [
        {
            "model": f"`{row.model}`",
            "seed": str(row.seed),
            "β": f"{row.beta:g}",
            "log volume, smc": nats(row.smc),
            "flow (bound)": f"{nats(row.flow)} ({nats(row.flow_bound)})",
            "valid": f"{row.valid:.0%}",
            "modes: smc / flow": ", ".join(
                f"{name} {share:.0%} / {row.modes_flow[name]:.0%}"
                for name, share in row.modes_smc.items()
            ),
            "planted": row.original or "–",
            "nearest to it: smc / flow": f"{places(row.nearest_smc)} / {places(row.nearest_flow)}",
            "passes of smc": f"{row.smc_passes:,}",
        }
        for row in rows
    ]
