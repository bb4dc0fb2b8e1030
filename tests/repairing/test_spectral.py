"""Outlier scores against a singular value that is known, and what they remove."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unbackdoor.errors import ContentError
from unbackdoor.repairing.rivals.spectral import penultimate, scores, separation, suspects
from unbackdoor.rng import stream


def planted(count: int, poisoned: int, shift: float) -> torch.Tensor:
    features = torch.randn(count, 16, generator=stream(0, "features"))
    features[:poisoned, 3] += shift
    return features


def test_a_shifted_group_stands_out_and_a_hidden_one_does_not() -> None:
    truth = torch.arange(500) < 50
    assert separation(scores(planted(500, 50, 8.0)), truth) > 0.99
    assert abs(separation(scores(planted(500, 50, 0.0)), truth) - 0.5) < 0.15


def test_the_score_is_the_squared_projection_on_the_widest_direction() -> None:
    away = torch.randn(300, 1, generator=stream(0, "away")) * torch.tensor([[3.0, 4.0]]) / 5
    expected = (away - away.mean(0)).square().sum(1)
    assert torch.allclose(scores(away + 7), expected, atol=1e-4)


def test_half_as_many_again_are_removed_of_each_label() -> None:
    labels = torch.arange(500) % 2
    features = planted(500, 0, 0.0)
    features[(labels == 1).nonzero()[:20, 0], 5] += 9
    removed = suspects(features, labels, 20)
    assert [int(removed[labels == label].sum()) for label in (0, 1)] == [30, 30]
    assert bool(removed[(labels == 1).nonzero()[:20, 0]].all())


@given(data=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_counts_the_pairs_in_order(data: list[tuple[int, bool]]) -> None:
    ones = [value for value, bad in data if bad]
    zeros = [value for value, bad in data if not bad]
    if not ones or not zeros:
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in ones for b in zeros)
    values = torch.tensor([float(value) for value, _ in data])
    truth = torch.tensor([bad for _, bad in data])
    assert separation(values, truth) == pytest.approx(wins / (len(ones) * len(zeros)), abs=1e-6)


def test_features_are_what_enters_the_last_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    images = torch.rand(6, 3, 2, 2, generator=stream(0, "images"))
    found = penultimate(network, images.split(4))
    assert torch.allclose(found, network[:3](images))
    with pytest.raises(ContentError, match="linear"):
        penultimate(nn.Flatten(), [images])
