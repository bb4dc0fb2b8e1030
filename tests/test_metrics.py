from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.data.images import MOST_AT_ONCE
from unbackdoor.errors import InsufficientDataError
from unbackdoor.metrics import accuracy, attack_success, predict, predict_by, sent, sent_by
from unbackdoor.rng import stream
from unbackdoor.triggers.patch import Patch

SPACE = Patch(3)
WHITE, BLACK = torch.ones(27), torch.zeros(27)
TARGET = 1


def images(count: int, classes: int = 3) -> Images:
    pixels = torch.randint(0, 200, (count, 3, 9, 9), generator=stream(0), dtype=torch.uint8)
    names = tuple("abcdef"[:classes])
    return Images.of("grey", names, pixels, torch.arange(count) % classes)


def finds_white_patches(pictures: Tensor) -> Tensor:
    """Class 1 where a 3×3 patch is white all over, else class 0."""
    whitest = -functional.max_pool2d(-pictures.amin(1, keepdim=True), 3, 1)
    found = whitest.flatten(1).amax(1) > 0.99
    return functional.one_hot(found.long(), 3).float()


def success(count: int, theta: Tensor, rounds: int = 1) -> float:
    return attack_success(
        finds_white_patches,
        images(count),
        SPACE,
        theta,
        TARGET,
        generator=stream(1),
        rounds=rounds,
    )


def test_asr_of_a_classifier_that_looks_for_the_trigger_is_exact() -> None:
    assert success(60, WHITE[None]) == 1.0
    assert success(60, BLACK[None]) == 0.0
    assert success(3 * MOST_AT_ONCE + 1, WHITE[None]) == 1.0


def test_images_take_turns_through_the_triggers_and_go_on_in_the_next_round() -> None:
    both = torch.stack([WHITE, BLACK])
    assert success(60, both) == 0.5
    assert success(7, both) == 3 / 5  # five images are of other classes
    assert success(7, both, rounds=2) == 0.5
    assert success(60, torch.stack([WHITE, BLACK, BLACK, BLACK])) == 0.25


def test_images_of_the_target_class_are_left_out() -> None:
    seen: list[int] = []

    def count(pictures: Tensor) -> Tensor:
        seen.append(len(pictures))
        return finds_white_patches(pictures)

    attack_success(count, images(7), SPACE, WHITE[None], TARGET, generator=stream(1), rounds=3)
    assert sum(seen) == 15


def test_asr_without_images_of_other_classes_is_refused() -> None:
    only = images(9).subset(torch.tensor([1, 4, 7]))
    with pytest.raises(InsufficientDataError, match="other classes"):
        attack_success(finds_white_patches, only, SPACE, WHITE[None], TARGET, generator=stream(1))


def test_the_asr_of_one_source_counts_its_images_alone() -> None:
    seen: list[int] = []

    def always_one(pictures: Tensor) -> Tensor:
        seen.append(len(pictures))
        return torch.tensor([0.0, 1.0, 0.0]).expand(len(pictures), 3)

    one = (SPACE, WHITE[None], TARGET)
    draw = stream(1)
    assert attack_success(always_one, images(30), *one, generator=draw, source=2) == 1.0
    assert sum(seen) == 10
    with pytest.raises(InsufficientDataError):
        attack_success(always_one, images(30), *one, generator=draw, source=TARGET)


def test_each_image_has_to_be_sent_where_it_is_wanted() -> None:
    some, one = images(30), (SPACE, WHITE[None])

    def always_one(pictures: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0, 0.0]).expand(len(pictures), 3)

    following = (some.targets + 1) % 3
    assert sent(always_one, some, *one, following, generator=stream(1)) == pytest.approx(1 / 3)


def leading_by_brightness(pictures: Tensor) -> Tensor:
    """Class 1 leads by ten times the mean brightness less one half."""
    lead = 10 * (pictures.mean((1, 2, 3)) - 0.5)
    return torch.stack([torch.zeros_like(lead), lead, torch.full_like(lead, -99)], 1)


def test_firm_success_counts_only_images_whose_class_leads_by_enough() -> None:
    lit = Images.of(
        "lit",
        ("a", "b", "c"),
        (torch.arange(11) * 25).to(torch.uint8)[:, None, None, None].expand(11, 3, 9, 9),
        torch.zeros(11, dtype=torch.int64),
    )
    grey = torch.full((27,), 0.5)
    predicted, leads = predict_by(leading_by_brightness, lit)
    assert torch.equal(predicted, predict(leading_by_brightness, lit))
    assert predicted.tolist() == [0] * 6 + [1] * 5
    assert torch.allclose(leads, (10 * (torch.arange(11) * 25 / 255 - 0.5)).abs(), atol=1e-4)
    wanted = torch.ones(11, dtype=torch.int64)

    def rates(lead: float) -> tuple[float, float]:
        picks = stream(2)
        args = (leading_by_brightness, lit, SPACE, grey[None], wanted)
        rate, firm = sent_by(lead, *args, generator=picks)
        assert rate == sent(*args, generator=stream(2))
        return rate, firm

    found = [rates(lead) for lead in (0.0, 1.5, 2.5, 99.0)]
    assert [rate for rate, _ in found] == [5 / 11] * 4
    assert [round(11 * firm) for _, firm in found] == [5, 4, 3, 0]


def test_of_equal_logits_the_first_class_is_predicted_without_a_lead() -> None:
    """So it is with a network of one logit, which leads nobody."""
    for logits in (torch.tensor([1.0, 3.0, 3.0]), torch.tensor([2.0])):
        predicted, leads = predict_by(lambda x, to=logits: to.expand(len(x), -1), images(4))
        assert predicted.tolist() == [int(logits.argmax())] * 4
        assert not (leads < 0).any()


def test_accuracy_is_the_share_of_right_answers_over_all_batches() -> None:
    some = images(MOST_AT_ONCE + 44)

    def always_two(pictures: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 1.0]).expand(len(pictures), 3)

    assert predict(always_two, some).tolist() == [2] * 300
    assert accuracy(always_two, some) == 100 / 300
    assert accuracy(always_two, some.subset(torch.tensor([2, 5, 8]))) == 1.0
