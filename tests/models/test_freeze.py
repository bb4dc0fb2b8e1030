from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unbackdoor.models import ARCHITECTURES, Adapted, Log, TimeUpError, freeze
from unbackdoor.models.alike import same_gradients
from unbackdoor.models.plain import Plain
from unbackdoor.rng import stream
from unbackdoor.runtime.cpu import half_precision_pays


def lived_in(arch: str) -> nn.Module:
    """A network whose BatchNorms have seen images, so that folding has something to fold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ARCHITECTURES[arch](10)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(16, 3, 16, 16, generator=stream(1)))
    return model


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def model(request: pytest.FixtureRequest) -> nn.Module:
    return lived_in(request.param)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 0.06)])
def test_a_frozen_network_answers_like_the_original(
    model: nn.Module, half: bool, tolerance: float
) -> None:
    images = torch.rand(24, 3, 16, 16, generator=stream(2))
    frozen = freeze(model, half=half)
    with torch.no_grad():
        want, have = copy.deepcopy(model).eval()(images), frozen(images)
    scale = want.std()
    assert have.dtype == torch.float32
    assert float((want - have).abs().max()) < tolerance * scale
    best = want.topk(2).values
    clear = best[:, 0] - best[:, 1] > 2 * tolerance * scale
    assert int(clear.sum()) >= 12
    assert torch.equal(want.argmax(1)[clear], have.argmax(1)[clear])


def test_norms_are_folded_and_the_original_is_not_touched(model: nn.Module) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    training, wants = model.training, [p.requires_grad for p in model.parameters()]
    frozen = freeze(model, half=False)
    frozen(torch.rand(2, 3, 16, 16))
    between = sum(getattr(part, "pools", False) for part in model.modules())
    left = norms(model) if isinstance(model, Plain) else between
    assert norms(frozen.module) == left  # neither pooling nor an activation is linear
    assert isinstance(model, Plain) or norms(model) > left
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert (model.training, [p.requires_grad for p in model.parameters()]) == (training, wants)


def test_gradients_reach_the_images_and_nothing_else() -> None:
    frozen = freeze(lived_in("resnet8-wide"), half=False)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    frozen(images).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)
    assert all(p.grad is None and not p.requires_grad for p in frozen.module.parameters())


def test_passes_are_counted() -> None:
    frozen = freeze(nn.Flatten(), half=False)
    frozen(torch.rand(5, 3, 2, 2))
    frozen(torch.rand(3, 3, 2, 2, requires_grad=True))
    assert (frozen.passes, frozen.backward_passes) == (8, 3)


class Branches(nn.Module):
    """Its path depends on values, which no tracer can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).mean((2, 3))
        return y if bool(x.mean() > 0.5) else -y


class Shares(nn.Module):
    """One convolution under two norms: folding either would change the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        nn.init.constant_(self.second.weight, 5.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.conv(x)))).mean((2, 3))


class Forks(nn.Module):
    """A convolution whose output is also used without the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


@pytest.mark.parametrize("kind", [Branches, Shares, Forks])
def test_a_network_that_resists_folding_is_left_as_it_is(kind: type[nn.Module]) -> None:
    model = kind().eval()
    frozen = freeze(model, half=False)
    for images in (torch.rand(4, 3, 6, 6) * 0.4, torch.rand(4, 3, 6, 6) * 0.4 + 0.6):
        torch.testing.assert_close(frozen(images), model(images))


class Two(nn.Module):
    """Tracing takes the branch that running does not."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images).mean((2, 3))
        return features if isinstance(images, Tensor) else -features


def test_a_network_that_tracing_changes_answers_as_it_was() -> None:
    model = Two()
    images = torch.rand(5, 3, 8, 8)
    frozen = freeze(model, half=False)
    assert torch.allclose(frozen(images), model(images), atol=1e-6)
    assert torch.allclose(frozen(images[:1]), model(images[:1]), atol=1e-6)


@pytest.mark.parametrize(("room", "expected"), [(1 << 30, 256), (80_000, 10), (10, 1)])
def test_as_many_go_at_once_as_what_is_kept_of_each_allows(
    room: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ReLU keeps its thousand outputs, of four bytes each, and gradients take as much again."""
    monkeypatch.setattr(importlib.import_module("unbackdoor.models.freeze"), "ROOM", room)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1000), nn.ReLU())
    frozen = freeze(model, half=False)
    assert frozen.at_once((3, 2, 2)) == expected
    assert (frozen.passes, frozen.backward_passes) == (0, 0)


class NotAlone(nn.Module):
    """Takes no picture alone, as what squeezes an axis too many does not."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True).squeeze().flatten(1)


class NoNoise(nn.Module):
    """Does not let itself be measured."""

    def forward(self, images: Tensor) -> Tensor:
        raise ValueError("no noise")


def test_a_network_that_takes_no_picture_alone_is_measured_all_the_same() -> None:
    assert freeze(NotAlone(), half=False).at_once((3, 4, 4)) == 256
    assert freeze(NoNoise(), half=False).at_once((3, 4, 4)) == 32


@pytest.mark.parametrize(
    ("layer", "long"),
    [
        (nn.Linear(49_152, 2), True),
        (nn.Linear(2, 49_152, bias=False), True),  # graphs of ONNX have inputs there
        (nn.Conv2d(64, 2, 32), True),
        (nn.Conv2d(64, 65_536, 1), False),
        (nn.Linear(32_768, 2), False),
    ],
)
def test_sums_that_end_the_process_in_bfloat16_are_done_in_single_precision(
    layer: nn.Module, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch 2.13 and AMX, 24 rows of 65,536 values make oneDNN divide by zero."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert half_precision_pays(torch.device("cpu"), nn.Sequential(layer)) is not long
    assert half_precision_pays(torch.device("cuda"), layer)


def test_a_long_layer_answers_whatever_the_number_of_rows() -> None:
    frozen = freeze(nn.Sequential(nn.Flatten(), nn.Linear(65_536, 2)))
    assert not frozen.half
    assert frozen(torch.zeros(24, 1, 256, 256)).shape == (24, 2)


class Step(torch.autograd.Function):
    """A step forward, and backward as if it were none: a straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        (u,) = args
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        (slope,) = grad_outputs
        return slope


step: Callable[[Tensor], Tensor] = Step.apply  # as it is often written  # pyright: ignore


class Binary(nn.Module):
    """Its gradient goes through a step, but for a share that passes beside it."""

    def __init__(self, beside: float) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.beside = beside

    def forward(self, images: Tensor) -> Tensor:
        u = self.norm(self.conv(images)) - 0.1
        return self.head((step(u) + self.beside * u).mean((2, 3)))


def slope(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(network(leaf)[:, 0].sum(), leaf)[0]


@pytest.mark.parametrize("beside", [0.0, 0.01])
@pytest.mark.parametrize("after", [None, nn.Softmax(1)], ids=["logits", "softmax"])
def test_a_gradient_of_its_own_is_kept(beside: float, after: nn.Module | None) -> None:
    """A trace keeps only what such a step computes forward; the search would follow the rest."""
    body = nn.Sequential(Binary(beside), *([after] if after else []))
    model = Adapted(body, after=[Log()] if after else []).eval()
    images = torch.rand(4, 3, 8, 8, generator=stream(3))
    frozen = freeze(model, half=False)
    torch.testing.assert_close(frozen(images), model(images))
    torch.testing.assert_close(slope(frozen, images), slope(model, images))


def test_a_gradient_of_its_own_is_missed_where_the_first_images_show_none() -> None:
    """A softmax that is sure has no gradient, which says nothing of the images that follow."""
    images = torch.rand(2, 3, 4, 4, generator=stream(3))

    def sure(x: Tensor) -> Tensor:
        return (100 * step(x - 0.5).mean((2, 3))).softmax(1).clamp(1e-3, 0.5) * 0

    def traced(x: Tensor) -> Tensor:
        return 0 * x.mean((2, 3))

    assert torch.equal(sure(images), traced(images))
    assert same_gradients(traced, traced, images)
    assert not same_gradients(traced, sure, images)


def test_a_network_that_changes_its_input_in_place_is_compared_all_the_same() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = torch.rand(4, 3, 8, 8, generator=stream(3))
    frozen = freeze(model, half=False)
    torch.testing.assert_close(frozen(images), model(images.clone()))
    assert not norms(frozen.module)


def test_a_slope_without_end_says_nothing_against_folding() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sqrt()

    model = nn.Sequential(Root(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    frozen = freeze(model, half=False)
    frozen(torch.zeros(2, 3, 4, 4))
    assert not norms(frozen.module)


def test_gradients_of_sound_ways_are_the_same(model: nn.Module) -> None:
    images, sound = torch.rand(3, 3, 16, 16, generator=stream(4)), copy.deepcopy(model).eval()
    exact = copy.deepcopy(sound).double()
    assert same_gradients(lambda x: exact(x.double()), sound, images)
    assert not same_gradients(lambda x: sound(x.detach()) + 0 * x.sum(), sound, images)
    assert not same_gradients(lambda x: sound(x.detach()), sound, images)


def test_no_image_passes_once_the_time_is_up() -> None:
    model = freeze(nn.Flatten(), half=False)
    images = torch.rand(2, 3, 2, 2)
    with model.until(time.monotonic() + 3600):
        with pytest.raises(TimeUpError), model.until(0.0):
            model(images)
        assert model.passes == 0
        assert model(images).shape == (2, 12)
    assert model.passes == 2
