from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unbackdoor.data import Images, Intake, Split
from unbackdoor.errors import ContentError, InsufficientDataError

NAMES = ("a", "b", "c")


def images(labels: list[int]) -> Images:
    pixels = torch.arange(len(labels)).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2) % 256
    return Images.of("toy", NAMES, pixels.to(torch.uint8), torch.tensor(labels, dtype=torch.int64))


@given(
    labels=st.lists(st.integers(0, 2), max_size=60),
    share=st.floats(0.01, 0.99),
)
def test_divide_is_a_partition_in_the_same_proportion(labels: list[int], share: float) -> None:
    first, second = images(labels).divide(share)
    rows = first.rows.tolist(), second.rows.tolist()
    assert sorted(rows[0] + rows[1]) == list(range(len(labels)))
    assert rows[0] == sorted(rows[0])
    assert rows[1] == sorted(rows[1])
    for label in range(3):
        of_first = [row for row in rows[0] if labels[row] == label]
        of_second = [row for row in rows[1] if labels[row] == label]
        assert abs(len(of_first) - share * labels.count(label)) <= 0.5 + 1e-9
        assert not of_first or not of_second or of_first[-1] < of_second[0]


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=30), data=st.data())
def test_subsets_look_through_to_the_same_store(labels: list[int], data: st.DataObject) -> None:
    whole = images(labels)
    picks = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=10))
    part = whole.subset(torch.tensor(picks, dtype=torch.int64))
    assert part.pixels is whole.pixels
    assert part.targets.tolist() == [labels[pick] for pick in picks]
    again = part.subset(torch.arange(len(picks)).flip(0))
    assert again.targets.tolist() == [labels[pick] for pick in reversed(picks)]


def test_batches_are_floats_from_zero_to_one() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    some = Images.of("toy", NAMES, pixels, torch.tensor([0, 1, 2]))
    batch = some.batch(torch.tensor([2, 0, 1]))
    assert batch.dtype == torch.float32
    assert torch.equal(batch.flatten(), torch.tensor([1.0, 0.0, 0.2]))
    batch.zero_()
    assert pixels.flatten().tolist() == [0, 51, 255]


def test_the_hash_is_of_pixels_then_labels_in_order() -> None:
    some = images([2, 0, 1])
    content = some.pixels.numpy().tobytes() + b"".join(
        label.to_bytes(4, "little") for label in (2, 0, 1)
    )
    assert some.sha256 == hashlib.sha256(content).hexdigest()
    assert some.subset(torch.tensor([1, 0, 2])).sha256 != some.sha256
    assert some.subset(torch.arange(3)).sha256 == some.sha256


def test_the_hash_does_not_depend_on_its_chunks() -> None:
    labels = [0] * 5000
    some = images(labels)
    content = some.pixels.contiguous().numpy().tobytes() + bytes(4 * 5000)
    assert some.sha256 == hashlib.sha256(content).hexdigest()


PIXELS = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (PIXELS.float(), torch.tensor([0, 1]), "expected uint8"),
        (PIXELS[0], torch.tensor([0, 1]), "of shape"),
        (PIXELS, torch.tensor([0]), "each of the 2 images"),
        (PIXELS, torch.tensor([0, 3]), "from 0 to 2"),
        (PIXELS, torch.tensor([-1, 0]), "from 0 to 2"),
        (PIXELS, torch.tensor([0.0, 1.0]), "int64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(pixels: Tensor, labels: Tensor, words: str) -> None:
    with pytest.raises(ContentError, match=words):
        Images.of("toy", NAMES, pixels, labels)


def test_a_split_divides_both_parts() -> None:
    split = Split(*images([0, 1] * 20).divide(0.5))
    first, second = split.divide(0.5)
    parts = [first.defend, first.evaluate, second.defend, second.evaluate]
    assert [len(part) for part in parts] == [10] * 4
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(40))


def test_require_counts_the_classes_that_occur_in_both_parts() -> None:
    enough = Split(images([0, 0, 1, 1]), images([0, 0, 1, 1]))  # class c does not occur
    assert enough.require(2) is enough
    with pytest.raises(InsufficientDataError, match="at least 3"):
        enough.require(3)


@pytest.mark.parametrize(
    ("defend", "evaluate", "name"),
    [([0, 0, 1], [0, 0, 1, 1], "'b'"), ([0, 0, 1, 1], [0, 0], "'b'"), ([0, 0], [0, 0], "'b'")],
)
def test_require_names_the_scarce_class(defend: list[int], evaluate: list[int], name: str) -> None:
    with pytest.raises(InsufficientDataError, match=name) as caught:
        Split(images(defend), images(evaluate)).require(2)
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("; add images.")


def test_a_class_with_too_few_images_may_be_left_out_where_others_have_enough() -> None:
    split = Split(*images([0, 1] * 8 + [2]).divide(5 / 8))
    with pytest.raises(
        InsufficientDataError, match=r"'c', of 1 in all; .*take all of this class out"
    ):
        split.require(1)
    kept = [
        part.subset((part.targets != 2).nonzero()[:, 0]) for part in (split.defend, split.evaluate)
    ]
    assert Split(*kept).require(1)


@given(side=st.integers(1, 9))
def test_resized_images_are_squares_of_the_middle(side: int) -> None:
    pixels = torch.zeros(2, 3, 4, 8, dtype=torch.uint8)
    pixels[:, :, :, 2:6] = 200
    whole = Images.of("toy", NAMES, pixels, torch.tensor([0, 2]))
    squares = whole.subset(torch.tensor([1])).resized(side)
    assert squares.shape == (3, side, side)
    assert squares.targets.tolist() == [2]
    assert int(squares.pixels.min()) == 200
    assert whole.resized(None) is whole


@pytest.mark.parametrize(("width", "cropped"), [(8, 3), (4, 0)])
def test_squares_of_another_size_are_counted(width: int, cropped: int) -> None:
    """Also in a part: the record is that of the whole set."""
    pixels = torch.zeros(3, 3, 4, width, dtype=torch.uint8)
    whole = Images.of("toy", NAMES, pixels, torch.tensor([0, 1, 2]), Intake(read=3, turned=1))
    part = whole.subset(torch.tensor([1])).resized(5)
    assert part.intake == Intake(read=3, turned=1, resized=3, cropped=cropped)
    assert part.resized(5).resized(6).intake == part.intake
    assert whole.resized(None).intake == whole.intake


def test_relabelled_images_follow_the_network_s_order() -> None:
    other = images([0, 1, 2, 0]).relabelled({"a": 4, "b": 0, "c": 2, "unused": 1}, 5)
    assert other.classes == ("b", "class 1", "c", "class 3", "a")
    assert other.targets.tolist() == [4, 0, 2, 4]
    assert torch.equal(other.pixels, images([0, 1, 2, 0]).pixels)


@pytest.mark.parametrize(
    "indices", [{"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 1}, {"a": 0, "b": 1, "c": 5}, {}]
)
def test_labels_that_do_not_fit_are_named(indices: dict[str, int]) -> None:
    with pytest.raises(ContentError, match="--labels"):
        images([0, 1, 2]).relabelled(indices, 3)
