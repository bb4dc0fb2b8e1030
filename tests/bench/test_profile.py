"""The clock inside a model takes the time of its passes and changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from unbackdoor.bench.profile import Clock


def test_the_clock_changes_nothing_and_counts_both_directions() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    clock = Clock(model, torch.device("cpu"))
    images = torch.rand(3, 3, 2, 2)
    with torch.no_grad():
        assert torch.equal(clock(images), model(images))
    assert clock.forward_seconds > 0
    assert clock.backward_seconds == 0
    (bare,) = torch.autograd.grad(model(images.requires_grad_()).sum(), images)
    for passes in (1, 2):
        before = clock.backward_seconds
        (timed,) = torch.autograd.grad(clock(images).sum(), images)
        assert torch.equal(timed, bare)
        assert clock.backward_seconds > before, passes
