"""The truths of the toys are true: volumes and exact draws against each other and by counting."""

from __future__ import annotations

import math

import pytest
import torch

from unbackdoor.bench.toys.problems import (
    Corners,
    Funnel,
    LevelSets,
    level_sets,
    log_ball,
    log_corner,
    mixture,
    ring,
)
from unbackdoor.bench.toys.staircases import discrepancy
from unbackdoor.rng import stream

PROBLEMS = level_sets()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.name}-{p.dimensions}")
def test_exact_draws_lie_in_the_level_set_and_in_the_cube(problem: LevelSets) -> None:
    for beta in (0.5, 0.9):
        draws = problem.sample(beta, 300, stream(0, "draws"))
        assert draws.shape == (300, problem.dimensions)
        assert 0 <= float(draws.min()) <= float(draws.max()) <= 1
        assert float(problem(draws).min()) >= beta - 1e-3


@pytest.mark.parametrize(
    "problem", [p for p in PROBLEMS if p.dimensions <= 9], ids=lambda p: f"{p.name}-{p.dimensions}"
)
def test_volumes_agree_with_counting(problem: LevelSets) -> None:
    uniform = torch.rand(400_000, problem.dimensions, generator=stream(0, "uniform"))
    inside = float((problem(uniform) >= 0.5).double().mean())
    expected = math.exp(problem.log_volume(0.5))
    assert inside == pytest.approx(expected, abs=5 * math.sqrt(expected / len(uniform)))


def test_known_volumes() -> None:
    assert log_corner(2, 1.0) == pytest.approx(math.log(0.5))
    assert log_corner(3, 1.0) == pytest.approx(math.log(1 / 6))
    assert log_corner(192, 96.0) == pytest.approx(math.log(0.5))
    assert log_ball(2, 0.5) == pytest.approx(math.log(math.pi / 4))


def test_modes_have_the_shares_that_were_asked_for_and_are_apart() -> None:
    for dimensions in (27, 75, 192):
        problem = Corners(dimensions, (0.36, 0.28, 0.2, 0.1, 0.06))
        assert problem.weights(0.5).tolist() == pytest.approx(problem.shares, abs=1e-3)
        draws = problem.sample(0.5, 4000, stream(0, "draws"))
        away = (draws[:, None].double() - problem.places).abs().sum(2)
        assert ((away <= torch.tensor(problem.cuts) + 1e-3).sum(1) == 1).all()
        shares = torch.bincount(problem.mode(draws), minlength=5) / len(draws)
        assert shares.tolist() == pytest.approx(problem.shares, abs=0.04)


@pytest.mark.parametrize("density", [ring(), Funnel()], ids=lambda d: d.name)
def test_densities_agree_with_their_draws(density: Funnel) -> None:
    side = (torch.arange(200) + 0.5) / 200
    square = torch.cartesian_prod(side, side)
    f = density.log_density(square).exp()
    draws = density.sample(100_000, stream(0, "draws"))
    left = f[square[:, 0] < 0.45].sum() / f.sum()
    assert float((draws[:, 0] < 0.45).double().mean()) == pytest.approx(float(left), abs=0.01)
    near = (square - 0.5).abs().amax(1) < 0.1
    inside = float(((draws - 0.5).abs().amax(1) < 0.1).double().mean())
    assert inside == pytest.approx(float(f[near].sum() / f.sum()), abs=0.01)


def test_the_discrepancy_tells_laws_apart() -> None:
    law = mixture()
    one, two = (law.sample(500, stream(seed, "draws")) for seed in (0, 1))
    assert abs(discrepancy(one, two)) < 0.01
    assert discrepancy(one, torch.rand(500, 27, generator=stream(0, "uniform"))) > 0.1
