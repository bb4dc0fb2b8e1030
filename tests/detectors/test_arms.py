"""The bandit: who goes on, how work is shared out, and what it finds in closed-form networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from detectors import toys
from unbackdoor.data import Images
from unbackdoor.detectors.arms import ANYWHERE, Arms, Bandit, choices, others, towards
from unbackdoor.detectors.objective import temperature
from unbackdoor.detectors.settings import FEWEST, Round
from unbackdoor.models import freeze
from unbackdoor.rng import stream
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space
from unbackdoor.triggers.values import whole

SHAPE = (3, toys.SIDE, toys.SIDE)


def arms(targets: list[int], places: list[tuple[int, ...]], score: list[float]) -> Arms:
    return Arms(
        goals=towards(torch.tensor(targets), 5),
        choice=torch.tensor(places).reshape(len(places), -1),
        theta=torch.zeros(len(targets), 3),
        score=torch.tensor(score),
    )


def nowhere(arms: Arms) -> Tensor:
    """No arm lies in the middle."""
    return torch.zeros(len(arms), dtype=torch.bool)


def test_leaders_of_classes_go_on_then_of_places_then_the_others() -> None:
    a, b = (0, 0), (0, 4)
    some = arms(
        [0, 0, 0, 1, 1, 2, 2],
        [a, b, b, a, a, a, b],
        [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -9.0],
    )
    assert whole(some.survivors(6, nowhere(some))) == [0, 3, 5, 1, 2, 4]
    assert whole(some.survivors(4, nowhere(some))) == [
        0,
        3,
        1,
        2,
    ]  # half of them are leaders of classes
    assert whole(some.survivors(2, nowhere(some))) == [0, 1]
    assert whole(some.survivors(1, nowhere(some))) == [0]
    assert whole(some.survivors(99, nowhere(some))) == [0, 3, 5, 1, 2, 4, 6]


def test_the_middle_does_not_crowd_out_the_rest() -> None:
    places: list[tuple[int, ...]] = [(14, 14), (13, 14), (0, 0), (15, 14)]
    some = arms([1, 1, 1, 2], places, [-1.0, -2.0, -9.0, -3.0])
    hides = Patch(4).hides(some.choice, (3, 32, 32))
    assert hides.tolist() == [True, True, False, True]
    assert whole(some.survivors(4, hides))[:2] == [0, 3]
    assert 2 in whole(some.survivors(5, hides))[:3]
    assert 2 not in whole(some.survivors(3, nowhere(some)))


def test_walks_begin_with_the_best_of_each_class_and_place() -> None:
    a, b = (0, 0), (0, 4)
    some = arms([0, 0, 1, 0], [a, a, a, b], [-2.0, -1.0, -3.0, -4.0])
    assert whole(some.distinct()) == [1, 2, 3]
    whole_picture = arms([0, 0, 1], [(), (), ()], [-2.0, -1.0, -3.0])
    assert whole(whole_picture.distinct()) == [1, 2]


def test_where_there_is_no_place_classes_and_scores_decide() -> None:
    some = arms([0, 0, 1, 1], [(), (), (), ()], [-1.0, -2.0, -4.0, -3.0])
    assert whole(some.survivors(4, nowhere(some))) == [0, 3, 1, 2]
    assert whole(some.survivors(2, nowhere(some))) == [0, 1]


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.floats(-50, 0)), min_size=1, max_size=30
    ),
    share=st.floats(0.05, 1),
)
def test_the_best_goes_on_and_as_many_classes_as_fit(
    rows: list[tuple[int, int, float]], share: float
) -> None:
    targets, places, score = map(list, zip(*rows, strict=True))
    some = arms(targets, [(place, 0) for place in places], score)
    count = max(1, round(share * len(rows)))
    kept = whole(some.survivors(count, nowhere(some)))
    assert len(kept) == len(set(kept)) == count
    assert whole(some.best())[0] in kept
    classes = {targets[row] for row in kept}
    assert len(classes) >= min(len(set(targets)), (count + 1) // 2)
    part = some.rows(torch.tensor(kept))
    assert whole(part.targets) == [targets[row] for row in kept]


@given(st.integers(1, 5000), st.integers(1, 100_000), st.integers(1, 1000), st.floats(0.1, 10))
def test_the_images_of_a_round_are_shared_out(
    count: int, passes: int, most: int, reach: float
) -> None:
    images, steps = Round(arms=1, passes=passes, most=most, reach=reach).shared(count)
    assert images >= 1
    assert steps >= 1
    each = max(FEWEST, min(most, passes // count))
    assert abs(images * steps - each) <= images / 2  # whole steps
    assert steps >= images or each < 3 * FEWEST


@pytest.mark.parametrize("count", [1, 7, 40, 300])
def test_images_are_of_other_classes_and_the_same_for_all_arms(count: int) -> None:
    labels = torch.tensor([0] * 20 + [1] * 3 + [2] * 30 + [3])
    pixels = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
    images = Images.of("none", ("a", "b", "c", "d", "e"), pixels, labels)
    targets = torch.tensor([2, 0, 4, 0, 1])
    goals = towards(targets, 5)
    picks = others(images, goals, count, stream(0, "others")).reshape(len(targets), count)
    for target, row in zip(whole(targets), picks, strict=True):
        assert target not in whole(images.targets[row])
        available = int((labels != target).sum())
        assert len(row.unique()) == min(count, available)  # no image twice while there are others
    assert torch.equal(picks[1], picks[3])
    order = whole(picks[2])  # no image is of class 4, so these are the first of all
    for target, row in zip(whole(targets), picks, strict=True):
        same = [pick for pick in order[: len(labels)] if int(labels[pick]) != target]
        assert whole(row)[: len(same)] == same[:count]
    again = others(images, goals, count, stream(0, "others"))
    assert torch.equal(again.reshape(picks.shape), picks)


def test_there_is_a_choice_of_places_and_of_none() -> None:
    places, anywhere = choices(Patch(6), SHAPE, 3)
    assert torch.equal(places, Patch(6).coarse_arms(SHAPE))
    assert anywhere.tolist() == [[ANYWHERE, ANYWHERE]] * 3
    (waves,) = choices(parse_space("wave:16"), SHAPE, 3)
    assert torch.equal(waves, parse_space("wave:16").coarse_arms(SHAPE))
    (fixed,) = choices(parse_space("patch:3@4,5"), SHAPE, 3)
    assert fixed.tolist() == [[4, 5]] * 3
    (whole_picture,) = choices(parse_space("warp:2"), SHAPE, 3)
    assert whole_picture.shape == (3, 0)


def bandit(backdoor: object, space: str) -> Bandit:
    images, model = toys.pictures().defend, freeze(toys.Colours(backdoor), half=False)  # pyright: ignore
    return Bandit(
        model=model,
        images=images,
        space=parse_space(space),
        temperature=temperature(model, images),
        generator=stream(0, "bandit"),
    )


def test_an_arm_is_a_space_of_its_own() -> None:
    some = arms([0, 1], [(5, 20), (ANYWHERE, ANYWHERE)], [0.0, 0.0])
    assert some.space(Patch(1), 0) == At(Patch(1), (5, 20))
    assert some.space(Patch(1), 1) == Patch(1)
    for name, choice in {"warp:2": (), "patch:1@5,20": (5, 20)}.items():
        assert arms([0], [choice], [0.0]).space(parse_space(name), 0) == parse_space(name)


def test_success_is_the_share_that_is_sent_to_the_class() -> None:
    play = bandit(toys.corner, "patch:1")
    white = torch.ones(1, 3)
    at = torch.tensor([toys.PIXEL, (0, 0), (ANYWHERE, ANYWHERE)])
    some = Arms(
        goals=towards(torch.full((3,), toys.GREEN), 3),
        choice=at,
        theta=white.expand(3, 3),
        score=torch.zeros(3),
    )
    right, wrong, anywhere = play.success(some, 40).tolist()
    assert (right, wrong) == (1, 0)
    assert anywhere < 0.1  # one place of 1,024


def test_a_patch_is_nudged_to_where_it_works_best() -> None:
    play = bandit(toys.corner, "patch:2")
    row, column = toys.PIXEL
    places = [(row + 2, column - 2), (row - 1, column), (0, 0), (30, 30)]
    some = Arms(
        goals=towards(torch.full((4,), toys.GREEN), 3),
        choice=torch.tensor(places),
        theta=torch.ones(4, 12),
        score=torch.zeros(4),
    )
    moved = play.nudged(some, 2)
    inside = torch.tensor(toys.PIXEL) - moved.choice
    holds = ((inside >= 0) & (inside < 2)).all(1)
    assert holds.tolist() == [True, True, False, False]
    assert moved.choice[1].tolist() == [row - 1, column]  # it stays where no other place is better
    assert int((moved.choice - some.choice).abs().max()) <= 2
    assert {tuple(arm) for arm in moved.choice.tolist()} <= {
        tuple(arm) for arm in Patch(2).arms(SHAPE).tolist()
    }
    assert torch.equal(moved.theta, some.theta)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_look_at_usual_squares_scores_every_class_at_once(count: int) -> None:
    play = bandit(toys.corner, "patch:4x2")
    row, column = toys.PIXEL
    white = torch.stack([torch.zeros(12), torch.ones(12)])
    places = torch.tensor([[row - 1, column - 3], [row + 1, column], [0, 0]])
    before = play.model.passes
    seen = play.look(white, places, count)
    assert play.model.passes - before == len(white) * len(places) * count
    assert len(seen) == 2 * 3 * 3
    assert float(seen.score.max()) <= 0
    table = {
        (int(seen.targets[arm]), float(seen.theta[arm, 0]), *whole(seen.choice[arm])): float(score)
        for arm, score in enumerate(seen.score)
    }
    assert len(table) == len(seen)
    best = max(table, key=lambda key: table[key])
    assert best == (toys.GREEN, 1.0, row - 1, column - 3)
    others = [score for key, score in table.items() if key != best]
    assert table[best] > -0.1
    assert max(others) < -1  # also of classes of which an image was looked at


def ends(play: Bandit, choice: Tensor) -> Arms:
    """Play two rounds and return who is left."""
    targets = torch.arange(3).repeat_interleave(len(choice))
    some = play.start(targets, choice.repeat(3, 1))
    rounds = (Round(arms=1, passes=1500, most=24), Round(arms=12, passes=600, most=50))
    first, last = play.halve(some, rounds)
    assert (len(first), len(last)) == (3 * len(choice), min(12, (3 * len(choice) + 1) // 2))
    return last


def test_the_class_and_the_place_of_a_pixel_rise_most() -> None:
    play = bandit(toys.corner, "patch:6")
    last = ends(play, choices(play.space, SHAPE, 1)[0])
    best = int(last.best()[0])
    assert int(last.targets[best]) == toys.GREEN
    inside = torch.tensor(toys.PIXEL) - last.choice
    holds = ((inside >= 0) & (inside < 6)).all(1) & (last.targets == toys.GREEN)
    assert bool(holds[best])
    assert float(last.score[holds].max()) > float(last.score[~holds].max()) + 1
    assert float(play.success(last, 30)[best]) > 0.9


def test_the_class_and_the_periods_of_a_wave_rise_most() -> None:
    play = bandit(toys.rippled, "wave:16")
    last = ends(play, choices(play.space, SHAPE, 1)[0])
    best = int(last.best()[0])
    assert int(last.targets[best]) == toys.GREEN
    assert tuple(whole(last.choice[best])) == toys.PERIODS
    assert float(play.success(last, 30)[best]) > 0.9


def test_in_a_clean_network_nothing_rises() -> None:
    play = bandit(toys.nothing, "patch:6")
    last = ends(play, choices(play.space, SHAPE, 1)[0])
    assert float(play.success(last, 30).max()) == 0


@pytest.mark.parametrize(("backdoor", "played"), [(toys.nothing, 2), (toys.corner, 3)])
def test_no_round_follows_where_nothing_rises(backdoor: object, played: int) -> None:
    play = bandit(backdoor, "patch:6")
    choice = choices(play.space, SHAPE, 1)[0]
    some = play.start(torch.arange(3).repeat_interleave(len(choice)), choice.repeat(3, 1))
    rounds = (
        Round(arms=1, passes=1500, most=24),
        Round(arms=12, passes=600, most=50, rises=0.7),
        Round(arms=4, passes=100, most=50),
    )
    assert len(play.halve(some, rounds)) == played


def test_of_few_values_a_search_begins_more_often() -> None:
    assert len(choices(parse_space("filter:7"), SHAPE, 2)[0]) == 4
    assert len(choices(parse_space("additive:4"), SHAPE, 2)[0]) == 2


def test_a_mask_finds_pixels_that_work_only_together() -> None:
    """Its search begins with masks within the budget: far above it no few pixels stand out."""
    images = toys.pictures().defend
    model = freeze(toys.Colours(toys.scattered))
    play = Bandit(
        model=model,
        images=images,
        space=parse_space("mask:2"),
        temperature=temperature(model, images),
        generator=stream(0, "masks"),
    )
    begun = play.start(torch.full((4,), toys.GREEN), play.space.coarse_arms(SHAPE).expand(4, -1))
    masks = play.space.picture(begun.theta, SHAPE)[:, 0]
    assert float((masks.mean((1, 2)) - 0.02).abs().max()) < 0.001
    found = play.play(begun, Round(arms=4, passes=400, most=100))
    assert float(play.success(found, 100).max()) >= 0.9
    best = play.space.picture(found.theta[found.best()[:1]], SHAPE)[0, 0]
    covered = torch.tensor([float(best[place]) for place in toys.SCATTERED])
    assert float(covered.min()) > 5 * float(best.mean())
