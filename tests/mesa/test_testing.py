"""The hinge on the scale of the logit."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.mesa import logit, shortfall


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_the_shortfall_is_zero_exactly_on_the_level_set(value: float, beta: float) -> None:
    missing = float(shortfall(torch.tensor([value], dtype=torch.float64), beta))
    assert math.isfinite(missing)
    if value >= beta + 1e-6:
        assert missing == 0
    elif value < beta - 1e-6:
        assert missing > 0


def test_even_a_hopeless_value_has_a_slope() -> None:
    x = torch.tensor([-40.0], requires_grad=True)
    shortfall(torch.sigmoid(x), 0.9).sum().backward()
    assert x.grad is not None
    assert float(x.grad) < -0.5


def test_the_logit_is_finite_at_both_ends() -> None:
    assert bool(logit(torch.tensor([0.0, 1.0])).isfinite().all())
