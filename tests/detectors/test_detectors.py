"""One contract for every detector: evidence of every class, counted, kept, and told by the seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kills import BANDIT
from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import Detector, HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.neural_cleanse import NeuralCleanse
from unbackdoor.detectors.peers.cleanse import TROJANZOO, Cleanse, CleanseSettings
from unbackdoor.detectors.peers.karm import KArm, KArmSettings
from unbackdoor.detectors.peers.margin import LargestMargin, MarginSettings
from unbackdoor.detectors.peers.mine import PaperMine
from unbackdoor.detectors.peers.probes import HeadWeights, NoiseAnswers
from unbackdoor.detectors.search import ArmSearch
from unbackdoor.detectors.settings import ReversalSettings
from unbackdoor.mesa.settings import MINE_PAPER
from unbackdoor.models import Frozen, freeze
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import opened
from unbackdoor.runtime.progress import Silent
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space

SPACES = [Patch(1), Patch(2)]
ASKED = tuple(space.name for space in SPACES)


@dataclass(frozen=True)
class Case:
    """A detector, where it looks, and what more can be said of it.

    Args:
        detector: with as little work as suffices.
        spaces: of its evidence; an empty name where it looks for no trigger.
        weak: whether only triggers are found that a clean class does not obey.
        works: whether it does anything that a kill could break off, or a seed decide.

    """

    detector: Detector
    spaces: tuple[str, ...] = ASKED
    weak: bool = True
    works: bool = True


SHORT = CleanseSettings(epochs=12, images=60, batch=20, patience=2, stop_after=4)
TINY = replace(MINE_PAPER, hidden=32, steps=25, batch=12, learning_rate=1e-2, shake=0.0)
LOOSE = replace(TROJANZOO, epochs=6, images=60, batch=10, patience=2)
CASES = [
    Case(ArmSearch(BANDIT)),
    Case(NeuralCleanse(ReversalSettings(steps=60, batch=8, learning_rate=0.3))),
    Case(PaperMine(TINY, betas=(0.8,), draws=20)),
    Case(Cleanse(SHORT), ("mask:100",), weak=False),
    Case(Cleanse(LOOSE, name="cleanse, loose"), ("mask:100",), weak=False),
    Case(KArm(KArmSettings(images=20, batch=5, pulls=80)), ("mask:100",), weak=False),
    Case(LargestMargin(MarginSettings(pictures=5, steps=20)), ("",)),
    Case(NoiseAnswers(), ("",)),
    Case(HeadWeights(), ("",), works=False),
]


def name_of(case: Case) -> str:
    return case.detector.name


every_case = pytest.mark.parametrize("case", CASES, ids=name_of)
every_detector = pytest.mark.parametrize(
    "detector", [case.detector for case in CASES], ids=lambda one: one.name
)
every_working_detector = pytest.mark.parametrize(
    "detector", [case.detector for case in CASES if case.works], ids=lambda one: one.name
)


class Obeys(nn.Module):
    """Tells bright from dark, but takes any picture with a light pixel for bright."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        bright = 20 * (images.mean((1, 2, 3)) - 0.45)
        light = 60 * (images.amin(1).flatten(1).amax(1) - 0.5).relu()
        return self.head(torch.stack([bright, light], 1))


def images() -> Split:
    pixels = torch.randint(100, (120, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "pixels"))
    labels = torch.arange(120) % 2
    pixels[labels == 1] += 120
    return Split(*Images.of("levels", ("dark", "bright"), pixels, labels).divide(5 / 8))


def found(detector: Detector, seed: int = 0, state: Path | None = None) -> Evidence:
    with opened(state, detector.name, progress=Silent()) as journal:
        work = Work(seed=seed, journal=journal)
        return detector(freeze(Obeys(), half=False), images(), SPACES, work)


@every_case
def test_there_is_evidence_of_every_class_in_every_space(case: Case) -> None:
    evidence = found(case.detector)
    assert evidence.detector == case.detector.name
    best: dict[tuple[str, int], ClassEvidence] = {}
    for one in evidence.classes:
        assert one.name == ("dark", "bright")[one.index]
        assert 0 <= one.confusion <= 1
        assert 0 <= one.asr <= 1
        if one.space:
            space, shape = parse_space(one.space), (3, 8, 8)
            assert len(one.best) == space.dimensions(shape)
            assert len(space.arms(shape)) > 0
        else:
            assert (one.best, one.asr) == (b"", 0)
        key = (one.space.partition("@")[0], one.index)
        best[key] = max(one, best.get(key, one), key=lambda one: one.asr)
    assert set(best) == {(space, index) for space in case.spaces for index in (0, 1)}
    for (space, index), one in best.items():
        if space and (index == 1 or case.weak):
            assert (one.asr > 0.9) == (index == 1)
    for space in case.spaces:
        assert best[space, 1].statistic > best[space, 0].statistic
    assert evidence.accuracy == 1
    assert evidence.image_passes > 0
    assert evidence.image_passes_backward >= 0  # a detector may do without gradients


@every_working_detector
def test_the_seed_alone_decides_and_what_was_kept_counts(
    detector: Detector, tmp_path: Path
) -> None:
    first = found(detector, state=tmp_path)
    assert found(detector, state=tmp_path) == first == found(detector)
    assert found(detector, seed=1) != first


class Answers(nn.Module):
    """Is right on a share of the pictures of each class; a picture is its class and its number."""

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self.shares = shares

    def forward(self, images: Tensor) -> Tensor:
        label, number = (images[:, channel, 0, 0] * 255 for channel in (0, 1))
        right = number / 100 < torch.tensor(self.shares)[label.long()]
        given = torch.where(right, label, (label + 1) % len(self.shares))
        return nn.functional.one_hot(given.round().long(), len(self.shares)).float()


def numbered(*counts: int) -> Images:
    """So many pictures of each class."""
    pixels = torch.zeros(sum(counts), 3, 2, 2, dtype=torch.uint8)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pixels[:, 0] = labels[:, None, None].byte()
    numbers = torch.cat([torch.arange(count) * 100 // count for count in counts])
    pixels[:, 1] = numbers[:, None, None].byte()
    names = tuple(f"class {index}" for index in range(len(counts)))
    return Images.of("numbered", names, pixels, labels)


@pytest.mark.parametrize(
    ("counts", "shares", "guesses"),
    [
        ((100, 100), (1.0, 0.0), True),  # one class to all
        ((900, 100), (1.0, 0.0), True),
        ((100, 100), (0.55, 0.5), True),
        ((100, 100), (0.8, 0.8), False),
        ((900, 100), (1.0, 0.4), False),  # accuracy 0.94, where one class to all has 0.9
        ((67, 8), (1.0, 1.0), False),
        ((4, 4), (1.0, 1.0), False),
        ((50,) * 10, (0.1,) * 10, True),
        ((50,) * 10, (0.2,) * 10, False),
        ((50, 50, 0), (0.6, 0.4, 0.0), True),  # of one class there are no pictures
        ((50, 50, 0), (0.9, 0.9, 0.0), False),
    ],
)
def test_a_model_guesses_if_it_is_right_no_more_often_than_one_that_does(
    counts: tuple[int, ...], shares: tuple[float, ...], guesses: bool
) -> None:
    held = HeldBack(freeze(Answers(*shares), half=False), numbered(*counts), 500)
    assert held.guesses == guesses


def test_where_the_other_classes_are_rare_it_is_they_that_are_measured_on() -> None:
    """A trigger towards the common class, which few pictures are not of."""
    images = numbered(997, 3)
    images = images.subset(torch.randperm(1000, generator=stream(0, "order")))
    for most in (1, 20, 2000):
        held = HeldBack(freeze(Answers(1.0, 1.0), half=False), images, most)
        black = torch.zeros(3)  # makes pictures look like the first one of the common class
        assert held.success(parse_space("patch:1@0,0"), black, 0, 0)[0] == 1
        assert held.success(parse_space("patch:1@1,1"), black, 0, 0)[0] == 0


@pytest.mark.parametrize("answer", [0.0, float("nan")])
def test_where_clean_images_have_no_lead_there_is_no_clear_one(answer: float) -> None:
    held = HeldBack(freeze(Always(answer), half=False), numbered(40, 40), 500)
    rate, firm = held.success(parse_space("patch:1@0,0"), torch.zeros(3), 1, 0)
    assert rate in {0.0, 1.0}
    assert firm is None


class Always(nn.Module):
    """Answers the same to everything."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.tensor(answer))

    def forward(self, images: Tensor) -> Tensor:
        return self.answer * torch.ones(len(images), 2)


class Tired(Obeys):
    """Breaks off at a call, as a kill would."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, images: Tensor) -> Tensor:
        if len(images) and (left := self.left - 1) < 0:
            raise KeyboardInterrupt
        self.left = left
        return super().forward(images)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@every_working_detector
def test_what_was_broken_off_ends_as_if_it_had_not_been(
    detector: Detector, share: float, tmp_path: Path
) -> None:
    whole = freeze(Tired(10**9), half=False)
    wanted = detector(whole, images(), SPACES, Work(seed=0))
    assert isinstance(whole.module, Tired)
    calls = round(share * (10**9 - whole.module.left))
    tired = freeze(Tired(calls), half=False)
    with opened(tmp_path, detector.name) as journal:
        work = Work(seed=0, journal=journal)
        with pytest.raises(KeyboardInterrupt):
            detector(tired, images(), SPACES, work)
    last = freeze(Tired(10**9), half=False)
    with opened(tmp_path, detector.name) as journal:
        assert detector(last, images(), SPACES, Work(seed=0, journal=journal)) == wanted
    assert last.passes == whole.passes
    if share > 0.9:  # what was finished is not done again
        assert 10**9 - last.module.left < calls  # pyright: ignore


class Counts(Obeys):
    """Remembers how many pictures came at a time, and how many of which went backward."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.most_backward = 0

    def forward(self, images: Tensor) -> Tensor:
        self.most = max(self.most, len(images))
        if images.requires_grad:
            self.most_backward = max(self.most_backward, len(images))
        return super().forward(images)


@every_detector
def test_no_more_go_backward_at_a_time_than_there_is_room_for(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Frozen, "at_once", lambda self, shape: 2)
    monkeypatch.setattr("unbackdoor.data.images.PIXELS_AT_ONCE", 5 * 8 * 8)
    frozen = freeze(Counts(), half=False)  # a copy
    detector(frozen, images(), SPACES[:1], Work(seed=0))
    network = frozen.module
    assert isinstance(network, Counts)
    assert 0 < network.most <= 5
    assert 0 <= network.most_backward <= 2  # a detector may do without gradients
