"""That F is learnt from single parts, that little is asked, and that volumes are true."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unbackdoor.bench.toys.problems import Corners, HalfSpace
from unbackdoor.mesa import Parts, Swift
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.rng import stream

QUICK = SwiftSettings(rounds=3, draws=200, networks=2, steps=150, particles=1000)


def test_single_parts_are_enough_although_they_differ() -> None:
    """F is the mean of a part that is nearly always 1, one that is nearly always 0, and others."""
    offsets = torch.tensor([-9.0, 9.0, 2.4, 2.8, 3.2])

    def values(theta: Tensor, which: Tensor) -> Tensor:
        return torch.sigmoid(8 * (theta.sum(1, keepdim=True) - offsets[which]))

    def F(theta: Tensor) -> Tensor:
        return values(theta, torch.arange(5).expand(len(theta), -1)).mean(1)

    asked: list[int] = []

    def counted(theta: Tensor, which: Tensor) -> Tensor:
        asked.append(which.numel())
        return values(theta, which)

    stairs = Swift(QUICK, draws=400)(F, (0.4, 0.6), 4, seed=0, parts=Parts(counted, 5))
    assert sum(asked) <= (1 + 3) * 200 * 2
    uniform = F(torch.rand(200_000, 4, generator=stream(0, "uniform")))
    for stair in stairs:
        truth = (uniform >= stair.beta).double().mean().log()
        assert stair.log_volume == pytest.approx(float(truth), abs=0.3)
        assert stair.valid_fraction > 0.6
        assert torch.allclose(stair.values, F(stair.draws))
        assert len(torch.unique(stair.draws, dim=0)) > 390


def test_a_few_known_draws_show_it_the_way_in_many_dimensions() -> None:
    """As the screened triggers of a scan do: without them all that it sees is F = 0."""
    problem = Corners(27, (0.75, 0.25))
    generator = stream(0, "known")
    theta = torch.cat([problem.sample(0.5, 8, generator), torch.rand(500, 27, generator=generator)])
    for stair in Swift(draws=1000)(problem, (0.5, 0.9), 27, seed=0, known=theta):
        assert stair.log_volume == pytest.approx(problem.log_volume(stair.beta), abs=0.4)
        assert stair.valid_fraction > 0.4
        small = float((problem.mode(stair.draws[stair.valid]) == 1).double().mean())
        assert 0.12 < small < 0.45


def test_it_stops_asking_once_values_are_foreseen() -> None:
    asked: list[int] = []

    def F(theta: Tensor) -> Tensor:
        asked.append(len(theta))
        return HalfSpace(3, 2.0)(theta)

    Swift(SwiftSettings(rounds=50, draws=200), draws=300)(F, (0.5,), 3, seed=0)
    assert asked[-1] == 300
    assert sum(asked[:-1]) < 10 * 200


@pytest.mark.parametrize("top", [0.0, 0.7])
def test_a_level_set_that_is_empty_holds_no_valid_draw(top: float) -> None:
    rounds: list[int] = []

    def F(theta: Tensor) -> Tensor:
        return top * torch.sigmoid(8 * (theta.sum(1) - 1.5))

    stairs = Swift(QUICK, draws=50)(F, (0.5, 0.8, 0.9), 3, seed=0, advance=lambda: rounds.append(1))
    assert [stair.beta for stair in stairs] == [0.5, 0.8, 0.9]
    empty = stairs if top < 0.5 else stairs[1:]
    assert all(stair.valid_fraction == 0 and stair.log_volume is None for stair in empty)
    assert len(rounds) == 3 + 3
