"""What a repair takes for the backdoor, in every family of triggers, and what it says of it."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
import torch
from torch import nn

from kills import SMALL
from report.families import Law, of_family
from report.synthetic import NAMES
from unbackdoor.attack import goal_of
from unbackdoor.data import Images
from unbackdoor.errors import ArgumentError, InsufficientDataError
from unbackdoor.metrics import attack_success, sent
from unbackdoor.models import freeze
from unbackdoor.repairing import Asked, Lesson, Lessons, Plan, Planner, Pursuit, unlearn
from unbackdoor.repairing.plan import FILTERS, MOST_SUSPECTED, PICTURES, suspected
from unbackdoor.repairing.rates import Rates, lesson_of, triggers_of, wanted
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.results import ScanResult
from unbackdoor.rng import initialised_by, stream
from unbackdoor.runtime.work import Work
from unbackdoor.training import TrainingSettings
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.planted import Planted, Trigger
from unbackdoor.triggers.registry import FAMILIES, family_of, parse_space

SHAPE = (3, 32, 32)
SPACES = [family.ladder(SHAPE)[-1].name for family in FAMILIES.values()]


def pictures(count: int = 60) -> Images:
    pixels = torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=stream(0, "noise"))
    return Images.of("noise", NAMES, pixels, torch.arange(count) % len(NAMES))


def network() -> nn.Module:
    with initialised_by(stream(0, "weights")):
        layers = [nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]
        return nn.Sequential(*layers).eval()


def bright(enough: float = 0.51) -> nn.Module:
    """Pictures that are brighter than this are of the first class; random ones lie at 0.5."""
    last = nn.Linear(3, 10)
    with torch.no_grad():
        last.weight.zero_()[0] = 20
        last.bias.fill_(-20)[0] = -60 * enough
        last.bias[1] = 0
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()


def planned(found: ScanResult, asked: Asked | None = None, model: nn.Module | None = None) -> Plan:
    frozen = freeze(network() if model is None else model, half=False)
    planner = Planner(model=frozen, images=pictures(), scanning=SMALL, work=Work(seed=0))
    return planner(found, asked or Asked())


@pytest.mark.parametrize("law", ["stairs", "no density", "none"])
@pytest.mark.parametrize("space", SPACES)
def test_triggers_of_every_family_are_unlearnt_from_a_law_or_from_the_best_one(
    space: str, law: str
) -> None:
    """With more values than a law is estimated of there are no stairs with a density."""
    if law == "stairs" and parse_space(space).dimensions(SHAPE) > 768:
        law = "no density"
    plan = planned(of_family(space, law=cast("Law", law)))
    assert plan.assumed.basis == "found"
    assert [charge.target for charge in plan.charges] == [0]
    lesson = plan.charges[0].lesson
    assert lesson.space.name == space
    clean = pictures().batch(torch.arange(40))
    stamped = lesson.stamp(clean, stream(0, "stamps"))
    assert stamped.shape == clean.shape
    assert float(stamped.min()) >= 0
    assert float(stamped.max()) <= 1
    assert ((stamped - clean).abs().flatten(1).amax(1) > 0).float().mean() > 0.9
    training = TrainingSettings(epochs=1, batch_size=30, learning_rate=0.01, shift=0)
    settings = RepairSettings(images_seen=60, training=training)
    assert unlearn(network(), pictures(), lesson, settings, Work(seed=0)) == 120


def rising(space: str, *looks: str) -> ScanResult:
    """A scan in which some further looks work on half of the images, towards the found class."""
    found = of_family(space, law="none")
    first, *others = found.classes
    ladder = [
        msgspec.structs.replace(rung, asr=0.5) if family_of(rung.space) in looks else rung
        for rung in first.ladder
    ]
    first = msgspec.structs.replace(first, ladder=ladder)
    return msgspec.structs.replace(found, classes=[first, *others])


def test_pictures_that_work_are_unlearnt_beside_what_was_found() -> None:
    """Only those that work: a network that always gives the same answer obeys none."""
    found = rising("patch:3@0,0", "mask")
    plan = planned(found)
    (charge,) = plan.charges
    (beside,) = charge.beside
    assert beside.space.name == PICTURES
    assert isinstance(plan.course, Lessons)
    stamped = beside.stamp(pictures().batch(torch.arange(40)), stream(0, "stamps"))
    reached = float((network()(stamped).argmax(1) == charge.target).float().mean())
    before = network()(pictures().batch(torch.arange(40))).argmax(1) == charge.target
    assert reached > float(before.float().mean()) + 0.2
    stubborn = network()
    last = stubborn[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(10.0))
    assert planned(found, model=stubborn).charges[0].beside == ()


@pytest.mark.parametrize(
    ("space", "looks", "beside"),
    [
        ("patch:3@0,0", (), []),
        ("patch:3@0,0", ("warp", "filter"), []),
        ("patch:3", ("mask", "wave"), []),
        ("warp:2x4", ("wave",), [PICTURES]),
        ("additive:4", (), [PICTURES]),
        ("filter:15", (), []),
    ],
)
def test_what_is_unlearnt_beside_a_finding_follows_from_what_works(
    space: str, looks: tuple[str, ...], beside: list[str]
) -> None:
    model = bright() if space.startswith("filter") else None
    (charge,) = planned(rising(space, *looks), model=model).charges
    assert [lesson.space.name for lesson in charge.beside] == beside
    assert (charge.pursuit is None) == (not space.startswith("filter"))


@pytest.mark.parametrize("space", ["filter:15", "filter:34rms"])
def test_filters_are_pursued_and_those_that_were_found_are_measured(space: str) -> None:
    plan = planned(rising(space), model=bright())
    (charge,) = plan.charges
    assert charge.lesson.space.name == space
    assert isinstance(plan.course, Pursuit)
    assert plan.course == charge.pursuit == Pursuit(FILTERS, charge.target)
    both = planned(rising(space, "wave"), model=bright()).course
    assert isinstance(both, Lessons)
    assert [one.space.name for one in both.lessons] == [FILTERS.name, PICTURES]


def test_an_inconclusive_scan_leaves_classes_that_are_assumed_to_be_attacked() -> None:
    found = of_family("patch:3", "inconclusive", law="none")
    assert suspected(found) == [0]
    plan = planned(found)
    assert (plan.assumed.basis, plan.assumed.targets) == ("suspected", [0])
    assert "inconclusive" in plan.assumed.sentence
    assert NAMES[0] in plan.assumed.sentence
    assert plan.found is found
    every = [msgspec.structs.replace(record, status="suspicious") for record in found.classes]
    assert len(suspected(msgspec.structs.replace(found, classes=every))) == MOST_SUSPECTED
    assert suspected(msgspec.structs.replace(found, classes=every, spaces=[])) == []


def test_of_a_class_that_is_named_the_law_is_recovered_first() -> None:
    found = of_family("patch:3", "clean", law="none")
    plan = planned(found, Asked(target=4))
    assert (plan.assumed.basis, plan.assumed.targets) == ("target", [4])
    lesson = plan.charges[0].lesson
    assert lesson.space.name == found.classes[4].space
    draws = lesson.sampler(50, stream(0, "draws"))
    assert len(draws.unique(dim=0)) > 1


def test_a_trigger_that_is_named_is_unlearnt_whatever_the_scan_says() -> None:
    trigger = parse_trigger("bw:170@28,28", SHAPE)
    plan = planned(of_family("patch:3", "clean", law="none"), Asked(trigger=trigger, target=7))
    assert (plan.assumed.basis, plan.assumed.targets) == ("trigger", [7])
    assert "bw:170@28,28" in plan.assumed.sentence
    drawn = plan.charges[0].lesson.sampler(3, stream(0, "draws"))
    assert torch.equal(drawn, trigger.theta.expand(3, -1))


def test_a_blind_repair_assumes_nothing() -> None:
    plan = planned(of_family("patch:3", "clean", law="none"), Asked(blind=True))
    assert (plan.assumed.basis, plan.charges, plan.course) == ("blind", (), None)
    assert "cannot be measured" in plan.assumed.sentence


def test_where_there_is_nothing_to_unlearn_the_ways_out_are_named() -> None:
    with pytest.raises(InsufficientDataError, match=r"nothing to unlearn.*--blind"):
        planned(of_family("patch:3", "clean", law="none"))


@pytest.mark.parametrize("target", [-1, 10])
def test_a_class_that_is_not_there_is_named(target: int) -> None:
    with pytest.raises(ArgumentError, match="--target: the data has classes 0 to 9"):
        planned(of_family("patch:3"), Asked(target=target))


def test_what_contradicts_itself_is_refused() -> None:
    trigger = parse_trigger("bw:170", SHAPE)
    with pytest.raises(ArgumentError, match="add --target"):
        Asked(trigger=trigger)
    with pytest.raises(ArgumentError, match="--blind"):
        Asked(blind=True, target=1)


def known(*specs: str) -> list[Trigger]:
    return [parse_trigger(spec, SHAPE) for spec in specs]


def test_every_planted_trigger_is_measured_and_unlearnt() -> None:
    """Not only the first of a file's header."""
    planted = goal_of("all-to-one", 3, 10).planted(known("white:8@0,0", "white:8@24,24"))
    assert [one.name for one in triggers_of(planted)] == ["white:8@0,0", "white:8@24,24"]
    course = lesson_of(planted)
    assert isinstance(course, Lessons)
    assert [lesson.space.name for lesson in course.lessons] == ["patch:8@0,0", "patch:8@24,24"]
    model, images = freeze(network(), half=False), pictures()
    single = [
        Rates(images=images, charges=(), planted=(one,), seed=0)("x", model) for one in planted
    ]
    row = Rates(images=images, charges=(), planted=planted, seed=0)("x", model)
    assert row.original_asr == max(one.original_asr or 0 for one in single)
    assert row.recovered_asr is None


def test_a_trigger_for_one_source_is_measured_on_its_images_alone() -> None:
    (trigger,) = known("white:8@0,0")
    images, model = pictures(), freeze(network(), half=False)
    planted = goal_of("source:2", 5, 10).planted([trigger])
    rates = Rates(images=images, charges=(), planted=planted, seed=0)
    expected = attack_success(
        model,
        images,
        trigger.space,
        trigger.theta[None],
        5,
        generator=stream(0, "any"),
        source=2,
    )
    assert rates.success(model, trigger) == expected


def test_a_trigger_that_sends_each_class_to_the_next_has_one_rate() -> None:
    (trigger,) = known("white:8@0,0")
    images, model = pictures(), freeze(network(), half=False)
    planted = goal_of("all-to-all", 0, 10).planted([trigger])
    assert torch.equal(wanted(planted, trigger, images.targets), (images.targets + 1) % 10)
    rate = Rates(images=images, charges=(), planted=planted, seed=0).success(model, trigger)
    assert rate == sent(
        model,
        images,
        trigger.space,
        trigger.theta[None],
        (images.targets + 1) % 10,
        generator=stream(0, "any"),
    )
    alone = Planted(trigger, 1, 0)
    assert torch.equal(wanted([alone], trigger, torch.tensor([0, 1, 2])), torch.tensor([1, 1, 2]))


def test_a_trigger_that_sends_each_class_to_its_own_is_one_charge() -> None:
    found = of_family("patch:3@0,0", law="none")
    goal = [*range(1, 10), 0]
    classes = [
        msgspec.structs.replace(found.classes[0], index=index, status="backdoored", goal=goal)
        for index in range(10)
    ]
    plan = planned(msgspec.structs.replace(found, classes=classes, targets=[*range(10)]))
    (charge,) = plan.charges
    labels = torch.arange(10)
    assert charge.wanted(labels).tolist() == goal
    assert charge.anyway(torch.tensor(goal), labels) == 1
    assert charge.anyway(labels, labels) == 0
    assert isinstance(plan.course, Lesson)


def test_of_tiny_pictures_the_law_of_blended_ones_has_a_density() -> None:
    """With at most 192 values the draws come from a staircase of several levels."""
    pixels = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "noise"))
    images = Images.of("noise", NAMES, pixels, torch.arange(60) % len(NAMES))
    planner = Planner(
        model=freeze(bright(0.49), half=False), images=images, scanning=SMALL, work=Work(seed=0)
    )
    charge, *_ = planner(rising("patch:3@0,0", "mask"), Asked()).charges
    (beside,) = charge.beside
    assert beside.sampler(5, stream(0, "draws")).shape == (5, 192)


def test_a_white_square_that_works_is_unlearnt_and_measured_beside_a_law() -> None:
    """A law hardly draws it, and a network can unlearn the law and obey it still."""
    plan = planned(of_family("patch:6@20,20", law="none"), model=bright(0.505))
    law, corner, *squares = plan.charges
    assert {charge.target for charge in plan.charges} == {0}
    assert corner.lesson.space == law.lesson.space
    sizes = [square.lesson.space.name.partition("@")[0] for square in squares]
    assert sizes == ["patch:8x1"]
    for white in (corner, *squares):
        assert bool((white.lesson.sampler(2, stream(0, "draws")) == 1).all())
    assert isinstance(plan.course, Lessons)
