"""What is measured on a stair, on laws that are known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.mesa import Smc, Stair, Staircase, draw_stair, gammas
from unbackdoor.mesa.uniform import log_volume_upper_bound
from unbackdoor.rng import stream


class Uniform:
    """The uniform law on [0, width]^n."""

    def __init__(self, dimensions: int, width: float = 1.0) -> None:
        self.dimensions, self.width = dimensions, width

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        theta = self.width * torch.rand(count, self.dimensions, generator=generator)
        return theta, self.log_prob(theta)

    def log_prob(self, theta: Tensor) -> Tensor:
        return torch.full((len(theta),), -self.dimensions * math.log(self.width))


def corner(theta: Tensor) -> Tensor:
    """F = 1 on the corner box θ ≤ ¼, 0 elsewhere."""
    return (theta <= 0.25).all(1).float()


def test_uniform_draws_give_the_volume_and_its_share() -> None:
    stair = draw_stair(Uniform(2), corner, 0.5, 40_000, stream(0, "a"))
    assert stair.valid_fraction == pytest.approx(1 / 16, rel=0.1)
    assert stair.log_volume == pytest.approx(math.log(1 / 16), abs=0.1)
    assert stair.entropy_bound == pytest.approx(math.log(1 / 16), abs=0.1)
    assert stair.effective_sample_size == pytest.approx(float(stair.valid.sum()), rel=1e-6)


def test_a_law_on_the_level_set_itself_is_exact() -> None:
    stair = draw_stair(Uniform(5, 0.25), corner, 0.5, 100, stream(0, "a"))
    assert stair.valid_fraction == 1.0
    assert stair.log_volume == pytest.approx(5 * math.log(0.25), abs=1e-5)
    assert stair.entropy_bound == pytest.approx(5 * math.log(0.25), abs=1e-5)


def test_an_empty_level_set_has_no_volume_and_still_gives_draws() -> None:
    stair = draw_stair(Uniform(3), lambda theta: torch.zeros(len(theta)), 0.5, 50, stream(0, "a"))
    assert stair.log_volume is None
    assert stair.entropy_bound is None
    assert stair.effective_sample_size == 0
    assert stair.sample(7, stream(0, "b")).shape == (7, 3)


def test_samples_of_a_stair_are_its_valid_draws() -> None:
    stair = draw_stair(Uniform(1), corner, 0.5, 200, stream(0, "a"))
    assert bool((stair.sample(500, stream(0, "b")) <= 0.25).all())


@given(
    st.lists(st.floats(0.05, 0.95), min_size=1, max_size=5, unique=True).map(sorted),
    st.data(),
)
def test_gammas_follow_their_formula(betas: list[float], data: st.DataObject) -> None:
    heights = data.draw(st.lists(st.floats(-30, 0), min_size=len(betas), max_size=len(betas)))
    weights = gammas(betas, heights)
    steps = [b - a for a, b in zip([0.0, *betas], betas, strict=False)]
    raw = [math.exp(h) * step for h, step in zip(heights, steps, strict=True)]
    assert weights.tolist() == pytest.approx([value / sum(raw) for value in raw], abs=1e-9)


def test_gammas_of_empty_level_sets() -> None:
    assert gammas([0.5, 0.9], [-2.0, None]).tolist() == [1.0, 0.0]
    assert gammas([0.5, 0.9], [None, None]).tolist() == [0.0, 0.0]


def test_the_staircase_is_the_mixture_it_says() -> None:
    def constant(value: float) -> Stair:
        draws = torch.full((4, 2), value)
        return Stair(beta=0.5, draws=draws, log_q=torch.zeros(4), values=torch.ones(4))

    staircase = Staircase((constant(0.2), constant(0.8)), torch.tensor([0.25, 0.75]))
    draws = staircase.sample(8000, stream(0, "mix"))
    assert float((draws[:, 0] == 0.8).double().mean()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(("hits", "draws"), [(0, 10), (0, 500), (3, 50), (50, 50)])
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, draws: int) -> None:
    volume = math.exp(log_volume_upper_bound(hits, draws))
    if hits == draws:
        assert volume == 1.0
        return
    tail = sum(
        math.comb(draws, k) * volume**k * (1 - volume) ** (draws - k) for k in range(hits + 1)
    )
    assert tail == pytest.approx(0.05, rel=1e-6)


def test_the_upper_bound_covers_the_truth() -> None:
    volume, draws = 0.02, 200
    hits = torch.distributions.Binomial(draws, torch.tensor(volume)).sample((500,))
    covered = [math.exp(log_volume_upper_bound(int(k), draws)) >= volume for k in hits]
    assert sum(covered) / 500 > 0.92


class Ramp:
    """q(θ) = 2θ on [0, 1]."""

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        theta = torch.rand(count, 1, generator=generator).sqrt()
        return theta, self.log_prob(theta)

    def log_prob(self, theta: Tensor) -> Tensor:
        return torch.log(2 * theta[:, 0])


def test_a_law_that_is_not_uniform_on_its_level_set() -> None:
    """F = θ, β = ½, with the integrals of 2θ over [½, 1] done by hand."""
    stair = draw_stair(Ramp(), lambda theta: theta[:, 0], 0.5, 200_000, stream(0, "a"))
    assert stair.valid_fraction == pytest.approx(3 / 4, abs=0.005)
    assert stair.log_volume == pytest.approx(math.log(1 / 2), abs=0.005)
    mean_log = 0.5 * (2 * math.log(2) - 3 / 4) / (3 / 4)
    assert stair.entropy_bound == pytest.approx(math.log(3 / 4) - mean_log, abs=0.005)
    worth = (2 / 3) ** 2 / (0.5 * math.log(2) / (3 / 4))
    valid = stair.valid_fraction * len(stair.draws)
    assert stair.effective_sample_size / valid == pytest.approx(worth, abs=0.005)


def test_the_standard_error_covers_the_truth_as_often_as_it_says() -> None:
    stairs = [
        draw_stair(Ramp(), lambda theta: theta[:, 0], 0.5, 500, stream(seed, "a"))
        for seed in range(400)
    ]
    errors = [(stair.log_volume or 0) - math.log(0.5) for stair in stairs]
    inside = [
        abs(error) < 2 * (stair.log_volume_error or 0)
        for error, stair in zip(errors, stairs, strict=True)
    ]
    assert 0.92 < sum(inside) / len(inside) < 0.98


@pytest.mark.parametrize("betas", [[], [0.0, 0.5], [0.5, 0.5], [0.9, 0.5]])
def test_levels_have_to_rise(betas: list[float]) -> None:
    with pytest.raises(ArgumentError, match="betas"):
        gammas(betas, [0.0] * len(betas))
    with pytest.raises(ArgumentError, match="betas"):
        Smc()(lambda theta: theta[:, 0], betas, 2, seed=0)


def test_draws_are_taken_as_the_uniform_law_would() -> None:
    """Draws of a triangular law on [0, 1], of which the upper half is valid."""
    theta = torch.rand(20_000, 1, generator=stream(0, "triangle")).sqrt()
    stair = Stair(beta=0.5, draws=theta, log_q=(2 * theta[:, 0]).log(), values=theta[:, 0])
    assert float(stair.shares.sum()) == pytest.approx(1)
    assert bool((stair.shares[theta[:, 0] < 0.5] == 0).all())
    drawn = stair.sample(20_000, stream(0, "again"))
    assert float(drawn.mean()) == pytest.approx(0.75, abs=0.01)
    assert float((drawn < 0.75).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_no_draw_is_taken_too_often() -> None:
    log_q = torch.zeros(100)
    log_q[0] = -3
    stair = Stair(beta=0.5, draws=torch.rand(100, 2), log_q=log_q, values=torch.ones(100))
    assert float(stair.shares[0]) == pytest.approx(0.107, abs=0.001)
