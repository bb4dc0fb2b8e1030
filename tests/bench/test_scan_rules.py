"""The rules of other authors, in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from unbackdoor.bench.framework.roc import area, curve
from unbackdoor.bench.scan.rules import (
    BOUND,
    anomaly,
    fit_gamma,
    largest_margin,
    no_rule,
    smallest_mask,
)
from unbackdoor.rng import stream


def test_the_anomaly_index_counts_deviations_from_the_median() -> None:
    # median 3; deviations 2, 1, 0, 1, 7 with median 1
    ruling = anomaly([1.0, 2.0, 3.0, 4.0, 10.0])
    assert ruling.scores == pytest.approx([one / 1.4826 for one in (-2, -1, 0, 1, 7)])
    assert (ruling.verdict, ruling.accused) == ("backdoored", [4])


@pytest.mark.parametrize(("far", "accused"), [(2.9652 - 1e-6, []), (2.9652 + 1e-6, [4])])
def test_an_index_of_two_is_the_bound(far: float, accused: list[int]) -> None:
    assert anomaly([-1.0, -0.5, 0.0, 1.0, far]).accused == accused


def test_only_statistics_above_the_median_are_anomalous() -> None:
    assert anomaly([-100.0, 1.0, 2.0, 3.0, 4.0]).verdict == "clean"


def test_of_an_even_number_of_sizes_the_lower_middle_one_is_the_median() -> None:
    # sizes 1, 2, 4, 8: the median is 2, the deviations are 1, 0, 2, 6 with median 1
    assert anomaly([-1.0, -2.0, -4.0, -8.0]).scores[0] == pytest.approx(1 / 1.4826)


@pytest.mark.parametrize("rule", [anomaly, largest_margin])
def test_equal_statistics_say_nothing(rule: type) -> None:
    ruling = rule([5.0, 5.0, 5.0, 5.0])
    assert (ruling.verdict, ruling.accused, ruling.scores) == ("inconclusive", [], [0.0] * 4)


def test_the_p_value_is_that_of_the_largest_of_as_many_draws() -> None:
    others = [10.0, 11.0, 12.0, 10.5, 11.5]
    shape, scale = fit_gamma(torch.tensor(others, dtype=torch.float64))
    within = float(torch.igamma(shape, torch.tensor(12.2, dtype=torch.float64) / scale))
    ruling = largest_margin([*others[:2], 12.2, *others[2:]])
    assert ruling.scores[2] == pytest.approx(-math.log10(1 - within**6))
    assert max(ruling.scores) == ruling.scores[2]
    assert (ruling.verdict, ruling.accused) == ("clean", [])
    assert largest_margin([*others, 30.0]).accused == [5]
    assert largest_margin([*others, 1e6]).accused == [5]  # p is rounded to nothing
    assert largest_margin([*others, 30.0, -1.0]).verdict == "inconclusive"


def test_the_fitted_gamma_distribution_is_the_likeliest() -> None:
    values = -torch.rand(4, 3000, generator=stream(0, "gamma"), dtype=torch.float64).log().sum(0)
    shape, scale = fit_gamma(3 * values)
    assert float(shape) == pytest.approx(4, rel=0.1)
    assert float(scale) == pytest.approx(3, rel=0.1)
    few = values[:9]

    def likelihood(k: float, s: float) -> float:
        return float(torch.distributions.Gamma(k, 1 / s).log_prob(few).sum())

    k, s = map(float, fit_gamma(few))
    for more in (0.99, 1.01):
        assert likelihood(k, s) > max(likelihood(more * k, s), likelihood(k, more * s))


def test_the_smallest_mask_counts_below_a_bound() -> None:
    assert smallest_mask([-2 * BOUND, -0.5 * BOUND, -0.4 * BOUND]).accused == [2]
    assert smallest_mask([-2 * BOUND, -1.01 * BOUND]).verdict == "clean"
    assert smallest_mask([-BOUND / math.e, -BOUND]).scores == pytest.approx([1.0, 0.0])


def test_without_a_rule_nothing_is_said() -> None:
    assert no_rule([0.3]).verdict == "inconclusive"
    assert no_rule([0.3]).scores == [0.3]


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    found = area([3.0, 1.0], [2.0, 0.0])
    assert found is not None
    assert found.value == 0.75
    assert area([1.0], []) is None
    points = curve([3.0, 1.0], [2.0, 0.0])
    assert points == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    pairs = zip(points[1:], points, strict=False)
    assert sum((x - a) * (y + b) / 2 for (x, y), (a, b) in pairs) == 0.75


def test_the_interval_of_an_area_holds_it_and_narrows_with_networks() -> None:
    few = area([2.0] * 5, [1.0] * 5)
    many = area([2.0] * 50, [1.0] * 50)
    chance = area([1.0] * 50, [1.0] * 50)
    assert few is not None
    assert many is not None
    assert chance is not None
    assert (few.value, few.high, many.value, many.high) == (1, 1, 1, 1)
    assert few.low < many.low < 1
    assert chance.value == 0.5
    assert chance.low < 0.5 < chance.high
    assert 1 - chance.high == pytest.approx(chance.low, abs=1e-6)
