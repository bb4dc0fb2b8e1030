"""A stair: a law close to the uniform one on a level set, and its measured properties.

The uniform law on V_β = {F ≥ β} has the largest entropy of all laws with F ≥ β, and that entropy is
log|V_β| (Qiao, Yang and Li, *Defending Neural Backdoors via Generative Distribution Modeling*,
NeurIPS 2019). Volumes are in nats relative to the cube [0, 1]^n, so 0 is everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from unbackdoor.mesa.testing import TestingFunction


class Law(Protocol):
    """A probability law on [0, 1]^n that can be drawn from and whose density is known."""

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw θ ``(count, n)`` and return it with log q(θ) ``(count,)`` in nats."""
        ...

    def log_prob(self, theta: Tensor) -> Tensor:
        """Return log q of given θ ``(B, n)`` in nats, ``(B,)``."""
        ...


class Estimator(Protocol):
    """From F to one stair per level."""

    def __call__(
        self, F: TestingFunction, betas: Sequence[float], dimensions: int, *, seed: int
    ) -> tuple[Stair, ...]:
        """Estimate the level sets of rising ``betas`` in [0, 1]^``dimensions``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stair:
    """One level set, as draws of a law that approximates the uniform one on it.

    Args:
        beta: the level.
        draws: ``(N, n)`` in [0, 1], all draws, valid or not.
        log_q: ``(N,)``, the law's log density at the draws, in nats; None where it has none.
        values: ``(N,)``, F at the draws, over a fixed set of images and places.
        together: how many draws in a row depend on each other; 1 where all are independent.
        information: mutual information between draw and noise in nats, for an estimator that is
            fitted by it (``mine``).

    """

    beta: float
    draws: Tensor
    log_q: Tensor | None
    values: Tensor
    together: int = 1
    information: float | None = None

    @property
    def valid(self) -> Tensor:
        """Which draws lie in the level set, ``(N,)`` bool."""
        return self.values >= self.beta

    @property
    def valid_fraction(self) -> float:
        """The share of draws in the level set."""
        return float(self.valid.double().mean())

    @property
    def entropy_bound(self) -> float | None:
        """A lower bound of log|V_β|: −E[log q | valid] + log(share valid).

        It is the entropy of the law restricted to V_β, and no law there has more than the uniform.
        None without a density or without a valid draw; this holds for the properties below too.
        None also for a population, because its density is itself an estimate.
        """
        weights = self._log_weights()
        if weights is None or self.together > 1:
            return None
        return float(weights.mean()) + math.log(self.valid_fraction)

    @property
    def log_volume(self) -> float | None:
        """log|V_β| by importance sampling, log E_q[1{F ≥ β} / q]."""
        weights = self._log_weights()
        if weights is None:
            return None
        return float(torch.logsumexp(weights, 0)) - math.log(len(self.draws))

    @property
    def log_volume_error(self) -> float | None:
        """The standard error of that estimate in nats, from draws that are independent.

        None also if there is only one group of draws.
        """
        weights = self._log_weights()
        groups = len(self.draws) // self.together
        if weights is None or groups < 2:
            return None
        every = torch.zeros(len(self.draws), dtype=torch.float64)
        every[self.valid] = torch.exp(weights - weights.max())
        means = every[: groups * self.together].reshape(groups, -1).mean(1)
        return float(means.std() / means.mean()) / math.sqrt(groups)

    @property
    def effective_sample_size(self) -> float:
        """The number of uniform draws on V_β with the precision of the weighted draws."""
        weights = self._log_weights()
        return 0.0 if weights is None else float(1 / torch.softmax(weights, 0).square().sum())

    def _log_weights(self) -> Tensor | None:
        """Return log(1 / q) of the valid draws, float64."""
        if self.log_q is None or not bool(self.valid.any()):
            return None
        return -self.log_q[self.valid].double()

    @property
    def shares(self) -> Tensor:
        """The weight of each draw ``(N,)`` in a resample that is uniform on V_β, float64.

        Valid draws have the weight 1 / q, none more than √(valid draws) of the mean weight
        (truncated importance sampling: Ionides, 2008). Where none is valid all have the same.
        """
        weights = self._log_weights()
        if not bool(self.valid.any()):
            return torch.full((len(self.draws),), 1 / len(self.draws), dtype=torch.float64)
        shares = self.valid.double()
        if weights is not None:
            shares[self.valid] = weights.softmax(0).clamp(max=len(weights) ** -0.5)
        return shares / shares.sum()

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw ``(count, n)`` by :attr:`shares`, with replacement."""
        at = torch.rand(count, dtype=torch.float64, generator=generator)
        ends = self.shares.cumsum(0)
        return self.draws[torch.searchsorted(ends, at * ends[-1]).clamp(max=len(ends) - 1)]


def draw_stair(
    law: Law, F: TestingFunction, beta: float, count: int, generator: Generator
) -> Stair:
    """Draw from a law and measure its draws with F.

    Args:
        law: fitted for ``beta`` by an estimator.
        F: the testing function over a fixed set, so that a volume refers to one level set.
        beta: the level.
        count: how many draws.
        generator: of the draws.

    """
    with torch.no_grad():
        draws, log_q = law.sample(count, generator)
        return Stair(beta=beta, draws=draws, log_q=log_q, values=F(draws))
