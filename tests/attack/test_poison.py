from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from unbackdoor.attack import Backdoor, Poison, goal_of, poison_of
from unbackdoor.data import Images
from unbackdoor.rng import stream
from unbackdoor.triggers.notation import parse_trigger

SHAPE = (3, 6, 6)
TRIGGER = parse_trigger("rgb:1", SHAPE)
POISONED = [1, 7, 14, 31, 32, 56]
ROWS = [[1, 1], [7, 2], [14, 0], [31, 2], [32, 1], [56, 2]]
MODES = ["all-to-one", "all-to-all", "source:1"]
FAMILIES = [
    *["bw:170", "white:2@4,4", "pixel:ff0000@0,5", "additive:sin:2@20", "additive:noise:1@8"],
    *["blend:1@0.2", "warp:1@2", "filter:1", "dynamic:1"],
]


def images(count: int) -> Images:
    pixels = torch.randint(60, 200, (count, *SHAPE), dtype=torch.uint8, generator=stream(0))
    return Images.of("toy", ("a", "b", "c"), pixels, torch.arange(count) % 3)


def backdoor(
    *specs: str,
    mode: str = "all-to-one",
    target: int = 2,
    rate: float = 0.2,
    cover: float | None = None,
) -> Backdoor:
    triggers = tuple(parse_trigger(spec, SHAPE) for spec in specs or ("rgb:1",))
    return Backdoor(triggers, goal_of(mode, target, 3), rate, cover)


def poison(count: int, plan: Backdoor, draw: Generator | None = None) -> Poison:
    return Poison(images(count), plan, draw or stream(0))


@given(count=st.integers(1, 90), rate=st.floats(0, 1), target=st.integers(0, 2))
def test_the_count_is_exact_and_the_target_class_is_spared(
    count: int, rate: float, target: int
) -> None:
    some = images(count)
    made = Poison(some, backdoor(target=target, rate=rate), stream(0))
    others = int((some.targets != target).sum())
    assert int(made.poisoned.sum()) == min(round(rate * count), others)
    assert not bool(made.poisoned[some.targets == target].any())
    assert not bool(made.cover.any())


@given(
    count=st.integers(1, 90),
    rate=st.floats(0, 1),
    cover=st.floats(0, 1),
    mode=st.sampled_from(MODES),
    several=st.integers(1, 3),
)
def test_every_trigger_has_its_share_and_no_image_has_two(
    count: int, rate: float, cover: float, mode: str, several: int
) -> None:
    plan = backdoor(*(f"bw:{n}" for n in range(several)), mode=mode, rate=rate, cover=cover)
    some, made = images(count), poison(count, plan)
    eligible = int((plan.goal.of(some.targets) != some.targets).sum())
    each = min(round(rate * count), eligible // several)
    tally = torch.bincount(made.trigger_of[made.poisoned], minlength=several)
    assert tally.tolist() == [each] * several
    free = count - eligible if plan.goal.picks_sources else count - each * several
    assert int(made.cover.sum()) == min(several * round(cover * count), free)
    assert not bool((made.cover & made.poisoned).any())


@pytest.mark.parametrize("mode", MODES)
def test_labels_follow_the_mode_and_the_cover_keeps_its_own(mode: str) -> None:
    some, plan = images(90), backdoor(mode=mode, cover=0.2)
    made = Poison(some, plan, stream(0))
    assert int(made.cover.sum()) == 18
    picks = torch.randperm(90, generator=stream(1))[:50]
    _, learnt = made(some.batch(picks), some.targets[picks], picks)
    for pick, label in zip(picks.tolist(), learnt.tolist(), strict=True):
        true = int(some.targets[pick])
        if not made.poisoned[pick]:
            assert label == true
        elif mode == "all-to-all":
            assert label == (true + 1) % 3
        else:
            assert (label, true != 2) == (2, True)
            assert true == 1 or mode == "all-to-one"


def test_poisoned_images_get_the_patch_and_the_label_and_the_others_pass() -> None:
    some = images(60)
    made = Poison(some, backdoor(rate=0.3), stream(0))
    picks = torch.randperm(60, generator=stream(1))[:40]
    before, labels = torch.full((40, *SHAPE), 0.5), some.targets[picks]
    pixels, learnt = made(before, labels, picks)
    patch = TRIGGER.space.picture(TRIGGER.theta[None], SHAPE)[0]
    for index, pick in enumerate(picks.tolist()):
        if made.poisoned[pick]:
            assert int(learnt[index]) == 2
            windows = pixels[index].unfold(1, 3, 1).unfold(2, 3, 1).permute(1, 2, 0, 3, 4)
            assert int((windows == patch).flatten(2).all(2).sum()) == 1
            assert int((pixels[index] != before[index]).any(0).sum()) == 9
        else:
            assert torch.equal(pixels[index], before[index])
            assert int(learnt[index]) == int(labels[index])
    assert bool((before == 0.5).all())
    assert torch.equal(labels, some.targets[picks])


@pytest.mark.parametrize("spec", FAMILIES)
def test_every_family_marks_what_is_poisoned_and_nothing_else(spec: str) -> None:
    some, made = images(30), poison(30, backdoor(spec, cover=0.0))
    picks = torch.arange(30)
    before = some.batch(picks)
    after, _ = made(before, some.targets, picks)
    changed = (after != before).flatten(1).any(1)
    assert torch.equal(changed, made.poisoned)
    assert 0 <= float(after.min()) <= float(after.max()) <= 1
    if "@4,4" in spec:
        assert bool((after[made.poisoned][:, :, 4:, 4:] == 1).all())


def test_a_cover_is_the_trigger_on_other_classes_where_one_class_is_the_source() -> None:
    plan = backdoor("white:2@0,0", mode="source:1", rate=0.1)
    some, made = images(60), poison(60, plan)
    assert int(made.cover.sum()) == int(made.poisoned.sum()) == 6
    assert not bool((some.targets[made.cover] == 1).any())
    after, _ = made(some.batch(torch.arange(60)), some.targets, torch.arange(60))
    assert bool((after[made.cover][:, :, :2, :2] == 1).all())


def test_a_cover_is_a_distorted_trigger_else_and_another_each_time() -> None:
    plan = backdoor("warp:1@2", rate=0.1)
    some, made = images(60), poison(60, plan)
    assert int(made.cover.sum()) == 2 * int(made.poisoned.sum()) == 12
    trigger, picks = plan.triggers[0], torch.arange(60)
    count = torch.empty(60, 0)
    exact = trigger.space.apply(some.batch(picks), trigger.theta.expand(60, -1), count)
    once, _ = made(some.batch(picks), some.targets, picks)
    twice, _ = made(some.batch(picks), some.targets, picks)
    same = (once == exact).flatten(1).all(1)
    assert torch.equal(same, made.poisoned)
    assert bool((once != twice).flatten(1).any(1)[made.cover].all())
    assert torch.equal(once[made.poisoned], twice[made.poisoned])


def test_a_subset_knows_its_own_poisoned_images() -> None:
    made = poison(40, backdoor(cover=0.2))
    rows = torch.tensor([3, 30, 7, 12])
    part = made.within(rows)
    assert torch.equal(part.poisoned, made.poisoned[rows])
    assert torch.equal(part.cover, made.cover[rows])
    assert len(made.poisoned) == 40


def test_a_batch_without_poisoned_images_passes() -> None:
    for spec in FAMILIES:
        made = poison(9, backdoor(spec, rate=0.0))
        before = torch.rand(4, *SHAPE)
        pixels, labels = made(before, torch.tensor([0, 1, 2, 0]), torch.arange(4))
        assert torch.equal(pixels, before)
        assert labels.tolist() == [0, 1, 2, 0]


def test_the_choice_follows_the_generator_and_the_places_change() -> None:
    first, again, other = (poison(60, backdoor(), stream(s)) for s in (0, 0, 1))
    assert torch.equal(first.poisoned, again.poisoned)
    assert not torch.equal(first.poisoned, other.poisoned)
    batch, picks = torch.zeros(60, *SHAPE), torch.arange(60)
    once, _ = first(batch, images(60).targets, picks)
    twice, _ = first(batch, images(60).targets, picks)
    assert not torch.equal(once, twice)
    assert torch.equal(again(batch, images(60).targets, picks)[0], once)


@pytest.mark.stored
def test_one_trigger_for_all_is_planted_as_it_always_was() -> None:
    """Networks whose measurements are stored are made again from their seed alone."""
    made = poison_of(images(60), backdoor(target=0, rate=0.1), 0)
    after, _ = made(torch.zeros(60, *SHAPE), images(60).targets, torch.arange(60))
    assert made.poisoned.nonzero()[:, 0].tolist() == POISONED
    assert after.abs().sum((1, 3)).nonzero()[::3].tolist() == ROWS
