"""What a surrogate learns, and that the thrifty flow asks little and says the truth."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch

from mesa.seeds import two_of_three
from unbackdoor.bench.toys.problems import Corners, HalfSpace
from unbackdoor.mesa import ThriftyFlow
from unbackdoor.mesa.settings import LearningSettings
from unbackdoor.mesa.surrogate import Learner, Surrogate
from unbackdoor.rng import stream

FEWER = LearningSettings(networks=5, steps=300)
BRIEF = LearningSettings(rounds=3, draws=800, networks=4, steps=200)
QUICK = LearningSettings(rounds=3, draws=400, networks=4, steps=200)


def test_it_asks_no_more_than_it_says_and_needs_no_slope() -> None:
    asked: list[int] = []

    def F(theta: torch.Tensor) -> torch.Tensor:
        asked.append(len(theta))
        return HalfSpace(4, 2.8)(theta).detach()

    estimator = ThriftyFlow(QUICK, draws=300)
    stairs = estimator(F, (0.5, 0.8), 4, seed=0)
    assert sum(asked) == (3 + 1) * 400 + 2 * 300
    for stair in stairs:
        assert len(stair.draws) == len(torch.unique(stair.draws, dim=0)) == 300
        assert stair.log_volume == pytest.approx(HalfSpace(4, 2.8).log_volume(stair.beta), abs=0.3)


def test_a_few_known_draws_show_it_the_way_in_many_dimensions() -> None:
    """As the screened triggers of a scan do: without them all that it sees is F = 0."""
    problem = Corners(27, (0.75, 0.25))
    estimator = ThriftyFlow(FEWER, draws=1000)

    def check(seed: int) -> None:
        generator = stream(seed, "known")
        theta = problem.sample(0.5, 8, generator)
        theta = torch.cat([theta, torch.rand(500, 27, generator=generator)])
        for stair in estimator(problem, (0.5, 0.9), 27, seed=seed, known=(theta, problem(theta))):
            assert stair.log_volume == pytest.approx(problem.log_volume(stair.beta), abs=0.4)
            assert stair.valid_fraction > 0.4
            small = float((problem.mode(stair.draws[stair.valid]) == 1).double().mean())
            assert 0.12 < small < 0.5

    two_of_three(check)


def test_noise_is_averaged() -> None:
    """Each value is a coin that falls on 1 with probability F; a few draws show both modes."""
    problem = Corners(9, (0.75, 0.25))
    errors: list[float] = []
    shares: list[float] = []
    for seed in range(3):
        generator = stream(seed, "coins")

        def coin(theta: torch.Tensor, generator: torch.Generator = generator) -> torch.Tensor:
            return torch.bernoulli(problem(theta), generator=generator)

        theta = torch.cat([problem.sample(0.5, 16, generator), torch.rand(100, 9)])
        (stair,) = ThriftyFlow(BRIEF, draws=1000)(
            problem, (0.5,), 9, seed=seed, noisy=coin, known=(theta, problem(theta))
        )
        assert stair.log_volume is not None
        errors.append(stair.log_volume - problem.log_volume(0.5))
        shares.append(float((problem.mode(stair.draws[stair.valid]) == 1).double().mean()))
    assert abs(fmean(errors)) < 0.3
    assert 0.125 < fmean(shares) < 0.5


def test_the_ensemble_is_the_mean_of_its_members() -> None:
    surrogate = Surrogate(5, QUICK, stream(0, "weights"))
    theta = torch.rand(7, 5, generator=stream(0, "theta"))
    logits = surrogate.logits(theta)
    assert logits.shape == (4, 7, 1)
    assert torch.allclose(surrogate(theta), torch.sigmoid(logits.mean(0))[:, 0])
    assert torch.allclose(surrogate.member(2)(theta), torch.sigmoid(logits[2])[:, 0])
    alone = surrogate.logits(theta.expand(4, -1, -1))
    assert torch.allclose(alone, logits, atol=1e-6)


def test_what_is_told_is_learnt() -> None:
    learner = Learner(2, QUICK, seed=0)
    theta = torch.rand(600, 2, generator=stream(0, "theta"))
    learner.tell(theta, HalfSpace(2, 1.2)(theta))
    error = learner.surrogate()(theta) - HalfSpace(2, 1.2)(theta)
    assert float(error.abs().mean()) < 0.03


def test_a_level_set_that_is_empty_holds_no_valid_draw() -> None:
    asked: list[int] = []

    def F(theta: torch.Tensor) -> torch.Tensor:
        asked.append(len(theta))
        return torch.zeros(len(theta))

    stairs = ThriftyFlow(QUICK, draws=50)(F, (0.5, 0.8, 0.9), 3, seed=0)
    assert [stair.beta for stair in stairs] == [0.5, 0.8, 0.9]
    assert all(stair.valid_fraction == 0 and stair.log_volume is None for stair in stairs)
    assert sum(asked) == 3 * 400 + 50  # above an empty level set nothing is asked
