"""Known triggers are planted in a copy and found there, or a model is not called clean."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from unbackdoor import api
from unbackdoor.data import Images, Split
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.power import check_power
from unbackdoor.scanning.settings import BUDGETS, Terms
from unbackdoor.triggers.registry import parse_spaces

SPACE = "patch:3@28,28"
CLASSES = 4


class Guarded(nn.Module):
    """Flattens every picture in which neighbours differ by much, as a filter in front would."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits."""
        jump = (images[:, :, 1:] - images[:, :, :-1]).abs().amax((1, 2, 3))
        calm = (jump < 0.3).float()[:, None, None, None]
        return self.network(calm * images + (1 - calm) * images.mean((2, 3), keepdim=True))


def pictures() -> tuple[Tensor, Tensor]:
    """Return noisy pictures of four levels of brightness."""
    labels = torch.arange(400) % CLASSES
    noise = torch.randint(-15, 16, (400, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    return (40 + 50 * labels[:, None, None, None] + noise).clamp(0, 255).to(torch.uint8), labels


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a small network that has learnt them."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )
    images, labels = pictures()
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(made(images[:100] / 255), labels[:100]).backward()
        optimiser.step()
    return made.eval()


def split() -> Split:
    images, labels = pictures()
    return Split(*Images.of("levels", tuple("abcd"), images, labels).divide(5 / 8))


def test_a_trigger_is_planted_in_a_copy_and_found(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    spaces = parse_spaces(SPACE, (3, 32, 32))
    (check,), searched = check_power(network, split(), spaces, BUDGETS["quick"], Work(seed=0))
    assert (check.trigger, check.family, check.found) == ("rgb:1x3@28,28", "patch", True)
    assert check.works > 0.9
    assert min(searched.passes, searched.backward_passes) > 8_000
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_each_family_that_is_searched_has_a_trigger_and_a_class_of_its_own(
    network: nn.Module,
) -> None:
    spaces = parse_spaces("patch:3@28,28,wave:16", (3, 32, 32))
    checks, _ = check_power(network, split(), spaces, BUDGETS["quick"], Work(seed=0))
    assert [check.family for check in checks] == ["patch", "wave"]
    assert len({check.target for check in checks}) == len(checks)


def test_a_network_behind_a_filter_is_not_called_clean(network: nn.Module) -> None:
    guarded = Guarded(network).eval()
    given = {"space": SPACE, "settings": BUDGETS["quick"]}
    assert api.scan(guarded, *pictures(), **given, terms=Terms()).verdict == "clean"
    result = api.scan(guarded, *pictures(), **given, terms=Terms(power=True))
    assert (result.verdict, result.power_checked) == ("inconclusive", True)
    assert "only 0 could be planted" in result.reason
    assert [check.found for check in result.checks] == [False]


def test_a_function_without_parameters_cannot_be_checked() -> None:
    def level(images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3), keepdim=True).flatten(1)
        return -((mean - torch.tensor([40.0, 90, 140, 190]) / 255) ** 2) * 100

    result = api.scan(
        level, *pictures(), space=SPACE, settings=BUDGETS["quick"], terms=Terms(power=True)
    )
    assert result.verdict == "inconclusive"
    assert "could be planted" in result.reason
