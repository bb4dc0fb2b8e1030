"""``bench modes``: compare MESA, which gets no sample, with generators that get fifty thousand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import msgspec
from torch import Tensor

from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.modes.gans import GANS, GanSettings
from unbackdoor.bench.toys.problems import Gaussians, grid, ring, stacked
from unbackdoor.bench.toys.staircases import approximate, count_modes
from unbackdoor.mesa import Smc
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of

SAMPLES = 50_000
DRAWS = 20_000
STAIRS = 16
CLOSE = 0.99
POPULATION = SmcSettings(particles=4000, repeats=3)


class ModesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one density with one seed.

    Args:
        problem: the density.
        method: its name.
        seed: of every draw.
        samples: of the density that the method was given.
        calls: of F.
        modes: how many modes hold at least a fifth of their true share of the draws.
        modes_of: the number of modes of the density.
        close: share of draws within the radius of a mode that holds 99 % of true draws.
        mode_distance: total variation of the modes' shares.
        seconds: wall-clock time.
        versions: of the software on which the figures depend.

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


@dataclass(frozen=True, kw_only=True)
class Learned(Spec):
    """One density, as one method learns it.

    Args:
        problem: the density.
        method: ``MESA``, or the name of a generator that learns from samples.
        settings: of the population that MESA climbs with, or of the generator.
        seed: of every draw.

    """

    problem: Gaussians
    method: str
    settings: SmcSettings | GanSettings
    seed: int

    table: ClassVar[str] = "modes"
    result: ClassVar[type] = ModesRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The density, the method with its settings, and the seed."""
        own = (self.problem.name, self.method, self.settings, SAMPLES, STAIRS, self.seed)
        return key_of(self.version, *own)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> ModesRow:
        """Learn the density, and count the modes among the draws."""
        del inputs, device
        began = time.perf_counter()
        draws, samples, calls = self._draws()
        modes, of, apart = count_modes(self.problem.mode(draws), self.problem.weights)
        return ModesRow(
            problem=self.problem.name,
            method=self.method,
            seed=self.seed,
            samples=samples,
            calls=calls,
            modes=modes,
            modes_of=of,
            close=close_to_modes(self.problem, draws),
            mode_distance=apart,
            seconds=time.perf_counter() - began,
            versions=versions(),
        )

    def _draws(self) -> tuple[Tensor, int, int]:
        """Return draws of the learned density, the number of given samples, and the calls of F."""
        name = self.problem.name
        generator = stream(self.seed, "modes", name, self.method)
        if isinstance(self.settings, SmcSettings):
            found = approximate(self.problem, STAIRS, Smc(self.settings), self.seed)
            return found.law.sample(DRAWS, generator), 0, found.calls
        samples = self.problem.sample(SAMPLES, stream(self.seed, "modes", name, "samples"))
        sampler = GANS[self.method](samples, self.settings, generator)
        return sampler(DRAWS, generator), SAMPLES, 0


def plan(request: Request) -> list[Spec]:
    """Return a piece for each seed, density and method."""
    methods = {"MESA": POPULATION, **dict.fromkeys(GANS, GanSettings())}
    return [
        Learned(problem=problem, method=method, settings=settings, seed=seed)
        for seed in request.seeds
        for problem in (ring(), grid(), stacked())
        for method, settings in methods.items()
    ]


def close_to_modes(problem: Gaussians, draws: Tensor) -> float:
    """Return the share of draws within the radius that holds 99 % of a Gaussian's draws."""
    exact = problem.sample(100_000, stream(0, "modes", problem.name, "radius"))
    radius = _away(problem, exact).quantile(CLOSE)
    return float((_away(problem, draws) <= radius).double().mean())


def _away(problem: Gaussians, draws: Tensor) -> Tensor:
    """Return the distance of each draw to the nearest centre."""
    near = problem.centres[problem.mode(draws)]
    return (draws.double() - near).square().sum(1).sqrt()


def table(rows: Sequence[ModesRow]) -> list[Line]:
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


BENCH = Bench(
    name="modes",
    summary="MESA, which gets no sample, compared with generators that get fifty thousand.",
    plan=plan,
    table=table,
)
