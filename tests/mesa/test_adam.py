"""Steps of Adam against PyTorch's own optimisers and schedule."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from unbackdoor.mesa.adam import Adam, one_cycle

STEPS, PEAK, DECAY = 40, 0.05, 0.1


def loss(network: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return network(torch.randn(16, 4, generator=generator)).square().mean()


def trained(*, ours: bool) -> list[Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    if ours:
        optimiser = Adam([*network.parameters()], PEAK, DECAY)
        for step in range(STEPS):
            optimiser.zero_grad()
            loss(network, step).backward()
            optimiser.step(*one_cycle(step, STEPS, PEAK))
    else:
        theirs = torch.optim.AdamW(network.parameters(), PEAK, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, PEAK, total_steps=STEPS)
        for step in range(STEPS):
            theirs.zero_grad()
            loss(network, step).backward()
            theirs.step()
            schedule.step()
    return [one.detach() for one in network.parameters()]


def test_a_cycle_of_steps_is_that_of_pytorch() -> None:
    for ours, theirs in zip(trained(ours=True), trained(ours=False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [10, 11, 600])
def test_the_cycle_is_that_of_pytorch(steps: int) -> None:
    parameter = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.AdamW([parameter], PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=steps)
    for step in range(steps):
        (group,) = optimiser.param_groups
        assert one_cycle(step, steps, PEAK) == pytest.approx((group["lr"], group["betas"][0]))
        optimiser.step()
        if step < steps - 1:
            schedule.step()


def test_plain_steps_go_on_from_a_state() -> None:
    x = torch.tensor([2.0, -1.0], requires_grad=True)
    y = x.detach().clone().requires_grad_()
    ours, theirs = Adam([x], 0.3), torch.optim.Adam([y], 0.3)
    for step in range(20):
        for one, optimiser in ((x, ours), (y, theirs)):
            optimiser.zero_grad()
            (one - 1).pow(4).sum().backward()
            optimiser.step()
        if step == 9:
            state = ours.state_dict()
            ours = Adam([x], 0.3)
            ours.load_state_dict(state)
    torch.testing.assert_close(x, y)


def test_it_does_without_the_compiler() -> None:
    code = (
        "import sys, torch; from unbackdoor.mesa.adam import Adam;"
        "x = torch.ones(1, requires_grad=True); x.sum().backward(); Adam([x], 0.1).step();"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
