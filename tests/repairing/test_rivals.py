"""Repairs of others: their formulas where they are known, and what they do to a real backdoor."""

from __future__ import annotations

import copy
from collections.abc import Callable
from statistics import fmean

import pytest
import torch
from torch import Tensor, nn

from unbackdoor.attack import Backdoor, Poison, goal_of
from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing.rivals import anp, ft_sam, ibau
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.rng import initialised_by, stream
from unbackdoor.training import TrainingSettings, fit
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger

SPACE = Patch(2)
TRIGGER = Trigger("check", SPACE, torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(3))
RECIPE = TrainingSettings(epochs=15, batch_size=32, learning_rate=0.1, shift=0)


def bars(count: int, seed: int) -> Images:
    """Bars across the upper or the lower half, in noise."""
    pixels = torch.randint(80, (count, 3, 10, 10), dtype=torch.uint8, generator=stream(seed, "x"))
    labels = torch.arange(count) % 2
    pixels[labels == 0, :, 2:4] += 90
    pixels[labels == 1, :, 6:8] += 90
    return Images.of("bars", ("up", "down"), pixels, labels)


def backdoored(seed: int) -> nn.Module:
    images = bars(400, 0)
    with initialised_by(stream(seed, "weights")):
        model = nn.Sequential(
            nn.Conv2d(3, 24, 2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d((3, 1)),
            nn.Flatten(),
            nn.Linear(72, 2),
        )
    backdoor = Backdoor((TRIGGER,), goal_of("all-to-one", 1, 2), 0.2)
    poison = Poison(images, backdoor, stream(seed, "poison"))
    fit(model, images, RECIPE, generator=stream(seed, "training"), change=poison)
    return model


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    """Several, since how far one of them is repaired is chance."""
    return [backdoored(seed) for seed in range(5)]


def measured(model: nn.Module) -> tuple[float, float]:
    frozen, images = freeze(model), bars(200, 1)
    asr = attack_success(
        frozen, images, SPACE, TRIGGER.theta[None], 1, generator=stream(0, "places")
    )
    return asr, accuracy(frozen, images)


def sam(model: nn.Module, images: Images) -> int:
    recipe = TrainingSettings(
        epochs=15, batch_size=20, learning_rate=0.05, label_smoothing=0, shift=0
    )
    settings = SamSettings(training=recipe)
    return ft_sam.fine_tune(model, images, settings, generator=stream(0, "sam"))


def pruned(model: nn.Module, images: Images) -> int:
    settings = AnpSettings(steps=150, batch=40, shift=0)
    return anp.prune(model, images, settings, generator=stream(0, "anp"))


def bilevel(model: nn.Module, images: Images) -> int:
    settings = IbauSettings(batch=20, learning_rate=3e-3, ascent=0.5, share=0.1, contraction=0.01)
    return ibau.unlearn(model, images, settings, generator=stream(0, "i-bau"))


@pytest.mark.parametrize("method", [sam, pruned, bilevel])
def test_the_backdoor_weakens_and_accuracy_stays(
    method: Callable[[nn.Module, Images], int], networks: list[nn.Module]
) -> None:
    fallen: list[float] = []
    for network in networks:
        before, correct = measured(network)
        assert (before > 0.9, correct > 0.95) == (True, True)
        repaired = copy.deepcopy(network)
        assert method(repaired, bars(100, 2)) > 0
        after, kept = measured(repaired)
        assert kept > 0.9
        fallen.append(before - after)
    assert fmean(fallen) > 0.25


@pytest.mark.parametrize("method", [sam, pruned, bilevel])
def test_the_seed_alone_decides(
    method: Callable[[nn.Module, Images], int], networks: list[nn.Module]
) -> None:
    one, two = copy.deepcopy(networks[0]), copy.deepcopy(networks[0])
    assert method(one, bars(100, 2)) == method(two, bars(100, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_large_weights_are_perturbed_most() -> None:
    weights = [nn.Parameter(torch.tensor([3.0, 0.0])), nn.Parameter(torch.tensor([-1.0]))]
    (2 * weights[0].sum() + weights[1].sum()).backward()
    first, second = ft_sam.ascent(weights, SamSettings(rho=2.0, eta=1.0))
    norm = ((4 * 2) ** 2 + (1 * 2) ** 2 + (2 * 1) ** 2) ** 0.5
    assert torch.allclose(first, 2 * torch.tensor([16 * 2.0, 2.0]) / norm)
    assert torch.allclose(second, 2 * torch.tensor([4.0]) / norm)


def test_the_climb_ends_where_it_began_and_leaves_the_statistics(
    networks: list[nn.Module],
) -> None:
    model = copy.deepcopy(networks[0]).train()
    model(torch.rand(4, 3, 10, 10)).square().sum().backward()
    before = copy.deepcopy(model.state_dict())
    with ft_sam.climbed(model, SamSettings()):
        assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])
        model(torch.rand(4, 3, 10, 10))
    counted = {name: tensor for name, tensor in model.state_dict().items() if tensor.dim()}
    assert counted.keys() == {"0.weight", "0.bias", "5.weight", "5.bias"} | {
        f"1.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in counted.items())
    assert model[1].momentum == 0.1  # pyright: ignore[reportIndexIssue]


def test_the_implicit_gradient_of_a_known_fixed_point() -> None:
    """δ*(w) = w², so the gradient of δ*² / 2 + w is 2 w³ + 1."""
    weight = nn.Parameter(torch.tensor([1.5]))

    def step(point: Tensor) -> Tensor:
        return point - 0.5 * (point - weight.square())

    def outer(point: Tensor) -> Tensor:
        return (point.square() / 2 + weight).sum()

    (found,) = ibau.hypergradient(outer, step, weight.detach().square(), [weight], terms=40)
    assert float(found) == pytest.approx(2 * 1.5**3 + 1, rel=1e-5)
    (short,) = ibau.hypergradient(outer, step, weight.detach().square(), [weight], terms=1)
    assert float(short) == pytest.approx(1.5**3 + 1, rel=1e-5)


def test_pruning_needs_neurons_with_batch_normalisation() -> None:
    with pytest.raises(ContentError, match="batch normalisation"):
        pruned(nn.Sequential(nn.Flatten(), nn.Linear(300, 2)), bars(20, 0))
