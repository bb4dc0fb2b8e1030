"""The pieces of ``bench toys``: an estimator on known level sets and densities."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.toys.problems import Corners, Density, Gaussians, LevelSets
from unbackdoor.bench.toys.staircases import (
    Counted,
    approximate,
    count_modes,
    discrepancy,
    distance,
    g,
    height,
)
from unbackdoor.mesa import Estimator, Stair
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of

BETAS = (0.5, 0.9)
COUNTS = (1, 2, 4, 8, 16, 32)
SAMPLE = 2000
MODES_SAMPLE = 20_000


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one estimator on one stair or staircase of a problem, with one seed.

    Args:
        problem: its name.
        dimensions: n.
        estimator: its name.
        seed: of every draw.
        beta: level of the stair, None for a whole staircase.
        stairs: number of stairs of the staircase, None for a single stair.
        truth: log|V_β| in nats.
        log_volume: the estimate; None where no valid draw was found.
        error: of the estimate, with its sign.
        standard_error: as estimated by the estimator itself.
        information: between draw and noise in nats, as ``mine`` estimates it.
        valid: share of draws with F ≥ β.
        modes: how many modes hold at least a fifth of their true share of the draws.
        modes_of: the number of modes of the problem.
        mode_distance: total variation of the modes' shares in the draws.
        distance: total variation between the staircase and f, integrated on a grid.
        mmd: maximum mean discrepancy between draws and exact draws (its square, unbiased).
        mmd_exact: the same between two sets of exact draws.
        calls: of F, one per θ.
        seconds: wall-clock time.
        versions: of the software on which the figures depend.

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


class Estimates(msgspec.Struct, frozen=True):
    """The rows of one run: one per level, or per number of stairs."""

    rows: list[Estimate]


@dataclass(frozen=True, kw_only=True)
class Stairs(Spec):
    """An estimator on the level sets of one problem.

    Args:
        problem: level sets with known volumes.
        name: of the estimator.
        estimator: the estimator itself.
        seed: of every draw.

    """

    problem: LevelSets
    name: str
    estimator: Estimator
    seed: int

    table: ClassVar[str] = "toys"
    result: ClassVar[type] = Estimates
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The problem, the estimator and the seed."""
        own = (repr(self.problem), BETAS, self.name, self.estimator, self.seed)
        return key_of(self.version, *own)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Estimates:
        """Estimate the stairs, and compare each with the truth."""
        del inputs, device
        F = Counted(self.problem)
        began = time.perf_counter()
        stairs = self.estimator(F, BETAS, self.problem.dimensions, seed=self.seed)
        seconds = time.perf_counter() - began
        return Estimates([self._judged(stair, F.calls, seconds) for stair in stairs])

    def _judged(self, stair: Stair, calls: int, seconds: float) -> Estimate:
        problem = self.problem
        generator = stream(self.seed, "toys", problem.name, problem.dimensions, stair.beta)
        truth = problem.log_volume(stair.beta)
        exact = [problem.sample(stair.beta, SAMPLE, generator) for _ in range(2)]
        draws = stair.sample(MODES_SAMPLE, generator)
        modes, of, apart = (
            count_modes(problem.mode(draws), problem.weights(stair.beta))
            if isinstance(problem, Corners)
            else (None, None, None)
        )
        found = stair.log_volume
        return Estimate(
            problem=problem.name,
            dimensions=problem.dimensions,
            estimator=self.name,
            seed=self.seed,
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


@dataclass(frozen=True, kw_only=True)
class Staircases(Spec):
    """Staircases of one density, with increasing numbers of stairs.

    Args:
        density: a known density.
        estimator: of the stairs, ``smc``.
        counts: of stairs.
        seed: of every draw.

    """

    density: Density
    estimator: Estimator
    counts: tuple[int, ...] = COUNTS
    seed: int

    table: ClassVar[str] = "toys"
    result: ClassVar[type] = Estimates
    version: ClassVar[int] = 2

    @property
    def key(self) -> str:
        """The density, the numbers of stairs, the estimator and the seed."""
        own = (self.density.name, self.counts, self.estimator, self.seed)
        return key_of(self.version, *own)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Estimates:
        """Approximate the density with each number of stairs."""
        del inputs, device
        return Estimates([self._measured(count) for count in self.counts])

    def _measured(self, count: int) -> Estimate:
        density = self.density
        f = height(density)
        began = time.perf_counter()
        found = approximate(density, count, self.estimator, self.seed)
        law = found.law
        generator = stream(self.seed, "toys", density.name, count)
        draws = law.sample(MODES_SAMPLE, generator)
        seconds = time.perf_counter() - began
        exact = [density.sample(SAMPLE, generator) for _ in range(2)]
        modes, of, apart = (
            count_modes(density.mode(draws), density.weights)
            if isinstance(density, Gaussians)
            else (None, None, None)
        )
        apart_on_grid = (
            distance(f, lambda theta: g(f(theta)), found.betas, law.weights)
            if density.dimensions == 2
            else None
        )
        return Estimate(
            problem=density.name,
            dimensions=density.dimensions,
            estimator="smc",
            seed=self.seed,
            stairs=count,
            modes=modes,
            modes_of=of,
            mode_distance=apart,
            distance=apart_on_grid,
            mmd=discrepancy(draws[:SAMPLE], exact[0]),
            mmd_exact=discrepancy(exact[1], exact[0]),
            calls=found.calls,
            seconds=seconds,
            versions=versions(),
        )
