from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from unbackdoor.models import ARCHITECTURES
from unbackdoor.models.inplace import added, in_place
from unbackdoor.rng import stream


class Joins(nn.Module):
    """A residual network of hand: sums and ReLUs of every spelling, and traps beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.small = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 8)
        self.relu = nn.ELU()  # a name is not what a layer does
        self.dropout = nn.Dropout()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        read_twice = self.conv(x)
        first = torch.relu(read_twice) + read_twice
        second = functional.relu(self.norm(self.again(first)) + first, inplace=False)
        third = first + self.again(second)
        third += second
        wider = self.small(third) + third  # one value a channel, added to every pixel
        passed_on = functional.relu(self.dropout(wider))
        slim = self.relu(self.again(passed_on)).mean((2, 3))
        return torch.add(self.head(slim), self.head(slim * 2).relu(), alpha=2)


def answers(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    logits = model(images)
    logits.logsumexp(1).sum().backward()
    assert images.grad is not None
    return logits.detach(), images.grad


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "joins"])
def test_answers_and_gradients_are_the_same_to_the_bit(arch: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Joins() if arch == "joins" else ARCHITECTURES[arch](10)
    model.eval().requires_grad_(False)
    traced = fx.symbolic_trace(model)
    changed = in_place(copy.deepcopy(traced))
    side = 8 if arch == "joins" else 32
    images = torch.rand(3, 3, side, side, generator=stream(1))
    for want, have in zip(answers(traced, images), answers(changed, images), strict=True):
        assert torch.equal(want, have)
    targets = [node.target for node in changed.graph.nodes]
    assert arch != "resnet20" or torch.relu not in targets
    if arch == "joins":
        # The sums of two layers and after one; the ReLUs of a sum and of the last layer.
        assert (targets.count(added), targets.count(torch.relu_)) == (4, 2)


def test_a_sum_is_written_over_only_where_it_fits() -> None:
    generator = stream(0)
    own, other = torch.rand(2, 3, generator=generator), torch.rand(2, 3, generator=generator)
    want = own + other
    assert added(own, other) is own
    assert torch.equal(own, want)
    for wider in (torch.rand(4, 2, 3, generator=generator), other.double()):
        want = own + wider
        have = added(own, wider)
        assert have is not own
        assert torch.equal(have, want)
        assert have.dtype == want.dtype
