"""Staircases of known densities, and distances between draws and a law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.bench.toys.problems import Density, Gaussians
from unbackdoor.mesa import Estimator, Staircase, TestingFunction, choose_betas, gammas

SIDE = 500
"""Side of the grid on which laws in the square are integrated."""


class Counted:
    """F with a counter of the θ at which it was evaluated."""

    def __init__(self, F: TestingFunction) -> None:
        self.F, self.calls = F, 0

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F of θ."""
        self.calls += len(theta)
        return self.F(theta)


@dataclass(frozen=True)
class Approximation:
    """A staircase of a density f, computed from F = g(f / max f) alone, g(u) = 2u / (1 + u).

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
    """Return F as an increasing function g of f / max f."""
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


def _peak(density: Density) -> Tensor:
    """Return some θ, one of which is close to the maximum of the density."""
    side = (torch.arange(SIDE) + 0.5) / SIDE
    if isinstance(density, Gaussians):
        return density.centres
    return torch.cartesian_prod(side, side)


def distance(
    f: TestingFunction, F: TestingFunction, betas: Sequence[float], weights: Tensor
) -> float:
    """Return the total variation between Σ γ_i U(V_{β_i}) and f, on a grid of the square."""
    side = (torch.arange(SIDE) + 0.5) / SIDE
    places = torch.cartesian_prod(side, side)
    truth = f(places)
    values = F(places)
    law = torch.zeros_like(truth)
    for beta, weight in zip(betas, weights, strict=True):
        inside = (values >= beta).double()
        law += weight * inside / inside.sum().clamp(min=1)
    return float((law - truth / truth.sum()).abs().sum() / 2)


def count_modes(found: Tensor, weights: Tensor) -> tuple[int, int, float]:
    """Return the modes found, the modes in all, and the total variation of the modes' shares."""
    shares = torch.bincount(found, minlength=len(weights)) / len(found)
    apart = float((shares - weights).abs().sum()) / 2
    return int((shares >= weights / 5).sum()), len(weights), apart


def discrepancy(one: Tensor, other: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy with a Gaussian kernel.

    The width of the kernel is the median distance (Gretton et al., 2012); 0 means no difference.
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
