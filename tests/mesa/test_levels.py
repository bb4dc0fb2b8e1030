"""The best levels beat spaced ones, and their staircase tends to the density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unbackdoor.bench.toys.problems import grid, mixture, ring
from unbackdoor.mesa import choose_betas

SIDE = (torch.arange(300) + 0.5) / 300
SQUARE = torch.cartesian_prod(SIDE, SIDE)


def bell(theta: Tensor) -> Tensor:
    return torch.exp(-(theta.double() - 0.5).square().sum(1) / 0.02)


def distance(f: Tensor, levels: list[float]) -> float:
    heights = torch.tensor([0.0, *levels], dtype=torch.float64)
    staircase = heights[torch.bucketize(f, heights[1:], right=True)]
    return float((staircase / staircase.sum() - f / f.sum()).abs().sum() / 2)


def test_the_levels_of_a_cone_are_those_of_calculus() -> None:
    """f = 1 − θ in one dimension: one step of height b on [0, 1 − b] is best at the least TV."""
    (found,) = choose_betas(lambda theta: 1 - theta[:, 0], 1, 1, seed=0)
    f = 1 - SIDE.double()
    best = min(distance(f, [b / 100]) for b in range(1, 100))
    assert distance(f, [found]) == pytest.approx(best, abs=0.01)


def test_sixteen_levels_are_better_than_even_and_geometric_ones() -> None:
    f = bell(SQUARE)
    own = distance(f, list(choose_betas(bell, 16, 2, seed=0)))
    even = distance(f, [(step + 0.5) / 16 for step in range(16)])
    spaced = distance(f, [0.001 ** (1 - (step + 0.5) / 16) for step in range(16)])
    assert own < 0.04
    assert own < spaced < even


def test_more_stairs_come_nearer_through_any_increasing_g() -> None:
    def F(theta: Tensor) -> Tensor:
        return bell(theta).sqrt()

    found = [
        distance(bell(SQUARE), [b**2 for b in choose_betas(F, n, 2, inverse=torch.square, seed=0)])
        for n in (1, 2, 4, 8)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.07


@pytest.mark.parametrize("density", [ring(), grid(), mixture()], ids=lambda d: d.name)
@pytest.mark.parametrize("count", [1, 5])
def test_levels_rise_strictly_and_are_as_many_as_asked(density: object, count: int) -> None:
    assert isinstance(density, type(ring()))

    def F(theta: Tensor) -> Tensor:
        return torch.exp(density.log_density(theta))

    betas = choose_betas(F, count, density.dimensions, seed=1)
    assert len(betas) == count
    assert betas[0] > 0
    assert list(betas) == sorted(set(betas))
