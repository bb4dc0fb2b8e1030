"""The paper's estimator: its bound against a known information, and what its presets reach."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import nn

from unbackdoor.bench.toys.problems import HalfSpace
from unbackdoor.mesa import Mine
from unbackdoor.mesa.makers import Published
from unbackdoor.mesa.mine import MovingAverage, _terms
from unbackdoor.mesa.settings import MINE_CORRECTED, MINE_PAPER, MineSettings
from unbackdoor.rng import stream


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_bound_reaches_the_information_of_gaussians(correlation: float) -> None:
    """I(x; z) = −½ log(1 − ρ²) for a pair of standard normals with correlation ρ."""
    generator = stream(0, "pairs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        statistics = nn.Sequential(nn.Linear(2, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU())
        statistics.append(nn.Linear(64, 1))
    optimiser = torch.optim.Adam(statistics.parameters(), lr=2e-3)
    found: list[float] = []
    for _ in range(800):
        z, noise = torch.randn(2, 1000, 1, generator=generator)
        x = correlation * z + math.sqrt(1 - correlation**2) * noise
        joint, apart = _terms(statistics, x, z, generator)
        bound = joint - apart
        optimiser.zero_grad()
        (-bound).backward()
        optimiser.step()
        found.append(float(bound.detach()))
    truth = -0.5 * math.log(1 - correlation**2)
    assert math.fsum(found[-200:]) / 200 == pytest.approx(truth, abs=0.06)


def test_the_published_networks_are_fed_with_noise_at_every_layer() -> None:
    generator = stream(0, "noise")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        maker = Published(64, 32, 27)
    z = maker.noise(10, generator)
    assert z.shape == (10, 64)
    assert 0 <= float(z.min()) < 0.1 < 0.9 < float(z.max()) < 1
    drawn = maker.eval()(z)
    assert drawn.shape == (10, 27)
    assert bool(((drawn > 0) & (drawn < 1)).all())
    for quarter in range(4):
        other = z.clone()
        other[:, 16 * quarter : 16 * (quarter + 1)] += 0.1
        assert not torch.equal(maker(other), drawn)


def test_the_moving_average_weighs_a_batch_by_what_was_before() -> None:
    """Published: mean ← mean + r (E − mean), and the gradient of log E times E / mean."""
    average, mean = MovingAverage(0.1), 2.0
    assert average(math.log(2.0)) == pytest.approx(1.0)
    for expectation in (4.0, 1.0, 3.0):
        mean += 0.1 * (expectation - mean)
        assert average(math.log(expectation)) == pytest.approx(expectation / mean)
    none = MovingAverage(1.0)
    assert [none(term) for term in (0.0, -3.0, 80.0)] == [1.0, 1.0, 1.0]


SEEDS = range(3)
BRIEFLY = replace(MINE_CORRECTED, steps=200)


@pytest.mark.parametrize("settings", [replace(MINE_PAPER, steps=20), BRIEFLY])
def test_a_stair_of_it_has_draws_and_no_volume(settings: MineSettings) -> None:
    (stair,) = Mine(settings, draws=200)(HalfSpace(9, 6.5), (0.5,), 9, seed=0)
    assert stair.draws.shape == (200, 9)
    assert stair.log_volume is stair.entropy_bound is stair.log_volume_error is None
    assert stair.effective_sample_size == 0
    assert stair.information is not None
    assert stair.information < math.log(settings.batch) + 0.5


def test_its_draws_are_valid_and_about_as_wide_as_the_truth() -> None:
    problem = HalfSpace(9, 6.5)
    exact = float(problem.sample(0.5, 2000, stream(0, "exact")).std(0).mean())
    stairs = [Mine(BRIEFLY, draws=2000)(problem, (0.5,), 9, seed=seed)[0] for seed in SEEDS]
    assert fmean(stair.valid_fraction for stair in stairs) > 0.7
    assert 0.4 < fmean(float(stair.draws.std(0).mean()) for stair in stairs) / exact < 1.3


def test_the_correction_begins_where_what_is_flat_for_the_paper_has_a_slope() -> None:
    """Where the published generator begins F is below e⁻³⁰, and so is the slope of its hinge.

    How such a training ends is chance. A small population climbs at once.
    """
    problem = HalfSpace(27, 19.0)

    def slope(settings: MineSettings, seed: int) -> float:
        maker, _ = Mine(settings)._networks(problem, 0.9, 27, seed, stream(seed, "networks"))
        theta = maker(maker.noise(settings.batch, stream(seed, "noise"))).detach().requires_grad_()
        (0.9 - problem(theta)).clamp(min=0).mean().backward()
        assert theta.grad is not None
        return float(theta.grad.abs().sum())

    assert max(slope(MINE_PAPER, seed) for seed in SEEDS) < 1e-9
    assert min(slope(MINE_CORRECTED, seed) for seed in SEEDS) > 1
    found = [Mine(BRIEFLY, draws=500)(problem, (0.9,), 27, seed=seed)[0] for seed in SEEDS]
    assert fmean(stair.valid_fraction for stair in found) > 0.8
