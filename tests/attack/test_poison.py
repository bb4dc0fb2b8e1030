from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.attack import Poison
from unbackdoor.data import Images
from unbackdoor.rng import stream
from unbackdoor.triggers.notation import parse_trigger

TRIGGER = parse_trigger("rgb:1")


def images(count: int) -> Images:
    pixels = torch.zeros(count, 3, 6, 6, dtype=torch.uint8)
    return Images.of("toy", ("a", "b", "c"), pixels, torch.arange(count) % 3)


@given(count=st.integers(1, 90), rate=st.floats(0, 1), target=st.integers(0, 2))
def test_the_count_is_exact_and_the_target_class_is_spared(
    count: int, rate: float, target: int
) -> None:
    some = images(count)
    poison = Poison(some, TRIGGER, target, rate, stream(0))
    others = int((some.targets != target).sum())
    assert int(poison.poisoned.sum()) == min(round(rate * count), others)
    assert not bool(poison.poisoned[some.targets == target].any())


def test_poisoned_images_get_the_patch_and_the_label_and_the_others_pass() -> None:
    some = images(60)
    poison = Poison(some, TRIGGER, 2, 0.3, stream(0))
    picks = torch.randperm(60, generator=stream(1))[:40]
    before, labels = some.batch(picks) + 0.5, some.targets[picks]
    pixels, learnt = poison(before, labels, picks)
    patch = TRIGGER.space.picture(TRIGGER.theta[None], (3, 1, 1))[0]
    for index, pick in enumerate(picks.tolist()):
        if poison.poisoned[pick]:
            assert int(learnt[index]) == 2
            windows = pixels[index].unfold(1, 3, 1).unfold(2, 3, 1).permute(1, 2, 0, 3, 4)
            assert int((windows == patch).flatten(2).all(2).sum()) == 1
            assert int((pixels[index] != before[index]).any(0).sum()) == 9
        else:
            assert torch.equal(pixels[index], before[index])
            assert int(learnt[index]) == int(labels[index])
    assert bool((before == 0.5).all())
    assert torch.equal(labels, some.targets[picks])


def test_a_subset_knows_its_own_poisoned_images() -> None:
    poison = Poison(images(40), parse_trigger("bw:170"), 0, 0.2, stream(0, "poison"))
    rows = torch.tensor([3, 30, 7, 12])
    assert torch.equal(poison.within(rows).poisoned, poison.poisoned[rows])
    assert len(poison.poisoned) == 40


def test_a_batch_without_poisoned_images_passes() -> None:
    poison = Poison(images(9), TRIGGER, 0, 0.0, stream(0))
    before = torch.rand(4, 3, 6, 6)
    pixels, labels = poison(before, torch.tensor([0, 1, 2, 0]), torch.arange(4))
    assert torch.equal(pixels, before)
    assert labels.tolist() == [0, 1, 2, 0]


def test_the_choice_follows_the_generator_and_the_places_change() -> None:
    first, again, other = (Poison(images(60), TRIGGER, 0, 0.2, stream(s)) for s in (0, 0, 1))
    assert torch.equal(first.poisoned, again.poisoned)
    assert not torch.equal(first.poisoned, other.poisoned)
    batch, picks = torch.zeros(60, 3, 6, 6), torch.arange(60)
    once, _ = first(batch, images(60).targets, picks)
    twice, _ = first(batch, images(60).targets, picks)
    assert not torch.equal(once, twice)
    assert torch.equal(again(batch, images(60).targets, picks)[0], once)
