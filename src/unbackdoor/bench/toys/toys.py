"""``bench toys``: every estimator on problems whose answer is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec
import torch
from torch import Tensor

from unbackdoor.bench.framework.figure import lines
from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.toys.problems import (
    Corners,
    Density,
    Gaussians,
    LevelSets,
    densities,
    level_sets,
)
from unbackdoor.mesa import (
    Estimator,
    FlowEstimator,
    Mine,
    Smc,
    Stair,
    Staircase,
    TestingFunction,
    choose_betas,
    gammas,
)
from unbackdoor.mesa.settings import MINE_CORRECTED, MINE_PAPER
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress

VERSION = 2
"""Raised when the code changes what a row means, so that stored rows are measured again."""

BETAS = (0.5, 0.9)
COUNTS = (1, 2, 4, 8, 16, 32)
MINE_UP_TO = 27
SAMPLE = 2000
MODES_SAMPLE = 20_000
SIDE = 500
ESTIMATORS: dict[str, Estimator] = {
    "flow": FlowEstimator(),
    "smc": Smc(),
    "mine, paper": Mine(MINE_PAPER),
    "mine, corrected": Mine(MINE_CORRECTED),
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One estimator on one problem with one seed.

    Args:
        problem: its name.
        dimensions: n.
        estimator: its name.
        seed: of every draw.
        beta: level of the stair, None for a whole staircase.
        stairs: how many the staircase has, None for a stair.
        truth: log|V_β| in nats.
        log_volume: the estimate; None where no valid draw was found.
        error: of the estimate, its sign kept.
        standard_error: what the estimator says of itself.
        information: between draw and noise in nats, as ``mine`` estimates it.
        valid: share of draws with F ≥ β.
        modes: how many modes hold at least a fifth of their true share of the draws.
        modes_of: how many there are.
        mode_distance: total variation of the modes' shares in the draws.
        distance: total variation between the staircase and f, integrated on a grid.
        mmd: maximum mean discrepancy between draws and exact draws (its square, unbiased).
        mmd_exact: the same between two sets of exact draws.
        calls: of F, one per θ.
        seconds: wall-clock time.
        versions: of what the figures depend on.

    """

    problem: str
    dimensions: int
    estimator: str
    seed: int
    beta: float | None = None
    stairs: int | None = None
    truth: float | None = None
    log_volume: float | None = None
    error: float | None = None
    standard_error: float | None = None
    information: float | None = None
    valid: float | None = None
    modes: int | None = None
    modes_of: int | None = None
    mode_distance: float | None = None
    distance: float | None = None
    mmd: float
    mmd_exact: float
    calls: int
    seconds: float
    versions: dict[str, str]


class Rows(msgspec.Struct, frozen=True):
    """What one run measures: a row per level, or per number of stairs."""

    rows: list[Row]


class Counted:
    """F, and how many θ it was asked for."""

    def __init__(self, F: TestingFunction) -> None:
        self.F, self.calls = F, 0

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F of θ."""
        self.calls += len(theta)
        return self.F(theta)


def measure(seeds: Sequence[int], folder: Path, progress: Progress) -> list[Row]:
    """Measure what ``folder`` lacks, and return all rows.

    Args:
        seeds: of every draw.
        folder: the store.
        progress: where to report.

    """
    store = Store(folder, "toys", Rows)
    runs: list[tuple[str, Callable[[], list[Row]]]] = []
    for seed in seeds:
        for name, estimator in ESTIMATORS.items():
            for problem in level_sets():
                if name.startswith("mine") and problem.dimensions > MINE_UP_TO:
                    continue
                runs.append(
                    (
                        key_of(VERSION, repr(problem), BETAS, name, estimator, seed),
                        lambda p=problem, n=name, s=seed: _stairs(p, n, s),
                    )
                )
        for density in densities():
            runs.append(
                (
                    key_of(VERSION, density.name, COUNTS, ESTIMATORS["smc"], seed),
                    lambda d=density, s=seed: _staircases(d, s),
                )
            )
    rows: list[Row] = []
    with progress.task("toys", len(runs)) as task:
        for key, run in runs:
            rows += store.keep(key, lambda r=run: Rows(r())).rows
            task.advance()
    return rows


def _stairs(problem: LevelSets, name: str, seed: int) -> list[Row]:
    F = Counted(problem)
    began = time.perf_counter()
    stairs = ESTIMATORS[name](F, BETAS, problem.dimensions, seed=seed)
    seconds = time.perf_counter() - began
    return [_of_stair(problem, name, seed, stair, F.calls, seconds) for stair in stairs]


def _of_stair(
    problem: LevelSets, name: str, seed: int, stair: Stair, calls: int, seconds: float
) -> Row:
    generator = stream(seed, "toys", problem.name, problem.dimensions, stair.beta)
    truth = problem.log_volume(stair.beta)
    exact = [problem.sample(stair.beta, SAMPLE, generator) for _ in range(2)]
    draws = stair.sample(MODES_SAMPLE, generator)
    modes, of, apart = (
        count_modes(problem.mode(draws), problem.weights(stair.beta))
        if isinstance(problem, Corners)
        else (None, None, None)
    )
    found = stair.log_volume
    return Row(
        problem=problem.name,
        dimensions=problem.dimensions,
        estimator=name,
        seed=seed,
        beta=stair.beta,
        truth=truth,
        log_volume=found,
        error=None if found is None else found - truth,
        standard_error=stair.log_volume_error,
        information=stair.information,
        valid=stair.valid_fraction,
        modes=modes,
        modes_of=of,
        mode_distance=apart,
        mmd=discrepancy(draws[:SAMPLE], exact[0]),
        mmd_exact=discrepancy(exact[1], exact[0]),
        calls=calls,
        seconds=seconds,
        versions=versions(),
    )


@dataclass(frozen=True)
class Approximation:
    """A staircase of a density that is known through F = g(f / max f) alone, g(u) = 2u / (1 + u).

    Args:
        law: the staircase.
        betas: its levels.
        calls: of F.

    """

    law: Staircase
    betas: tuple[float, ...]
    calls: int


def height(density: Density) -> TestingFunction:
    """Return f / max f."""
    top = float(density.log_density(_peak(density)).max())
    return lambda theta: torch.exp(density.log_density(theta) - top)


def g(heights: Tensor) -> Tensor:
    """Return the increasing function of f that F is."""
    return 2 * heights / (1 + heights)


def approximate(density: Density, count: int, estimator: Estimator, seed: int) -> Approximation:
    """Return the staircase of ``count`` chosen β."""

    def inverse(values: Tensor) -> Tensor:
        return values / (2 - values)

    f = height(density)
    F = Counted(lambda theta: g(f(theta)))
    betas = choose_betas(F, count, density.dimensions, inverse=inverse, seed=seed)
    stairs = estimator(F, betas, density.dimensions, seed=seed)
    levels = [float(level) for level in inverse(torch.tensor(betas, dtype=torch.float64))]
    weights = gammas(levels, [stair.log_volume for stair in stairs])
    return Approximation(Staircase(stairs, weights), betas, F.calls)


def _staircases(density: Density, seed: int) -> list[Row]:
    f, n = height(density), density.dimensions
    rows: list[Row] = []
    for count in COUNTS:
        began = time.perf_counter()
        found = approximate(density, count, ESTIMATORS["smc"], seed)
        law = found.law
        generator = stream(seed, "toys", density.name, count)
        draws = law.sample(MODES_SAMPLE, generator)
        seconds = time.perf_counter() - began
        exact = [density.sample(SAMPLE, generator) for _ in range(2)]
        modes, of, apart = (
            count_modes(density.mode(draws), density.weights)
            if isinstance(density, Gaussians)
            else (None, None, None)
        )
        rows.append(
            Row(
                problem=density.name,
                dimensions=n,
                estimator="smc",
                seed=seed,
                stairs=count,
                modes=modes,
                modes_of=of,
                mode_distance=apart,
                distance=_distance(f, lambda theta: g(f(theta)), found.betas, law.weights)
                if n == 2
                else None,
                mmd=discrepancy(draws[:SAMPLE], exact[0]),
                mmd_exact=discrepancy(exact[1], exact[0]),
                calls=found.calls,
                seconds=seconds,
                versions=versions(),
            )
        )
    return rows


def _peak(density: Density) -> Tensor:
    """Return θ among which the top of the density is, nearly."""
    side = (torch.arange(SIDE) + 0.5) / SIDE
    if isinstance(density, Gaussians):
        return density.centres
    return torch.cartesian_prod(side, side)


def _distance(
    f: TestingFunction, F: TestingFunction, betas: Sequence[float], weights: Tensor
) -> float:
    """Return the total variation between Σ γ_i U(V_{β_i}) and f, on a grid of the square."""
    side = (torch.arange(SIDE) + 0.5) / SIDE
    grid = torch.cartesian_prod(side, side)
    truth = f(grid)
    values = F(grid)
    law = torch.zeros_like(truth)
    for beta, weight in zip(betas, weights, strict=True):
        inside = (values >= beta).double()
        law += weight * inside / inside.sum().clamp(min=1)
    return float((law - truth / truth.sum()).abs().sum() / 2)


def count_modes(found: Tensor, weights: Tensor) -> tuple[int, int, float]:
    """Return how many modes are found, of how many, and the total variation of their shares."""
    shares = torch.bincount(found, minlength=len(weights)) / len(found)
    apart = float((shares - weights).abs().sum()) / 2
    return int((shares >= weights / 5).sum()), len(weights), apart


def discrepancy(one: Tensor, other: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy with a Gaussian kernel.

    The kernel is as wide as the median distance (Gretton et al., 2012); 0 is no difference.
    """
    both = torch.cat([one, other]).double()
    squares = torch.cdist(both, both).square()
    kernel = torch.exp(-squares / squares[squares > 0].median())
    first, second = len(one), len(other)
    inside = kernel[:first, :first].sum() - first
    outside = kernel[first:, first:].sum() - second
    return float(
        inside / (first * (first - 1))
        + outside / (second * (second - 1))
        - 2 * kernel[:first, first:].mean()
    )


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return a line per problem and estimator: mean over seeds and levels, worst in brackets."""
    table: list[Line] = []
    for key in dict.fromkeys((r.problem, r.dimensions, r.estimator, r.stairs) for r in rows):
        own = [r for r in rows if (r.problem, r.dimensions, r.estimator, r.stairs) == key]
        truths = [r.truth for r in own if r.truth is not None]
        lost = [r for r in own if r.valid == 0]
        table.append(
            {
                "problem": key[0],
                "n": str(key[1]),
                "estimator": key[2] if key[3] is None else f"{key[3]} stairs of {key[2]}",
                "seeds": str(len({r.seed for r in own})),
                "log volumes": f"{max(truths):.1f} … {min(truths):.1f}" if truths else "–",
                "error, nats": "nothing found"
                if lost
                else _mean_worst(abs(r.error) for r in own if r.error is not None),
                "information, nats": _mean_worst(
                    (r.information for r in own if r.information is not None), worst=min
                ),
                "valid": _mean_worst((r.valid for r in own if r.valid is not None), worst=min),
                "modes found": f"{min(r.modes or 0 for r in own)} of {own[0].modes_of}"
                if own[0].modes_of
                else "–",
                "distance of modes": _mean_worst(
                    r.mode_distance for r in own if r.mode_distance is not None
                ),
                "distance of laws": _mean_worst(
                    (r.distance for r in own if r.distance is not None), digits=3
                ),
                "MMD² · 10³ (exact)": f"{1e3 * fmean(r.mmd for r in own):.2f} "
                f"({1e3 * fmean(r.mmd_exact for r in own):.2f})",
                "calls of F": f"{fmean(r.calls for r in own):,.0f}",
                "seconds": f"{fmean(r.seconds for r in own):.1f}",
            }
        )
    return table


def figure(rows: Sequence[Row]) -> str:
    """Return the error of a staircase against the number of its stairs, as SVG."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for problem, stairs in dict.fromkeys((r.problem, r.stairs) for r in rows):
        found = [
            row.distance
            for row in rows
            if (row.problem, row.stairs) == (problem, stairs) and row.distance is not None
        ]
        if found and stairs is not None:
            curves.setdefault(problem, []).append((stairs, fmean(found)))
    return lines(
        "A staircase comes nearer with every stair",
        "stairs, their β chosen automatically",
        "total variation to the density, mean over the seeds",
        curves,
        goal=(0.05, "0.05"),
    )


def _mean_worst(
    values: Iterable[float], *, worst: Callable[[list[float]], float] = max, digits: int = 2
) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    return f"{fmean(known):.{digits}f} ({worst(known):.{digits}f})"
