"""Networks that end in a softmax are frozen without it, where it can be seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unbackdoor.models import Adapted, Log, Row, freeze
from unbackdoor.models.logits import without_softmax
from unbackdoor.rng import stream

SHARP = 3000.0
"""So sharp that all probabilities but one are 0."""


class Body(nn.Module):
    """Logits of five classes, and perhaps something after them."""

    def __init__(self, last: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        z = SHARP * self.head(self.first(images).relu().mean((2, 3)))
        return z if self.last is None else self.last(z)


class Untraced(nn.Module):
    """The softmax of it, behind what cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, images: Tensor) -> Tensor:
        z = self.body(images)
        return z.softmax(1) if bool(z.isfinite().all()) else z


SEEN = {
    "module": nn.Softmax(1),
    "function": lambda z: functional.softmax(z, 1),
    "keyword": lambda z: functional.softmax(input=z, dim=1),
    "torch": lambda z: torch.softmax(z, 1),
    "method": lambda z: z.softmax(1),
}
UNSEEN = {
    "something after it": lambda z: z.softmax(1).clamp(0, 1),
    "by hand": lambda z: (
        (z - z.amax(1, keepdim=True)).exp()
        / (z - z.amax(1, keepdim=True)).exp().sum(1, keepdim=True)
    ),
}


def pictures() -> Tensor:
    return torch.rand(6, 3, 9, 9, generator=stream(0, "pictures"))


def slope(network: nn.Module, images: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    best = network(images).topk(2, dim=1).values
    return torch.autograd.grad((best[:, 0] - best[:, 1]).sum(), images)[0]


@pytest.mark.parametrize("name", SEEN)
def test_the_logits_come_back_and_with_them_a_gradient(name: str) -> None:
    sure = Body(SEEN[name]).eval()
    adapted = Adapted(sure, after=[Log()]).eval()
    images = pictures()
    assert torch.equal(sure(images).detach().unique(), torch.tensor([0.0, 1.0]))
    assert not bool(slope(adapted, images).any())
    frozen = freeze(adapted, half=False)
    bare = Body().eval()
    assert torch.allclose(frozen(images), bare(images), rtol=1e-4, atol=1e-2)
    assert torch.allclose(slope(frozen.module, images), slope(bare, images), rtol=1e-3, atol=1e-3)
    assert torch.equal(adapted(images), Adapted(sure, after=[Log()])(images))  # not changed


def test_steps_around_the_network_stay() -> None:
    class Square(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, :, None, None].softmax(1)

    before, after = nn.AvgPool2d(3), [Row(), Log()]
    rows = Adapted(Body(Square()), before=[before], after=after).eval()
    plain = Adapted(Body(nn.Softmax(1)), before=[before], after=[Log()]).eval()
    images = pictures()
    wanted = Body().eval()(before(images))
    for network in (plain, rows):
        assert torch.allclose(freeze(network, half=False)(images), wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen_stays_as_it_is(name: str) -> None:
    network = Adapted(Body(UNSEEN[name]), after=[Log()]).eval()
    assert without_softmax(network) is network


def test_what_cannot_be_traced_stays_as_it_is() -> None:
    network = Adapted(Untraced(), after=[Log()]).eval()
    assert without_softmax(network) is network


@pytest.mark.parametrize("last", [None, nn.Softmax(1), nn.LogSoftmax(1)])
def test_nothing_is_taken_from_a_network_whose_answers_are_used_as_they_are(
    last: nn.Module | None,
) -> None:
    for network in (Body(last), Adapted(Body(last)), Adapted(Body(last), after=[Row()])):
        assert without_softmax(network) is network
