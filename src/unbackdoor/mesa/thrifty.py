"""The ``thrifty`` estimator of a stair: a flow for an F that is expensive to evaluate.

Each value of a network's F costs many images, and a flow needs a hundred thousand values. So the
flow is fitted to a surrogate that has learnt F from a few thousand noisy values. Its draws are
candidates. Some of them are resampled with weights, so that they follow the exact optimum q ∝
exp(−max(0, logit β − logit F) / T) for the learnt F. Their density is known, except for the error
of its normaliser, which is a sum over all candidates. F itself is evaluated at the resampled draws,
so the volume is an estimate by importance sampling with the true F. The surrogate learns from these
values before the next stair. No gradient of F is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from unbackdoor.mesa.flow import FlowEstimator
from unbackdoor.mesa.settings import LEARNING, LearningSettings
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.surrogate import Learner
from unbackdoor.mesa.testing import TestingFunction, check_betas, shortfall
from unbackdoor.rng import stream

FAST = FlowEstimator()


@dataclass(frozen=True)
class Landing:
    """A stair, and all values of F so far, from which the next stair starts.

    Args:
        stair: the stair.
        theta: where F was evaluated, ``(B, n)`` each time.
        values: F there, ``(B,)`` each time.

    """

    stair: Stair
    theta: list[Tensor]
    values: list[Tensor]


Keep = Callable[[float, Callable[[], Landing]], Landing]
"""(β, climb) → the result of ``climb``, computed now or loaded from an earlier process."""


def _now(_beta: float, climb: Callable[[], Landing]) -> Landing:
    return climb()


@dataclass(frozen=True)
class ThriftyFlow:
    """The estimator.

    Args:
        learning: how the surrogate learns.
        flow: the estimator that is fitted to the learnt F.
        draws: kept for each stair.
        temperature: T of the law that they follow.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> few = LearningSettings(rounds=2, draws=300, networks=3, steps=150)
        >>> (stair,) = ThriftyFlow(few)(upper, (0.5,), 4, seed=0)
        >>> abs(stair.log_volume - math.log(0.5)) < 0.2
        True

    """

    learning: LearningSettings = LEARNING
    flow: FlowEstimator = FAST
    draws: int = 400
    temperature: float = 0.1

    def __call__(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        *,
        seed: int,
        noisy: TestingFunction | None = None,
        known: tuple[Tensor, Tensor] | None = None,
        advance: Callable[[], None] = lambda: None,
        keep: Keep = _now,
    ) -> tuple[Stair, ...]:
        """Estimate the level set of each β.

        Args:
            F: only its values are used, no gradient.
            betas: rising levels in (0, 1).
            dimensions: n.
            seed: of every draw.
            noisy: values of the same mean to learn from, where they are cheaper.
            known: θ ``(B, n)`` and values ``(B,)`` to begin with.
            advance: called after each round, and after each step of the flow.
            keep: called for each stair; may return one that an earlier process has saved.

        """
        check_betas(betas, 1 - 1e-6)
        learner = Learner(dimensions, self.learning, seed)
        if known is not None:
            learner.tell(*known, self.learning.surer)
        stairs: list[Stair] = []
        for beta in betas:
            if stairs and stairs[-1].valid_fraction == 0:  # nothing lies above an empty level set
                stairs.append(replace(stairs[-1], beta=beta))
                continue
            rounds = 1 if stairs else self.learning.rounds

            def climb(beta: float = beta, rounds: int = rounds) -> Landing:
                for _ in range(rounds):
                    learner.ask(noisy or F, betas)
                    advance()
                (candidates,) = self.flow(
                    learner.surrogate(), (beta,), dimensions, seed=seed, advance=advance
                )
                stair = self._take(F, candidates, stream(seed, "take", beta))
                learner.tell(stair.draws, stair.values, self.learning.surer)
                return Landing(stair, learner.theta, learner.values)

            landing = keep(beta, climb)
            learner.theta, learner.values = landing.theta, landing.values
            stairs.append(landing.stair)
        return tuple(stairs)

    def _take(self, F: TestingFunction, stair: Stair, generator: Generator) -> Stair:
        assert stair.log_q is not None
        wanted = -shortfall(stair.values, stair.beta).double() / self.temperature
        weights = wanted - stair.log_q.double()
        total = torch.logsumexp(weights, 0) - math.log(len(weights))
        shares = weights.softmax(0).clamp(min=torch.finfo(torch.float64).tiny)
        taken = torch.multinomial(shares, self.draws, generator=generator)
        draws = stair.draws[taken]
        with torch.no_grad():
            values = F(draws)
        return Stair(
            beta=stair.beta, draws=draws, log_q=(wanted[taken] - total).float(), values=values
        )
