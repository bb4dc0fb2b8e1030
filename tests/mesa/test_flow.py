"""The flow estimator against volumes that are known."""

from __future__ import annotations

import math

import pytest
import torch

from unbackdoor.bench.toys.problems import Ball, Box, Corners, HalfSpace
from unbackdoor.mesa import Flow, FlowEstimator, Stair, draw_stair, fit
from unbackdoor.mesa.normal import EDGE
from unbackdoor.mesa.settings import FlowSettings
from unbackdoor.rng import stream

SETTINGS = FlowSettings(bins=0)


def stair_of(
    F: HalfSpace | Ball | Box, dimensions: int, beta: float, settings: FlowSettings = SETTINGS
) -> tuple[Flow, Stair]:
    """Fit a flow that starts at a small population on the level set, as the estimator does."""
    population = F.sample(beta, 200, stream(0, "population")).float()
    flow = Flow(population, settings, stream(0, "flow"))
    fit(flow, F, beta, settings, stream(0, "noise"))
    return flow, draw_stair(flow, F, beta, 20_000, stream(0, "draws"))


@pytest.mark.parametrize(
    "F",
    [
        HalfSpace(2, 1.5),
        HalfSpace(9, 6.5),
        HalfSpace(27, 18.0),
        HalfSpace(27, 20.0),
        Ball(2, 0.4),
        Ball(9, 0.5),
        Box(2, 0.5),
        Box(9, 0.3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_volumes_agree_with_closed_forms(F: HalfSpace | Ball | Box, beta: float) -> None:
    _, stair = stair_of(F, F.dimensions, beta)
    assert stair.log_volume is not None
    assert stair.entropy_bound is not None
    truth = F.log_volume(beta)
    assert stair.log_volume_error is not None
    assert stair.log_volume == pytest.approx(truth, abs=0.25 + 2 * stair.log_volume_error)
    assert stair.entropy_bound <= truth + 0.1
    assert stair.valid_fraction > 0.5


def test_two_modes_are_found_in_equal_parts() -> None:
    (stair,) = FlowEstimator()(Corners(27, (0.5, 0.5)), (0.5,), 27, seed=0)
    high = float((stair.draws[stair.valid].mean(1) > 0.5).double().mean())
    assert 0.4 < high < 0.6


@pytest.mark.parametrize("bins", [0, 8])
def test_the_inverse_gives_the_density_of_a_draw(bins: int) -> None:
    F = HalfSpace(4, 2.5)
    flow, _ = stair_of(F, 4, 0.5, FlowSettings(steps=30, components=3, bins=bins))
    flow.reweigh(F, 0.5, 300, stream(0, "shares"))
    theta, log_q = flow.sample(400, stream(0, "draws"))
    inside = ((theta > EDGE) & (theta < 1 - EDGE)).all(1)
    with torch.no_grad():
        again = flow.log_prob(theta[inside])
    assert torch.allclose(again, log_q[inside], atol=1e-2)
    assert float(flow.weights.detach().sum()) == pytest.approx(1)


def test_a_wide_base_in_the_middle_is_the_uniform_law() -> None:
    flow = Flow(torch.rand(40, 6, generator=stream(0, "s")), FlowSettings(), stream(0, "flow"))
    with torch.no_grad():
        flow.means.zero_()
        flow.log_scales.zero_()
    theta, log_q = flow.sample(500, stream(0, "draws"))
    assert log_q.abs().max() < 1e-4
    assert theta.mean().item() == pytest.approx(0.5, abs=0.03)


def test_it_starts_at_the_clusters_of_its_population() -> None:
    corners = torch.tensor([[0.2, 0.2], [0.8, 0.8]]).repeat_interleave(50, 0)
    spread = 0.03 * torch.randn(100, 2, generator=stream(0, "spread"))
    flow = Flow((corners + spread).clamp(0, 1), FlowSettings(components=2), stream(0, "flow"))
    draws, _ = flow.sample(1000, stream(0, "draws"))
    high = (draws > 0.5).all(1)
    low = (draws < 0.5).all(1)
    assert bool((high | low).all())
    assert float(high.double().mean()) == pytest.approx(0.5, abs=0.06)


def test_the_density_integrates_to_one() -> None:
    flow, _ = stair_of(HalfSpace(2, 1.2), 2, 0.5, FlowSettings(steps=60))
    side = (torch.arange(400) + 0.5) / 400
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp().mean().item()
    assert mass == pytest.approx(1.0, abs=0.03)


def test_the_law_is_the_exact_optimum_at_its_temperature() -> None:
    """At T the optimum is q ∝ exp(−shortfall / T): in 2-D its entropy is an integral on a grid."""
    from unbackdoor.mesa import shortfall

    F, beta, temperature = HalfSpace(2, 1.4), 0.5, 1.0
    settings = FlowSettings(steps=300, draws=256, hottest=temperature, coldest=temperature)
    flow, _ = stair_of(F, 2, beta, settings)
    side = (torch.arange(500) + 0.5) / 500
    log_p = -shortfall(F(torch.cartesian_prod(side, side)), beta) / temperature
    log_z = torch.logsumexp(log_p, 0) - 2 * math.log(500)
    theta, log_q = flow.sample(8000, stream(1, "draws"))
    divergence = (log_q + shortfall(F(theta), beta) / temperature).mean() + log_z
    assert -0.02 < float(divergence) < 0.08


def test_the_same_streams_give_the_same_law() -> None:
    one = stair_of(HalfSpace(3, 2.0), 3, 0.5, FlowSettings(steps=10))[1]
    two = stair_of(HalfSpace(3, 2.0), 3, 0.5, FlowSettings(steps=10))[1]
    assert torch.equal(one.draws, two.draws)
    assert torch.equal(one.log_q, two.log_q)
