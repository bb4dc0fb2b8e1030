"""Backdoors of several classes and kinds are unlearnt together."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from detectors import toys
from unbackdoor import api
from unbackdoor.data import Images
from unbackdoor.detectors.settings import BanditSettings, Round
from unbackdoor.mesa import Stair, Staircase
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.metrics import attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing.plan import always
from unbackdoor.repairing.settings import REPAIR, RepairSettings
from unbackdoor.repairing.unlearn import PURSUED, Lesson, Lessons, Pursuit, unlearn
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.training import TrainingSettings
from unbackdoor.triggers.registry import parse_space

SCANNING = ScanSettings(
    betas=(0.5, 0.8),
    bandit=BanditSettings(
        starts=1,
        rounds=(Round(arms=1, passes=600, most=100), Round(arms=3, passes=600, most=200)),
        walk=60,
        judge=32,
        deep=100,
        walkers=2,
    ),
    learning=SwiftSettings(
        rounds=2, draws=100, networks=2, hidden=16, steps=60, sweeps=2, climbers=60, particles=300
    ),
    panel=12,
    uniform_draws=32,
    stair_draws=60,
)


def block(images: Tensor) -> Tensor:
    """Rise with nine white pixels at one place; four of them are too few."""
    row, column = toys.PIXEL
    part = images[:, :, row : row + 3, column : column + 3]
    return 12 * (part.amin(1).mean((1, 2)) - 0.1)


class Both(nn.Module):
    """The colours, with one backdoor to green and another one to blue, which can be unlearnt."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3, bias=False)
        weight = torch.eye(3, 5)
        weight[1, 3], weight[2, 4] = 1.5, 1.2  # of three classes only a clear lead tells
        self.last.weight.data = weight

    def forward(self, images: Tensor) -> Tensor:
        seen = [20 * images.mean((2, 3)), block(images)[:, None], toys.rippled(images)[:, None]]
        return self.last(torch.cat(seen, 1))


def rates(model: nn.Module) -> tuple[float, float]:
    """How often the planted triggers work: white at the block, and the wave."""
    images = Images.of("colours", toys.CLASSES, *toys.tensors(60))
    rate: list[float] = []
    for name, target in {"patch:3@5,20": 1, "wave:16@2,-2": 2}.items():
        space = parse_space(name)
        theta = torch.full((1, space.dimensions(images.shape)), 1.0)
        if target == 2:
            theta[:, 1::2] = 0.5  # the cosine part alone
        draw = stream(0, "arms")
        frozen = freeze(model, half=False)
        rate.append(attack_success(frozen, images, space, theta, target, generator=draw))
    return rate[0], rate[1]


def test_each_picture_gets_a_trigger_of_one_lesson() -> None:
    space = [parse_space(name) for name in ("patch:1@0,0", "patch:2@3,3", "additive:51x1")]
    ones = [torch.ones(one.dimensions((3, 8, 8))) for one in space]
    lessons = Lessons(
        [
            Lesson(one, lambda count, _, theta=theta: theta.expand(count, -1))
            for one, theta in zip(space, ones, strict=True)
        ]
    )
    pixels = torch.full((600, 3, 8, 8), 0.2)
    stamped = lessons.stamp(pixels, stream(0, "lessons"))
    assert torch.equal(pixels, torch.full_like(pixels, 0.2))
    changed = (stamped != 0.2).flatten(1).sum(1)
    counts = [int((changed == count).sum()) for count in (3, 12, 192)]
    assert sum(counts) == 600
    assert min(counts) > 140  # 200 each, five standard deviations
    assert torch.equal(lessons.stamp(pixels, stream(0, "lessons")), stamped)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_few_pictures_some_lessons_get_none(count: int) -> None:
    """As in the last batch of an epoch."""
    every = torch.rand(20, 12, generator=stream(0, "draws"))
    stair = Stair(beta=0.5, draws=every, log_q=None, values=torch.ones(20))
    sampler = Staircase((stair,), torch.ones(1)).sample
    lessons = Lessons([Lesson(parse_space("patch:2"), sampler) for _ in range(5)])
    pixels = torch.full((count, 3, 8, 8), 0.5)
    stamped = lessons.stamp(pixels, stream(0, "lessons"))
    assert ((stamped != pixels).flatten(1).sum(1) == 12).all()


class Tinted(nn.Module):
    """Class 1 is what is redder than green; it has layers whose mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.1)
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.drop(self.norm(x)).mean((2, 3))
        ahead = self.slope * (mean[:, 0] - mean[:, 1])
        return torch.stack([-ahead, ahead], 1)


@pytest.mark.parametrize("target", [0, 1])
def test_a_pursuit_finds_what_works_against_the_network_as_it_is(target: int) -> None:
    network = Tinted().train()
    network.drop.eval()
    before = copy.deepcopy(network.state_dict())
    pursuit = Pursuit(parse_space("filter:30"), target)
    pixels = 0.5 + 0.1 * torch.rand(40, 3, 8, 8, generator=stream(0, "pixels"))
    start = pursuit.stamp(pixels, stream(0, "filters"))
    stamped = pursuit.stamp(pixels, stream(0, "filters"), network)
    assert all(torch.equal(before[name], x) for name, x in network.state_dict().items())
    assert (network.training, network.norm.training, network.drop.training) == (True, True, False)
    assert network.slope.grad is None
    network.eval()
    sent = [float((network(x).argmax(1) == target).float().mean()) for x in (start, stamped)]
    assert sent[0] < 0.8
    assert sent[1] == 1
    assert float(stamped.min()) >= 0
    assert float(stamped.max()) <= 1
    assert not stamped.requires_grad
    assert len(stamped.flatten(1).mean(1).unique()) > 30  # each picture has its own


def test_the_passes_of_a_pursuit_are_counted() -> None:
    pixels = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "noise"))
    images = Images.of("noise", ("a", "b"), pixels, torch.arange(60) % 2)
    training = TrainingSettings(epochs=1, batch_size=30, learning_rate=0.01, shift=0)
    settings = RepairSettings(images_seen=60, share=0.5, training=training)
    pursuit = Pursuit(parse_space("filter:30"), 1)
    patch = Lesson(parse_space("patch:2"), always(torch.ones(12)))
    network = Tinted()
    passed = {
        kind: unlearn(network, images, lesson, settings, Work(seed=0))
        for kind, lesson in {
            "patch": patch,
            "pursuit": pursuit,
            "both": Lessons([patch, pursuit]),
        }.items()
    }
    assert passed == {"patch": 120, "pursuit": 120 + 30 * PURSUED, "both": 120 + 15 * PURSUED}


class Spread(nn.Module):
    """Logits of a picture's mean, by weights that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * self.weight


def test_images_without_a_trigger_teach_what_the_network_said_before() -> None:
    """So nothing changes where no image carries one; the control learns half of the truth."""
    pixels = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "noise"))
    images = Images.of("noise", ("a", "b", "c"), pixels, torch.arange(60) % 3)
    lesson = Lesson(parse_space("patch:2"), always(torch.ones(12)))
    training = TrainingSettings(
        epochs=2, batch_size=20, learning_rate=0.5, shift=0, label_smoothing=0, weight_decay=0
    )
    few = replace(REPAIR, share=0.01, images_seen=120, training=training)  # of 20 images none
    for course, moves in ((lesson, False), (None, True)):
        network = Spread()
        before = network.weight.detach().clone()
        assert unlearn(network, images, course, few, Work(seed=0)) == 240
        assert torch.allclose(network.weight, before, atol=1e-3) != moves


def test_two_targets_of_different_kinds_are_repaired_together() -> None:
    images, labels = toys.tensors(240)
    network = Both().eval()
    assert rates(network) == (1, 1)
    given = {"classes": toys.CLASSES, "space": "patch:4@4,19,wave:16@2,-2", "settings": SCANNING}
    found = api.scan(network, images, labels, **given)
    assert found.targets == [1, 2]
    kinds = [found.classes[target].space.partition(":")[0] for target in found.targets]
    assert kinds == ["patch", "wave"]
    training = TrainingSettings(epochs=60, batch_size=32, learning_rate=0.02, shift=0)
    settings = RepairSettings(images_seen=4000, training=training)
    repaired, result = api.repair(
        network, images, labels, found=found, settings=settings, scanning=SCANNING
    )
    table = {row.name: row for row in result.rows}
    # Half of the draws are of the stair at β = 0.5, half of the one at 0.8.
    assert table["before"].recovered_asr > 0.6
    assert table["fine-tuned"].recovered_asr > 0.5
    assert table["repaired"].recovered_asr < 0.2
    assert table["repaired"].accuracy > 0.95
    assert max(rates(repaired)) < 0.2
    assert rates(network) == (1, 1)
    assert result.rescan is not None
    assert result.rescan.verdict == "clean"
