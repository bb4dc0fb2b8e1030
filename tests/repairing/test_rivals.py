"""Repairs of others: their formulas where they are known, and what they do to a real backdoor."""

from __future__ import annotations

import copy
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unbackdoor.attack import Backdoor, Poison, goal_of
from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing.rivals import clp, fst, ft_sam, ibau
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.clp import ClpSettings
from unbackdoor.repairing.rivals.fine_pruning import PruningSettings
from unbackdoor.repairing.rivals.fine_tuning import TuningSettings
from unbackdoor.repairing.rivals.fst import FstSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.repairing.rivals.registry import RIVALS, RivalSettings
from unbackdoor.repairing.rivals.sau import SauSettings
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


TUNING = TrainingSettings(epochs=15, batch_size=20, learning_rate=0.05, label_smoothing=0, shift=0)
SMALL: tuple[RivalSettings, ...] = (
    TuningSettings(training=TUNING),
    PruningSettings(training=TUNING),
    ClpSettings(u=1.0),
    AnpSettings(steps=150, batch=40, shift=0),
    IbauSettings(batch=20, learning_rate=3e-3, ascent=0.5, share=0.1, contraction=0.01),
    SamSettings(training=TUNING),
    SauSettings(rounds=15, batch=20, learning_rate=2e-3, shift=0),
    FstSettings(epochs=15, batch=20, learning_rate=0.05, shift=0),
)
"""Every rival, at the size of these networks."""
BARELY = (TuningSettings, PruningSettings, ClpSettings)
"""Which a backdoor may survive."""


def repaired(model: nn.Module, settings: RivalSettings) -> tuple[nn.Module, int]:
    model = copy.deepcopy(model).train()
    rival = RIVALS[type(settings)]
    passes = rival(model, bars(100, 2), settings, generator=stream(0, rival.name))
    return model, passes


def named(settings: RivalSettings) -> str:
    return RIVALS[type(settings)].name


def test_every_rival_is_held_by_the_contract() -> None:
    assert [type(settings) for settings in SMALL] == list(RIVALS)
    assert len({rival.name for rival in RIVALS.values()}) == len(RIVALS)


@pytest.mark.parametrize("settings", SMALL, ids=named)
def test_the_backdoor_weakens_and_accuracy_stays(
    settings: RivalSettings, networks: list[nn.Module]
) -> None:
    fallen: list[float] = []
    for network in networks:
        before, correct = measured(network)
        assert (before > 0.9, correct > 0.95) == (True, True)
        after, kept = measured(repaired(network, settings)[0])
        assert kept > 0.9
        fallen.append(before - after)
    assert fmean(fallen) > (-0.05 if isinstance(settings, BARELY) else 0.25)


@pytest.mark.parametrize("settings", SMALL, ids=named)
def test_the_seed_alone_decides_and_the_network_is_ready(
    settings: RivalSettings, networks: list[nn.Module]
) -> None:
    (one, first), (two, second) = (repaired(networks[0], settings) for _ in range(2))
    assert first == second
    assert (first > 0) == (not isinstance(settings, ClpSettings))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not any(part.training for part in one.modules())
    assert all(weight.requires_grad for weight in one.parameters())
    assert any(
        not torch.equal(a, b)
        for a, b in zip(one.parameters(), networks[0].parameters(), strict=True)
    )


class Viewed(nn.Module):
    """A network that takes a view, so that it runs on the usual layout alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4 * 64, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).view(len(images), -1))


@pytest.mark.parametrize("settings", SMALL, ids=named)
def test_networks_that_take_views_are_repaired_too(settings: RivalSettings) -> None:
    with initialised_by(stream(0, "viewed")):
        model = Viewed()
    assert measured(repaired(model, settings)[0])[1] >= 0


@pytest.mark.parametrize("settings", SMALL, ids=named)
def test_networks_without_normalisation_are_repaired_or_refused(settings: RivalSettings) -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.ELU(), nn.AdaptiveMaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(32, 2))
    if isinstance(settings, AnpSettings):
        with pytest.raises(ContentError, match="batch normalisation"):
            repaired(model, settings)
    else:
        assert measured(repaired(model, settings)[0])[1] >= 0


def test_a_channel_that_changes_most_is_pruned_with_its_normalisation() -> None:
    layer, norm = nn.Conv2d(2, 20, 3), nn.BatchNorm2d(20)
    with torch.no_grad():
        layer.weight[7] *= 20
        norm.weight[3] = 30.0
        norm.running_var.fill_(4.0)  # pyright: ignore[reportOptionalMemberAccess]
    bounds = clp.lipschitz(layer, norm)
    matrix = layer.weight.detach()[3].reshape(2, 9).numpy()
    assert float(bounds[3]) == pytest.approx(np.linalg.norm(matrix, 2) * 15, rel=1e-4)
    model = nn.Sequential(layer, norm)
    RIVALS[ClpSettings](model, bars(2, 0), ClpSettings(u=2.0), generator=stream(0, "none"))
    gone = norm.weight.detach() == 0
    assert bool(gone.any())
    assert not bool(gone[[k for k in range(20) if k not in {3, 7}]].any())
    assert float(norm.bias.detach()[gone].abs().sum()) == 0


def test_what_sleeps_is_pruned_and_stays_so() -> None:
    """Channel 1 never answers, so it is the first to go; fine-tuning does not wake it."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d((3, 1)), nn.Flatten(), nn.Linear(12, 2)
    )
    with torch.no_grad():
        model[0].bias[1] = -100.0  # pyright: ignore[reportIndexIssue, reportArgumentType]
    after, _ = repaired(model, PruningSettings(tolerance=0.0, training=TUNING))
    weight = after.get_parameter("0.weight")
    assert float(weight[1].detach().abs().sum()) == 0


def test_the_last_layer_keeps_its_norm_and_turns_away(networks: list[nn.Module]) -> None:
    old = networks[0].get_parameter("5.weight").detach()
    cosines = [
        float(functional.cosine_similarity(new.flatten(), old.flatten(), dim=0))
        for alpha in (0.0, 2.0)
        for model, _ in [repaired(networks[0], replace(SMALL[-1], alpha=alpha))]
        for new in [model.get_parameter("5.weight").detach()]
        if fst.size(new) == pytest.approx(fst.size(old), rel=1e-4)
    ]
    assert cosines[1] < min(0.0, cosines[0])


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
        repaired(nn.Sequential(nn.Flatten(), nn.Linear(300, 2)), AnpSettings())
