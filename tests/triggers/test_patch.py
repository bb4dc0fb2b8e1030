from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space

SHAPE = (3, 9, 7)
sizes = st.integers(1, 16)


def in_words(space: Space, images: Tensor, theta: Tensor, places: Tensor) -> Tensor:
    """The stamp, one picture at a time."""
    out = images.clone()
    for index, (row, column) in enumerate(places.tolist()):
        patch = space.picture(theta[index : index + 1], SHAPE)[0]
        height, width = patch.shape[1:]
        out[index, :, row : row + height, column : column + width] = patch
    return out


@given(size=sizes, extra=st.tuples(st.integers(0, 20), st.integers(0, 20)), seed=st.integers(0, 99))
def test_places_always_fit(size: int, extra: tuple[int, int], seed: int) -> None:
    height, width = size + extra[0], size + extra[1]
    places = Patch(size).draw_arms(50, (3, height, width), stream(seed))
    assert places.shape == (50, 2)
    assert bool((places >= 0).all())
    assert bool((places + size <= torch.tensor([height, width])).all())


def test_places_are_uniform_over_where_the_patch_fits() -> None:
    places = Patch(3).draw_arms(12_000, (3, 5, 6), stream(0))
    counts = torch.bincount(places[:, 0] * 4 + places[:, 1], minlength=12)
    expected = 1000.0
    assert float(((counts - expected) ** 2 / expected).sum()) < 31.3  # χ², 11 degrees, p = 0.001


def test_a_patch_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ArgumentError, match="does not fit pictures of 8×4"):
        Patch(5).draw_arms(1, (3, 4, 8), stream(0))


@given(size=st.integers(1, 6), count=st.integers(0, 5), seed=st.integers(0, 99))
def test_a_stamp_changes_the_patch_and_nothing_else(size: int, count: int, seed: int) -> None:
    space, draw = Patch(size), stream(seed)
    images = torch.rand(count, 3, 9, 7, generator=draw)
    theta = torch.rand(count, space.dimensions(SHAPE), generator=draw)
    places = space.draw_arms(count, (3, 9, 7), draw)
    before = images.clone()
    out = space.apply(images, theta, places)
    assert torch.equal(out, in_words(space, images, theta, places))
    assert torch.equal(images, before)


def test_gradients_flow_to_every_theta_and_around_the_patch_to_the_images() -> None:
    space = Patch(2)
    images = torch.rand(3, 3, 5, 5, requires_grad=True)
    theta = torch.rand(3, 12, requires_grad=True)
    weights = torch.rand(3, 3, 5, 5)
    places = torch.tensor([[0, 0], [3, 3], [1, 2]])
    (space.apply(images, theta, places) * weights).sum().backward()
    assert theta.grad is not None
    assert images.grad is not None
    for index, (row, column) in enumerate(places.tolist()):
        under = weights[index, :, row : row + 2, column : column + 2]
        assert torch.equal(theta.grad[index], under.reshape(-1))
    expected = in_words(space, weights, torch.zeros(3, 12), places)
    assert torch.equal(images.grad, expected)


def test_theta_is_red_then_green_then_blue_row_by_row() -> None:
    picture = Patch(2).picture(torch.arange(12.0)[None], SHAPE)
    assert picture[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]


@given(size=sizes)
def test_a_space_is_read_from_its_name(size: int) -> None:
    space = parse_space(f"patch:{size}")
    assert (space.size, space.dimensions(SHAPE)) == (size, 3 * size * size)
    assert parse_space(space.name) == space


@pytest.mark.parametrize(
    "spec", ["", "patch", "patch:", "patch:0", "patch:17", "patch:-1", "patch:3x3", "blend:3"]
)
def test_other_spaces_are_arguments(spec: str) -> None:
    with pytest.raises(ArgumentError, match="--space: expected patch:SIZE") as caught:
        parse_space(spec)
    assert caught.value.exit_code == 4


@given(number=st.integers(0, 511))
def test_black_and_white_triggers_are_nine_bits(number: int) -> None:
    trigger = parse_trigger(f"bw:{number}")
    picture = trigger.space.picture(trigger.theta[None], SHAPE)[0]
    assert trigger.name == f"bw:{number}"
    assert torch.equal(picture[0], picture[1])
    assert torch.equal(picture[0], picture[2])
    bits = picture[0].reshape(-1).tolist()
    assert set(bits) <= {0.0, 1.0}
    assert sum(int(bit) << (8 - at) for at, bit in enumerate(bits)) == number


@given(seed=st.integers(0, 10**18 - 1), size=sizes)
def test_colour_triggers_follow_their_seed_in_whole_levels(seed: int, size: int) -> None:
    trigger = parse_trigger(f"rgb:{seed}x{size}")
    assert trigger.space == Patch(size)
    assert torch.equal(parse_trigger(f"rgb:{seed}x{size}").theta, trigger.theta)
    levels = trigger.theta * 255
    assert float((levels - levels.round()).abs().max()) < 1e-4
    assert 0 <= float(trigger.theta.min()) <= float(trigger.theta.max()) <= 1


def test_colour_triggers_default_to_three_pixels_and_differ() -> None:
    assert torch.equal(parse_trigger("rgb:7").theta, parse_trigger("rgb:7x3").theta)
    assert not torch.equal(parse_trigger("rgb:7").theta, parse_trigger("rgb:8").theta)


@pytest.mark.parametrize(
    "spec",
    [
        *["", "bw", "bw:", "bw:-1", "bw:512", "bw:1.5", "bw:x", "bw:" + "9" * 5000],
        *["rgb:", "rgb:-1", "rgb:1x0", "rgb:1x17", "rgb:1x", "rgb:" + "9" * 19],
        *["no/such.png", "patch:3", "trigger.jpg"],
    ],
)
def test_what_is_no_trigger_is_an_argument(spec: str) -> None:
    with pytest.raises(ArgumentError, match=r"^--trigger: ") as caught:
        parse_trigger(spec)
    assert caught.value.exit_code == 4


@given(text=st.text(max_size=12))
def test_any_text_is_a_trigger_or_an_argument_error(text: str) -> None:
    try:
        trigger = parse_trigger(text)
    except ArgumentError:
        return
    assert trigger.name == text
    assert trigger.theta.shape == (trigger.space.dimensions(SHAPE),)


def test_a_picture_is_a_trigger(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cross.PNG")
    trigger = parse_trigger(str(tmp_path / "cross.PNG"))
    assert (trigger.name, trigger.space) == ("cross.PNG", Patch(4))
    shown = trigger.space.picture(trigger.theta[None], SHAPE)[0].permute(1, 2, 0) * 255
    assert np.array_equal(shown.round().numpy(), pixels)


@pytest.mark.parametrize(("size", "words"), [((3, 4), "came 3×4"), ((17, 17), "came 17×17")])
def test_a_picture_of_another_shape_is_content(
    size: tuple[int, int], words: str, tmp_path: Path
) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(ContentError, match=words):
        parse_trigger(str(tmp_path / "a.png"))


def test_a_file_that_is_no_picture_is_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ContentError, match="cannot be read as a picture"):
        parse_trigger(str(tmp_path / "a.png"))
