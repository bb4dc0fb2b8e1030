"""The ``smc`` estimator: level-set sequential Monte Carlo, the reference for every other.

A population of uniform θ climbs through rising levels of F. At each level the share that survives
is the factor by which the volume shrinks, the survivors are copied, and every copy is moved by a
Markov chain that leaves the uniform law on the level set unchanged, so that the product of the
shares is an estimate of |V_β| and the population a sample of U(V_β) (subset simulation: Au and
Beck, 2001; adaptive multilevel splitting: Cérou and Guyader, 2007). It needs only values of F, no
gradients.

On x with θ = Φ(x) the uniform law on the cube is the standard normal, which the preconditioned
Crank–Nicolson proposal x′ = √(1 − s²) x + s ξ leaves unchanged in any dimension (Cotter, Roberts,
Stuart and White, 2013): a proposal is accepted exactly where F(θ′) reaches the level.

Such steps are too short to go from one mode to another, and the shares of modes then drift by
chance from level to level. Where modes are known to be mirror images of each other, mirrors θᵢ → 1
− θᵢ of some coordinates are proposed after each step; they leave the uniform law unchanged too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.mesa.normal import NORMAL, probit
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import TestingFunction, at_least, check_betas
from unbackdoor.rng import stream

Mirrors = Callable[[int, Generator], Tensor]
"""(B, generator) → signs ``(B, n)`` of ±1. A coordinate with −1 moves from θᵢ to 1 − θᵢ, so that a
population can reach another mode."""

FREE_DIMENSIONS = 96
"""In more dimensions the steps are shorter, so the number of moves grows in proportion."""


@dataclass(frozen=True)
class Rung:
    """A population after it was moved at a level.

    Args:
        level: every θ has at least this F.
        log_volume: the estimate of log|V_level| in nats.
        draws: ``(N, n)`` in [0, 1].
        values: ``(N,)``, F there.

    """

    level: float
    log_volume: float
    draws: Tensor
    values: Tensor


@dataclass(frozen=True)
class Smc:
    """The estimator.

    Args:
        settings: population, moves and repeats.
        mirrors: proposed in addition to short steps; none when left out.

    Example:
        The volume of the upper half of a cube, known to be log ½:

        >>> (stair,) = Smc()(lambda theta: theta[:, 0], (0.5,), 9, seed=0)
        >>> abs(stair.log_volume - math.log(0.5)) < 0.1
        True

    """

    settings: SmcSettings = SmcSettings()
    mirrors: Mirrors | None = None

    def __call__(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        *,
        seed: int,
        advance: Callable[[], None] = lambda: None,
    ) -> tuple[Stair, ...]:
        """Estimate the level set of each β.

        Args:
            F: the same at every call: over a fixed set of images and places.
            betas: rising levels in (0, 1).
            dimensions: n.
            seed: of every draw.
            advance: called after each evaluation of F on a population.

        Returns:
            One stair per β; its draws are the populations of all repeats, one after the other, and
            one whose level no population reached has no valid draw.

        """
        check_betas(betas)
        runs = [
            self._run(F, betas, dimensions, stream(seed, "smc", run), advance)
            for run in range(self.settings.repeats)
        ]
        return tuple(
            Stair(
                beta=beta,
                draws=torch.cat([rung.draws for rung in rungs]),
                log_q=torch.cat([torch.full_like(r.values, -r.log_volume) for r in rungs]),
                values=torch.cat([rung.values for rung in rungs]),
                together=self.settings.particles,
            )
            for beta, rungs in zip(betas, zip(*runs, strict=True), strict=True)
        )

    def _run(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        generator: Generator,
        advance: Callable[[], None],
    ) -> list[Rung]:
        """Return the rung of each β, and the highest rung for a β that is not reached."""
        found: list[Rung] = []
        for rung in climb(
            F, betas, dimensions, self.settings, generator, advance, mirrors=self.mirrors
        ):
            while len(found) < len(betas) and rung.level >= betas[len(found)]:
                found.append(rung)
            if len(found) == len(betas):
                return found
            highest = rung
        return found + [highest] * (len(betas) - len(found))  # pyright: ignore


@torch.no_grad()
def climb(
    F: TestingFunction,
    betas: Sequence[float],
    dimensions: int,
    settings: SmcSettings,
    generator: Generator,
    advance: Callable[[], None] = lambda: None,
    start: Tensor | None = None,
    mirrors: Mirrors | None = None,
) -> Iterator[Rung]:
    """Yield the first population, then one rung after the other as far as F rises.

    Args:
        F: the same at every call.
        betas: levels to stop at on the way, rising.
        dimensions: n.
        settings: population and moves.
        generator: of every draw.
        advance: called after each evaluation of F on the population.
        start: θ ``(B, n)`` to climb from, to which volumes are relative; uniform draws when left
            out.
        mirrors: proposed after each step; none when left out.

    """
    count = settings.particles
    sweeps = math.ceil(settings.sweeps * max(1.0, dimensions / FREE_DIMENSIONS))
    x = torch.randn(count, dimensions, generator=generator)
    if start is not None:
        x = probit(start[torch.randint(len(start), (count,), generator=generator)])
    values = F(NORMAL.cdf(x))
    advance()
    log_volume, step, level = 0.0, settings.step, 0.0
    yield Rung(level, log_volume, NORMAL.cdf(x), values)
    while (following := _next_level(values, level, betas, settings.survive)) is not None:
        level = following
        alive = (values >= level).nonzero()[:, 0]
        log_volume += math.log(len(alive) / count)
        order = alive[torch.randperm(len(alive), generator=generator)]
        copies = order.repeat(-(-count // len(order)))[:count]
        x, values = x[copies], values[copies]
        for _ in range(sweeps):
            scale = step * torch.exp(0.5 * torch.randn(count, 1, generator=generator))
            scale.clamp_(max=1.0)
            noise = torch.randn(count, dimensions, generator=generator)
            proposed = (1 - scale.square()).sqrt() * x + scale * noise
            x, values, accepted = _move(F, level, x, values, proposed)
            advance()
            step *= math.exp(float(accepted.float().mean()) - settings.acceptance)
            step = min(max(step, 1e-4), 1.0)
            if mirrors is not None:
                proposed = mirrors(count, generator) * x
                x, values, _ = _move(F, level, x, values, proposed)
                advance()
        yield Rung(level, log_volume, NORMAL.cdf(x), values)


def _move(
    F: TestingFunction, level: float, x: Tensor, values: Tensor, proposed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x and F there, moved where the proposal reaches the level, and where it does."""
    reached = at_least(F, NORMAL.cdf(proposed), level)
    accepted = reached >= level
    return (
        torch.where(accepted[:, None], proposed, x),
        torch.where(accepted, reached, values),
        accepted,
    )


def _next_level(
    values: Tensor, level: float, betas: Sequence[float], survive: float
) -> float | None:
    """Return the level that the share ``survive`` of the population reaches, at most the next β.

    None if no θ lies above the present level.
    """
    beta = min((beta for beta in betas if beta > level), default=math.inf)
    ranked = values.sort(descending=True).values
    following = float(ranked[max(1, round(survive * len(ranked))) - 1])
    if following <= level or following <= float(ranked[-1]):  # a plateau: leave it
        higher = ranked[ranked > max(level, float(ranked[-1]))]
        if not len(higher):
            return None
        following = max(following, float(higher[-1]))
    return min(following, beta)
