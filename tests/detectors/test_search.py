"""The search as a whole, on networks in closed form: what it finds and how little is enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
import torch
from torch import Tensor, nn

from detectors import toys
from unbackdoor import api
from unbackdoor.detectors.arms import Arms, towards
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.objective import temperature
from unbackdoor.detectors.search import ArmSearch
from unbackdoor.detectors.search import _evidence as evidence_of  # pyright: ignore
from unbackdoor.detectors.settings import FEW, BanditSettings, Round
from unbackdoor.detectors.steps import Steps
from unbackdoor.detectors.trails import Findings, Measure, Trail, is_certain, worth_measuring
from unbackdoor.detectors.walks import OVERLOOKED, SpaceSearch
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.models import freeze
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space
from unbackdoor.verdict.judge import ByRate, Judgement

BANDIT = BanditSettings(
    starts=2,
    rounds=(
        Round(arms=1, passes=1500, most=24),
        Round(arms=24, passes=800, most=48),
        Round(arms=4, passes=400, most=100),
    ),
    walk=60,
    judge=32,
    walkers=3,
    evaluate=200,
)


def searched(backdoor: Callable[[Tensor], Tensor], *spaces: str) -> tuple[Evidence, Judgement]:
    model = freeze(toys.Colours(backdoor), half=False)
    spaces_of = [parse_space(space) for space in spaces]
    evidence = ArmSearch(BANDIT)(model, toys.pictures(), spaces_of, Work(seed=0))
    assert evidence.accuracy == 1
    assert {one.index for one in evidence.classes} == {0, 1, 2}
    # Of three classes hardly a trigger tells; what is tested here is how the search finds it.
    return evidence, ByRate()(msgspec.structs.replace(evidence, count=None))


def of_green(evidence: Evidence) -> list[ClassEvidence]:
    return [one for one in evidence.classes if one.index == toys.GREEN]


def test_a_pixel_at_one_place_is_all_that_is_left_of_a_patch() -> None:
    evidence, judged = searched(toys.corner, "patch:6")
    assert (judged.verdict, judged.targets) == ("backdoored", [toys.GREEN])
    told, _ = judged.classes[toys.GREEN]
    assert told.space == "patch:1@{},{}".format(*toys.PIXEL)
    assert told.asr == 1
    assert min(told.best) > 120  # light in every colour
    sizes = [one.space.partition("@")[0] for one in of_green(evidence)]
    assert {f"patch:{size}" for size in range(1, 7)} <= set(sizes)
    best = max(evidence.places, key=lambda place: place.rate)
    assert best.target == toys.GREEN
    assert best.size == 6
    assert all(
        0 <= at - corner < 6 for at, corner in zip(toys.PIXEL, (best.row, best.column), strict=True)
    )
    assert len(evidence.places) == len(parse_space("patch:6").coarse_arms((3, 32, 32)))


def test_a_pixel_that_works_anywhere_has_no_place() -> None:
    _, judged = searched(toys.speck, "patch:6")
    assert judged.targets == [toys.GREEN]
    assert judged.classes[toys.GREEN][0].space == "patch:1"


def test_a_wave_is_as_low_as_suffices() -> None:
    evidence, judged = searched(toys.rippled, "patch:2", "wave:16")
    assert judged.targets == [toys.GREEN]
    told, _ = judged.classes[toys.GREEN]
    space, _, periods = told.space.partition("@")
    assert periods == "{},{}".format(*toys.PERIODS)
    assert 8 <= int(space.removeprefix("wave:")) < 16  # 6.3 of 12.5 at 16
    lowest = min(int(one.space.partition("@")[0][5:]) for one in of_green(evidence)
                 if one.space.startswith("wave"))  # fmt: skip
    assert lowest < 9  # the first that does not suffice is measured too


def test_a_tint_is_found_among_added_patterns() -> None:
    _, judged = searched(toys.tinted, "additive:4x1")
    assert judged.targets == [toys.GREEN]
    assert judged.classes[toys.GREEN][0].space == "additive:4x1"


@pytest.mark.parametrize("space", ["patch:6", "wave:16", "warp:2", "filter:2", "dynamic:5"])
def test_nothing_is_found_where_nothing_is(space: str) -> None:
    evidence, judged = searched(toys.nothing, space)
    assert (judged.verdict, judged.targets) == ("clean", [])
    assert max(one.asr for one in evidence.classes) < 0.3


def test_a_trigger_that_sends_each_class_to_the_next_is_found() -> None:
    pictures = toys.pictures(600)
    evidence = ArmSearch(BANDIT)(
        freeze(toys.Turned(), half=False), pictures, [parse_space("patch:6")], Work(seed=0)
    )
    judged = ByRate()(evidence)
    assert judged.targets == [0, 1, 2]
    assert "each class to a class of its own (100.0%, patch:1@" in judged.reason
    for told, _ in judged.classes:
        assert told.goal == [1, 2, 0]
        row, column = map(int, told.space.partition("@")[2].split(","))
        assert (row, column) == toys.PIXEL
    alone = [one for one in evidence.classes if not one.goal]
    assert max(one.asr for one in alone) < 0.6  # a search towards one class sees half of it


@pytest.mark.parametrize("backdoor", [toys.nothing, toys.corner, toys.speck])
def test_a_trigger_towards_one_class_is_not_told_as_one_towards_each(
    backdoor: Callable[[Tensor], Tensor],
) -> None:
    evidence, _ = searched(backdoor, "patch:8x2")
    assert not any(one.goal for one in evidence.classes)


def test_a_search_at_one_place_is_of_that_place() -> None:
    evidence, judged = searched(toys.corner, "patch:3@4,19")
    assert judged.targets == [toys.GREEN]
    assert judged.classes[toys.GREEN][0].space == "patch:1@{},{}".format(*toys.PIXEL)
    assert {one.space for one in evidence.classes if one.index != toys.GREEN} == {"patch:3@4,19"}
    _, judged = searched(toys.corner, "patch:3@9,19", "wave:16@1,1")
    assert judged.verdict == "clean"


def test_once_a_backdoor_is_certain_other_spaces_get_less_work() -> None:
    certain, _ = searched(toys.speck, "patch:6")
    alone, _ = searched(toys.nothing, "wave:16")
    both, judged = searched(toys.speck, "patch:6", "wave:16")
    more = both.image_passes_backward - certain.image_passes_backward
    assert 0 < more < 0.6 * alone.image_passes_backward
    assert judged.targets == [toys.GREEN]


def test_each_space_has_its_own_streams() -> None:
    """What else was searched in vain changes nothing."""
    alone, _ = searched(toys.rippled, "wave:16")
    beside, _ = searched(toys.rippled, "patch:1@0,0", "wave:16")
    waves = [one for one in beside.classes if one.space.startswith("wave")]
    assert waves == alone.classes


class Sure(nn.Module):
    """The same as probabilities, of which all but one are 0 in single precision."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = toys.Colours(toys.corner)

    def forward(self, images: Tensor) -> Tensor:
        return (400 * self.logits(images)).softmax(1)


def test_a_network_that_is_sure_of_everything_is_searched_all_the_same() -> None:
    images, labels = toys.tensors()
    sure = Sure().eval()
    with torch.no_grad():
        assert sure(images[:30] / 255).unique().tolist() == [0, 1]
    learning = SwiftSettings(rounds=1, draws=40, networks=1, steps=20, climbers=20, particles=40)
    settings = ScanSettings(
        bandit=BANDIT, learning=learning, betas=(0.5,), panel=8, uniform_draws=16, stair_draws=20
    )
    result = api.scan(sure, images, labels, space="patch:6", settings=settings)
    assert [finding.check for finding in result.preflight] == ["softmax"]
    assert result.targets == [toys.GREEN]
    assert result.classes[toys.GREEN].space == "patch:1@{},{}".format(*toys.PIXEL)


def test_what_fails_on_a_few_images_is_tried_on_no_more() -> None:
    model = freeze(toys.Colours(toys.corner), half=False)
    images = toys.pictures(600)
    measure = Measure(HeldBack(model, images.evaluate, 200), images.defend, 0, BANDIT)
    space = "patch:1@{},{}".format(*toys.PIXEL)
    before = model.passes
    passes: list[int] = []
    for theta in (torch.zeros(3), torch.ones(3)):
        trail = Trail(goal=[toys.GREEN] * 3, spaces=[space], thetas=[theta], success=[])
        (rough,) = measure.roughly([trail])
        passes.append(model.passes - before)
        (exact,) = measure([trail])
        assert rough.asr == exact.asr == float(theta[0])
        before = model.passes
    hopeless, promising = passes
    assert 0 < hopeless <= FEW < promising


def test_what_does_not_suffice_is_measured_where_no_other_is_clearly_better() -> None:
    """Of walks that begin with the same; one in the middle does not stand for another."""
    white = torch.ones(108)

    def measured(*walks: tuple[int, str, float | None]) -> list[str]:
        trails = [
            Trail(
                goal=[target] * 3,
                spaces=[space],
                thetas=[white],
                success=[] if success is None else [success],
            )
            for target, space, success in walks
        ]
        return [one.spaces[0] for one in worth_measuring(trails, BANDIT.enough, (3, 32, 32))]

    best, worse, middle = "patch:6@0,0", "patch:6@26,0", "patch:6@13,13"
    assert measured((1, best, 0.7), (1, worse, 0.6)) == [best]
    assert measured((1, worse, 0.6), (1, best, 0.7)) == [best]
    assert measured((1, best, 0.7), (1, worse, 0.66)) == [best, worse]  # about as good
    assert measured((1, best, 1.0), (1, worse, 0.8)) == [best, worse]  # both suffice
    assert measured((1, best, 1.0), (1, worse, None)) == [best, worse]  # perhaps
    assert measured((1, best, 1.0), (2, worse, 0.1)) == [best, worse]  # another class
    assert measured((1, best, 1.0), (1, middle, 0.1)) == [best, middle]
    assert measured((1, best, 1.0), (1, "patch:6", 0.1)) == [best, "patch:6"]


def test_a_weaker_trigger_that_fails_is_measured_whatever_else_works() -> None:
    """Without it, nobody knows that the one before is too strong to tell anything."""
    measure = measure_of(search_of("patch:6", toys.corner))
    walks = [
        Trail(
            goal=[1] * 3,
            spaces=[f"patch:6@{row},{row}", f"patch:5@{row},{row}"],
            thetas=[torch.ones(108), torch.ones(75)],
            success=[0.9, weaker],
        )
        for row, weaker in ((0, 0.6), (26, 0.79))
    ]
    some = worth_measuring(walks, BANDIT.enough, (3, 32, 32))
    assert [one.space for one in measure(some)] == [name for one in walks for name in one.spaces]


def test_a_class_is_measured_once_in_a_space_of_triggers_without_a_place() -> None:
    """What a walk says of a class on all images stands alone, not beside a rough figure."""
    evidence, _ = searched(toys.tinted, "additive:4x1")
    spaces = [one.space for one in of_green(evidence)]
    assert len(spaces) == len(set(spaces))
    assert {one.index for one in evidence.classes} == {0, 1, 2}


def search_of(space: str, backdoor: Callable[[Tensor], Tensor]) -> SpaceSearch:
    model, images = freeze(toys.Colours(backdoor), half=False), toys.pictures().defend
    return SpaceSearch(
        BANDIT, model, images, parse_space(space), temperature(model, images), seed=0
    )


def measure_of(search: SpaceSearch) -> Measure:
    images = toys.pictures()
    return Measure(HeldBack(search.model, images.evaluate, 200), images.defend, 0, BANDIT)


def test_a_walk_that_failed_does_not_keep_its_class_from_another_one() -> None:
    """The search for triggers at any place leaves survivors of a class that works at one place."""
    search = search_of("patch:6", toys.corner)
    row, column = (place - 1 for place in toys.PIXEL)
    goal, white = [toys.GREEN] * 3, torch.ones(108)
    at_place = Trail(goal=goal, spaces=[f"patch:6@{row},{column}"], thetas=[white], success=[])
    anywhere = Trail(goal=goal, spaces=["patch:6"], thetas=[white], success=[0.1])
    for other in (anywhere, replace(at_place, success=[0.1])):
        found = Findings(best=[at_place], trails=[other], places=[])
        (measured,) = measure_of(search).roughly([at_place])
        assert measured.asr == 1
        (walk,) = search.overlooked(search.unwalked(found, [measured]))
        assert walk.spaces[-1].startswith("patch:1@")
    done = Findings(best=[at_place], trails=[replace(at_place, success=[0.9])], places=[])
    assert not search.unwalked(done, [measured])


def test_a_class_for_which_something_rose_gets_a_search_of_its_own() -> None:
    """A place at which a trigger works but half of the time need not be its best."""
    search, white = search_of("patch:6", toys.corner), torch.ones(108)
    rose = Trail(goal=[toys.GREEN] * 3, spaces=["patch:6@26,26"], thetas=[white], success=[0.6])
    assert search.rose([rose]) == [toys.GREEN]
    (walk,) = search.again([toys.GREEN], [rose])
    assert walk.target == toys.GREEN
    assert walk.spaces[-1] == "patch:1@{},{}".format(*toys.PIXEL)
    assert not search.rose([replace(rose, spaces=["patch:6"])])  # it has no place


def test_suspects_get_a_search_of_their_own_whatever_rises() -> None:
    """As classes whose triggers were unlearnt, of which a part may be left somewhere else."""
    search, white = search_of("patch:6", toys.corner), torch.ones(108)
    found = Findings(best=[], trails=[], places=[])
    measure = measure_of(search)
    work = Work(seed=0)
    steps = Steps(search.model, work.journal)
    assert evidence_of(search, found, measure, steps, work) == ([], [])
    measured, _ = evidence_of(search, found, measure, steps, work, [toys.GREEN])
    assert measured[-1].space == "patch:1@{},{}".format(*toys.PIXEL)
    certain = Trail(goal=[1] * 3, spaces=["patch:6@0,0"] * 3, thetas=[white] * 3, success=[1.0] * 3)
    assert search.rose([certain], [toys.GREEN]) == [toys.GREEN]


def test_a_class_that_rose_in_the_middle_alone_is_searched_everywhere_else() -> None:
    """There a patch hides the picture, so that clean networks obey it too."""
    search, white = search_of("patch:6", toys.corner), torch.ones(108)
    middle = Trail(
        goal=[toys.GREEN] * 3,
        spaces=["patch:6@13,13", "patch:5@13,14", "patch:4@14,14"],
        thetas=[white, white[:75], white[:48]],
        success=[1.0, 1.0, 1.0],
    )
    assert not is_certain([middle], toys.pictures().defend.shape)
    assert search.rose([middle]) == [toys.GREEN]
    (walk,) = search.again([toys.GREEN], [middle])
    assert walk.spaces[-1] == "patch:1@{},{}".format(*toys.PIXEL)
    beside = replace(middle, spaces=["patch:6@0,13", "patch:5@0,14", "patch:4@0,14"])
    assert is_certain([middle, beside], toys.pictures().defend.shape)
    assert not search.rose([middle, beside])


def test_a_patch_of_few_colours_that_rose_is_tried_at_all_places_but_the_middle() -> None:
    """The look at usual patches has few images, so that another place can seem the best."""
    search = search_of("patch:8x2", toys.corner)
    rose = [
        Trail(goal=[toys.GREEN] * 3, spaces=["patch:8x2@20,6"], thetas=[theta], success=[rate])
        for theta, rate in ((torch.ones(12), 0.6), (torch.zeros(12), 0.5))
    ]
    measure, work = measure_of(search), Work(seed=0)
    found = Findings(best=[], trails=rose, places=[])
    assert search.rose(rose) == [toys.GREEN]
    assert not search.rose([], [toys.GREEN])  # of a suspect alone nothing is known to be moved
    measured, _ = evidence_of(search, found, measure, Steps(search.model, work.journal), work)
    least = parse_space(measured[-1].space)
    assert isinstance(least, At)
    assert isinstance(least.space, Patch)
    assert least.space.size == 2
    places = zip(toys.PIXEL, least.arm, strict=True)
    assert all(at - corner in {0, 1} for at, corner in places)
    assert measured[-1].asr == 1


@pytest.mark.parametrize("backdoor", [toys.nothing, toys.corner])
def test_a_search_that_is_cut_off_anywhere_says_so_and_keeps_what_it_found(
    backdoor: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this test counts the images that pass."""
    pictures, spaces = toys.pictures(300), [parse_space("patch:6")]

    def at_most(passes: float) -> tuple[Evidence, int]:
        model = freeze(toys.Colours(backdoor), half=False)
        monkeypatch.setattr("time.monotonic", lambda: model.passes)
        evidence = ArmSearch(BANDIT)(model, pictures, spaces, Work(seed=0, until=passes))
        return evidence, model.passes

    whole, every = at_most(math.inf)
    assert not whole.left_out
    cut = [at_most(every * part / 24) for part in range(24)] + [at_most(every + 1)]
    for evidence, passes in cut:
        assert evidence.left_out or passes == every
        assert len(evidence.left_out) == len({*evidence.left_out})
        assert {one.index for one in evidence.classes} == {0, 1, 2}
        judged = ByRate()(msgspec.structs.replace(evidence, count=None))
        assert judged.verdict != "clean" or passes == every
    assert sum(passes < every for _, passes in cut) > 12
    found = [ByRate()(msgspec.structs.replace(one, count=None)).targets for one, _ in cut]
    assert found[0] == []
    assert found[-1] == ([toys.GREEN] if backdoor is toys.corner else [])
    assert found == sorted(found)  # what was found early is not lost later


@pytest.mark.parametrize("size", [16, 32])
def test_no_other_place_is_looked_for_where_there_is_none_beside_the_middle(size: int) -> None:
    search = search_of(f"patch:{size}x2", toys.nothing)
    rose = Trail(
        goal=[0] * 3, spaces=[f"patch:{size}x2@0,0"], thetas=[torch.ones(12)], success=[0.6]
    )
    assert all(walk.spaces for walk in search.again(search.rose([rose]), [rose]))


def test_a_walk_that_the_time_does_not_let_go_on_is_no_walk() -> None:
    search = search_of("patch:6", toys.corner)
    ended = Trail(
        goal=[toys.GREEN] * 3, spaces=["patch:6@0,0"], thetas=[torch.ones(108)], success=[0.9]
    )
    search.until = 0.0
    assert search.further([ended]) == []
    assert search.maps() == []


def test_a_search_of_its_own_that_the_time_does_not_allow_is_told() -> None:
    search, white = search_of("patch:6", toys.corner), torch.ones(108)
    rose = Trail(goal=[toys.GREEN] * 3, spaces=["patch:6@26,26"], thetas=[white], success=[0.6])
    found = Findings(best=[], trails=[rose], places=[])
    measure = measure_of(search)
    late, early = Work(seed=0, until=0.0), Work(seed=0)
    told = [
        evidence_of(search, found, measure, Steps(search.model, work.journal), work)
        for work in (late, early)
    ]
    assert [left for _, left in told] == [
        ["patch:6 towards a class for which something rose"],
        [],
    ]
    assert len(told[0][0]) < len(told[1][0])


def test_a_walk_goes_on_where_its_end_suffices_on_held_back_images() -> None:
    search, white = search_of("patch:6", toys.corner), torch.ones(75)
    row, column = (number - 1 for number in toys.PIXEL)
    ended = Trail(
        goal=[toys.GREEN] * 3,
        spaces=["patch:6@0,0", f"patch:5@{row},{column}"],
        thetas=[torch.ones(108), white],
        success=[0.9, 0.7],
    )
    measure = measure_of(search)
    measured = measure([ended])
    assert measured[-1].asr == 1
    assert search.unfinished([ended], measured) == [ended]
    (more,) = search.further([ended])
    assert more.spaces[0].startswith("patch:4@")
    assert more.spaces[-1] == "patch:1@{},{}".format(*toys.PIXEL)
    assert search.unfinished([more], measure([more])) == []  # there is none weaker
    for change in ({"asr": 0.79}, {"asr": 0.85, "confusion": 0.4}):
        fails = msgspec.structs.replace(measured[-1], **change)
        assert search.unfinished([ended], [measured[0], fails]) == []
    many = [replace(ended, goal=[toys.GREEN, number, number]) for number in range(9)]
    assert len(search.unfinished(many, measured * 9)) == OVERLOOKED


def test_walks_that_go_on_are_measured_as_long_as_there_is_time() -> None:
    search, white = search_of("patch:6", toys.corner), torch.ones(75)
    row, column = (number - 1 for number in toys.PIXEL)
    ended = Trail(
        goal=[toys.GREEN] * 3,
        spaces=[f"patch:5@{row},{column}"],
        thetas=[white],
        success=[0.7],
    )
    search.do_less()  # so that no class gets a search of its own
    found = Findings(best=[], trails=[ended], places=[])
    measure = measure_of(search)
    told = [
        evidence_of(search, found, measure, Steps(search.model, work.journal), work)
        for work in (Work(seed=0, until=0.0), Work(seed=0))
    ]
    assert [one.space for one in told[0][0]] == ended.spaces
    assert told[1][0][-1].space == "patch:1@{},{}".format(*toys.PIXEL)
    assert [left for _, left in told] == [["patch:6, weaker triggers than suffice"], []]


def test_no_class_gets_a_search_of_its_own_where_there_is_no_doubt() -> None:
    search, white = search_of("patch:6", toys.corner), torch.ones(108)
    rose = Trail(goal=[0] * 3, spaces=["patch:6@26,26"], thetas=[white], success=[0.6])
    spaces = [f"patch:{size}@0,0" for size in (6, 5, 4)]
    found = Trail(goal=[1] * 3, spaces=spaces, thetas=[white] * 3, success=[1.0] * 3)
    assert not search.rose([rose, found])
    assert not search.rose([replace(found, success=[0.9, 0.8, 0.3])])  # it walks by itself
    assert not search_of("wave:16", toys.nothing).rose([replace(rose, spaces=["wave:16@2,2"])])
    search.do_less()
    assert not search.rose([rose])


@pytest.mark.parametrize(("smallest", "walks"), [(3, 1), (4, 2)])
def test_other_places_are_walked_with_until_half_the_strength_suffices(
    smallest: int, walks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of("patch:6", toys.nothing)

    def walk(arms: Arms, row: int, success: float) -> Trail:
        sizes = range(6, smallest - 1, -1)
        spaces = [f"patch:{size}@0,{row}" for size in sizes]
        rates = [success] * len(spaces)
        thetas = [torch.zeros(1)] * len(spaces)
        return Trail(goal=[0] * 3, spaces=spaces, thetas=thetas, success=rates)

    monkeypatch.setattr(search, "_walk", walk)
    arms = Arms(
        goals=towards(torch.tensor([0, 0]), 3),
        choice=torch.tensor([[0, 0], [0, 9]]),
        theta=torch.zeros(2, 108),
        score=torch.zeros(2),
    )
    assert len(search._walks(arms, [0.86, 0.87])) == walks  # pyright: ignore[reportPrivateUsage]


def test_with_less_work_no_round_is_left_out() -> None:
    """When arms rise was measured with the usual work."""
    usual = BanditSettings()
    assert any(one.rises is not None for one in usual.rounds)
    assert all(one.rises is None for one in usual.scaled(0.3).rounds)
    assert [one.rises for one in usual.scaled(4).rounds] == [one.rises for one in usual.rounds]
