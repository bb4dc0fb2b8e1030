"""The ``swift`` estimator of a stair, for an F that is the mean of expensive parts.

F of a network is a mean over images, and the value of one image costs as many passes as another. A
perceptron with an output for each image learns from values over single images without noise, where
one that learns the mean sees the difference between images as noise. So a few thousand values are
enough. Populations climb the level sets of what is learnt so far, and F is evaluated along their
way. At last one large population climbs, and for each β some of its θ are taken with weights, so
that they follow q ∝ exp(−max(0, logit β − logit F) / T) for the learnt F. All parts of F are
evaluated there, and the volume is an estimate by importance sampling with the true F. Neither a
gradient of F nor a flow is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from unbackdoor.mesa.adam import Adam, one_cycle
from unbackdoor.mesa.settings import SWIFT, SmcSettings, SwiftSettings
from unbackdoor.mesa.smc import Rung, climb
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.surrogate import Surrogate
from unbackdoor.mesa.testing import TestingFunction, check_betas, logit, shortfall
from unbackdoor.rng import stream

MOST_RUNGS = 800
LEAST_RISE, LAST = 0.05, 10
"""A climb ends where the logit of F has risen less than this in so many rungs: near its top."""
TAIL = 3.0
"""Draws fall short of a level by at most so many T."""


@dataclass(frozen=True)
class Parts:
    """F as the mean of parts.

    Args:
        values: θ ``(B, n)`` and the numbers of parts ``(B, k)`` → the values ``(B, k)`` of those.
        count: of all parts.

    """

    values: Callable[[Tensor, Tensor], Tensor]
    count: int


def whole(F: TestingFunction) -> Parts:
    """Return F as the mean of one part."""
    return Parts(lambda theta, _: F(theta)[:, None], 1)


class Learner:
    """Values of parts of F, and what a surrogate has learnt from them.

    Args:
        F: the parts.
        dimensions: n.
        settings: of learning.
        generator: of every draw.

    """

    def __init__(
        self, F: Parts, dimensions: int, settings: SwiftSettings, generator: Generator
    ) -> None:
        self.F, self.settings, self.generator = F, settings, generator
        self.surrogate = Surrogate(dimensions, settings, generator, F.count)
        self.settled = False
        self._known: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def ask(self, theta: Tensor) -> None:
        """Evaluate some parts of F at θ ``(B, n)``, and find out whether they were foreseen."""
        order = torch.rand(len(theta), self.F.count, generator=self.generator).argsort(1)
        which = order[:, : self.settings.parts]
        values = self.F.values(theta, which).float()
        foreseen = torch.sigmoid(self.surrogate.logits(theta).mean(0).gather(1, which))
        wrong = (foreseen - values).abs().mean()
        self.settled = bool(wrong < self.settings.settled * values.mean())
        self._known.append((theta, which, values))

    def learn(self, steps: int) -> None:
        """Train the surrogate with all values so far, from where it is."""
        settings = self.settings
        theta, which, values = (torch.cat(some) for some in zip(*self._known, strict=True))
        parameters = [*self.surrogate.parameters()]
        optimiser = Adam(parameters, settings.learning_rate, settings.weight_decay)
        for step in range(steps):
            size = (settings.networks, settings.batch)
            rows = torch.randint(len(theta), size, generator=self.generator)
            logits = self.surrogate.logits(theta[rows]).gather(2, which[rows])
            loss = binary_cross_entropy_with_logits(logits, values[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(*one_cycle(step, steps, settings.learning_rate))

    def choose(self, betas: Sequence[float]) -> Tensor:
        """Return θ on the way to the level sets, equally many for each of the perceptrons.

        A rung of a climb is chosen with a probability proportional to its rise in level.
        """
        settings, dimensions = self.settings, self._known[0][0].shape[1]
        climbers = SmcSettings(particles=settings.climbers, sweeps=settings.sweeps)
        each = -(-settings.draws // settings.networks)
        chosen: list[Tensor] = []
        for index in range(settings.networks):
            F, generator = self.surrogate.member(index), self.generator
            rungs = _up_to(
                betas[-1],
                climb(F, betas, dimensions, climbers, generator),
            )
            rises = torch.tensor([b.level - a.level for a, b in pairwise(rungs)] or [1.0])
            draws = torch.stack([rung.draws for rung in rungs[1:] or rungs])
            rung = torch.multinomial(rises, each, replacement=True, generator=generator)
            row = torch.randint(draws.shape[1], (each,), generator=generator)
            chosen.append(draws[rung, row])
        return torch.cat(chosen)[: settings.draws]


def _up_to(level: float, rungs: Iterable[Rung]) -> list[Rung]:
    """Return the rungs of a climb up to a level, or up to the top of F if it is lower."""
    taken: list[Rung] = []
    for rung in rungs:
        taken.append(rung)
        if rung.level >= level or len(taken) > MOST_RUNGS:
            break
        if len(taken) > LAST and rung.level > 0:
            earlier, now = logit(torch.tensor([taken[-LAST].level, rung.level]))
            if now - earlier < LEAST_RISE:
                break
    return taken


@dataclass(frozen=True)
class Swift:
    """The estimator.

    Args:
        settings: how the surrogate learns, and the populations.
        draws: kept for each stair.
        temperature: T of the law that they follow.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> (stair,) = Swift()(upper, (0.5,), 4, seed=0)
        >>> abs(stair.log_volume - math.log(0.5)) < 0.2
        True

    """

    settings: SwiftSettings = SWIFT
    draws: int = 400
    temperature: float = 0.1

    def __call__(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        *,
        seed: int,
        parts: Parts | None = None,
        known: Tensor | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> tuple[Stair, ...]:
        """Estimate the level set of each β.

        Args:
            F: only its values are used, no gradient.
            betas: rising levels in (0, 1).
            dimensions: n.
            seed: of every draw.
            parts: of which F is the mean, where they can be evaluated one by one.
            known: θ ``(B, n)`` to begin with; uniform draws when left out.
            advance: called after each round, and after each stair.

        """
        check_betas(betas, 1 - 1e-6)
        settings, generator = self.settings, stream(seed, "swift")
        learner = Learner(parts or whole(F), dimensions, settings, generator)
        if known is None:
            known = torch.rand(settings.draws, dimensions, generator=generator)
        learner.ask(known)
        for _ in range(settings.rounds):
            if not learner.settled:
                learner.learn(settings.steps)
                learner.ask(learner.choose(betas))
            advance()
        learner.learn(2 * settings.steps)
        stairs: list[Stair] = []
        for rung, beta in zip(self._rungs(learner, betas, dimensions), betas, strict=True):
            if stairs and stairs[-1].valid_fraction == 0:  # nothing lies above an empty level set
                stairs.append(replace(stairs[-1], beta=beta))
            else:
                stairs.append(self._take(F, rung, beta, generator))
            advance()
        return tuple(stairs)

    def _rungs(self, learner: Learner, betas: Sequence[float], dimensions: int) -> list[Rung]:
        """Return the population just below each β, the highest where none reaches it."""
        settings = self.settings
        lowest = [1 / (1 + (1 / beta - 1) * math.exp(TAIL * self.temperature)) for beta in betas]
        population = SmcSettings(particles=settings.particles, sweeps=settings.sweeps)
        rungs = _up_to(
            lowest[-1],
            climb(learner.surrogate, lowest, dimensions, population, learner.generator),
        )
        return [next((r for r in rungs if r.level >= low), rungs[-1]) for low in lowest]

    def _take(self, F: TestingFunction, rung: Rung, beta: float, generator: Generator) -> Stair:
        wanted = -shortfall(rung.values, beta).double() / self.temperature
        total = rung.log_volume + torch.logsumexp(wanted, 0) - math.log(len(wanted))
        shares = wanted.softmax(0).clamp(min=torch.finfo(torch.float64).tiny)
        taken = torch.multinomial(shares, min(self.draws, len(shares)), generator=generator)
        draws = rung.draws[taken]
        with torch.no_grad():
            values = F(draws)
        return Stair(beta=beta, draws=draws, log_q=(wanted[taken] - total).float(), values=values)
