"""``bench modes``: MESA, which has no sample, beside generators that have fifty thousand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from torch import Tensor

from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.modes.gans import GANS, GanSettings
from unbackdoor.bench.toys.problems import Gaussians, grid, ring, stacked
from unbackdoor.bench.toys.toys import approximate, count_modes
from unbackdoor.mesa import Smc
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress

VERSION = 1
"""Raised when the code changes what a row means, so that stored rows are measured again."""

SAMPLES = 50_000
DRAWS = 20_000
STAIRS = 16
CLOSE = 0.99
POPULATION = SmcSettings(particles=4000, repeats=3)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one density with one seed.

    Args:
        problem: the density.
        method: its name.
        seed: of every draw.
        samples: of the density that the method was given.
        calls: of F.
        modes: how many modes hold at least a fifth of their true share of the draws.
        modes_of: how many there are.
        close: share of draws within the radius of a mode that holds 99 % of true draws.
        mode_distance: total variation of the modes' shares.
        seconds: wall-clock time.
        versions: of what the figures depend on.

    """

    problem: str
    method: str
    seed: int
    samples: int
    calls: int
    modes: int
    modes_of: int
    close: float
    mode_distance: float
    seconds: float
    versions: dict[str, str]


def measure(seeds: Sequence[int], folder: Path, progress: Progress) -> list[Row]:
    """Measure what ``folder`` lacks, and return all rows.

    Args:
        seeds: of every draw.
        folder: the store.
        progress: where to report.

    """
    store = Store(folder, "modes", Row)
    problems, methods = (ring(), grid(), stacked()), ("MESA", *GANS)
    rows: list[Row] = []
    with progress.task("modes", len(seeds) * len(problems) * len(methods)) as task:
        for seed in seeds:
            for problem in problems:
                for method in methods:
                    settings = POPULATION if method == "MESA" else GanSettings()
                    key = key_of(VERSION, problem.name, method, settings, SAMPLES, STAIRS, seed)
                    rows.append(
                        store.keep(key, lambda p=problem, m=method, s=seed: _measure(p, m, s))
                    )
                    task.advance()
    return rows


def _measure(problem: Gaussians, method: str, seed: int) -> Row:
    began = time.perf_counter()
    generator = stream(seed, "modes", problem.name, method)
    if method == "MESA":
        found = approximate(problem, STAIRS, Smc(POPULATION), seed)
        draws, samples, calls = found.law.sample(DRAWS, generator), 0, found.calls
    else:
        data = problem.sample(SAMPLES, stream(seed, "modes", problem.name, "samples"))
        draws = GANS[method](data, GanSettings(), generator)(DRAWS, generator)
        samples, calls = SAMPLES, 0
    modes, of, apart = count_modes(problem.mode(draws), problem.weights)
    return Row(
        problem=problem.name,
        method=method,
        seed=seed,
        samples=samples,
        calls=calls,
        modes=modes,
        modes_of=of,
        close=_close(problem, draws),
        mode_distance=apart,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )


def _close(problem: Gaussians, draws: Tensor) -> float:
    """Return the share of draws in the radius where 99 % of a Gaussian's are."""
    exact = problem.sample(100_000, stream(0, "modes", problem.name, "radius"))
    radius = _away(problem, exact).quantile(CLOSE)
    return float((_away(problem, draws) <= radius).double().mean())


def _away(problem: Gaussians, draws: Tensor) -> Tensor:
    """Return the distance of each draw to the nearest centre."""
    near = problem.centres[problem.mode(draws)]
    return (draws.double() - near).square().sum(1).sqrt()


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return a line per density and method: means over the seeds, worst in brackets."""
    lines: list[Line] = []
    for problem, method in dict.fromkeys((row.problem, row.method) for row in rows):
        own = [row for row in rows if (row.problem, row.method) == (problem, method)]
        of, all_found = own[0].modes_of, sum(row.modes == row.modes_of for row in own)
        close = [row.close for row in own]
        apart = [row.mode_distance for row in own]
        lines.append(
            {
                "density": problem,
                "method": method,
                "samples": f"{own[0].samples:,}",
                "calls of F": f"{fmean(row.calls for row in own):,.0f}",
                "modes found": f"{fmean(row.modes for row in own):.1f} "
                f"({min(row.modes for row in own)}) of {of}",
                "all found": f"{all_found} of {len(own)}",
                "close to a mode": f"{fmean(close):.0%} ({min(close):.0%})",
                "distance of modes": f"{fmean(apart):.2f} ({max(apart):.2f})",
                "seconds": f"{fmean(row.seconds for row in own):.0f}",
            }
        )
    return lines
