from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.patch import Patch, Patches
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
    "spec",
    [
        *["", "patch", "patch:", "patch:0", "patch:17", "patch:-1", "patch:3x0", "patch:3x4"],
        *["patch:3x3x3", "patch:513x6", "patch:32x17", "patch: 3", "patch:3 ", "Patch:3"],
    ],
)
def test_other_spaces_are_arguments(spec: str) -> None:
    with pytest.raises(ArgumentError, match=r"^--space: expected .* or patch:SIZE") as caught:
        parse_space(spec)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["", "1", "1,", ",1", "1,2,3", "-1,2", "1,-12345", "a,b", "1, 2"])
def test_a_place_is_two_numbers(place: str) -> None:
    with pytest.raises(ArgumentError, match=r"^--space: expected two numbers after @") as caught:
        parse_space(f"patch:3@{place}")
    assert caught.value.exit_code == 4


def whole_in(trigger: int, places: Tensor, patch: int, arms: Tensor) -> bool:
    """Whether a square of ``trigger`` pixels at each place lies in one of the patches."""
    inside = places[:, None] - arms
    return bool(((inside >= 0) & (inside + trigger <= patch)).all(2).any(1).all())


def test_any_trigger_of_3_pixels_lies_whole_in_a_coarse_patch_of_6() -> None:
    coarse = Patch(6).coarse_arms((3, 32, 32))
    assert len(coarse) < 70  # of 729
    assert whole_in(3, Patch(3).arms((3, 32, 32)), 6, coarse)


@given(size=sizes, extra=st.tuples(st.integers(0, 25), st.integers(0, 25)))
def test_coarse_places_reach_from_edge_to_edge(size: int, extra: tuple[int, int]) -> None:
    shape = (3, size + extra[0], size + extra[1])
    space = Patch(size)
    coarse = space.coarse_arms(shape)
    every = {tuple(arm) for arm in space.arms(shape).tolist()}
    listed = [tuple(arm) for arm in coarse.tolist()]
    assert len(set(listed)) == len(listed) <= len(every)
    assert set(listed) <= every
    assert {(top, left) for top in (0, extra[0]) for left in (0, extra[1])} <= set(listed)
    half = size - max(1, 2 * size // 3) + 1  # of those that lie whole in one
    assert whole_in(half, Patch(half).arms(shape), size, coarse)


@pytest.mark.parametrize("side", [9, 28, 32, 36, 96, 224, 299])
@pytest.mark.parametrize("channels", [1, 3])
def test_usual_squares_are_tried_from_edge_to_edge(side: int, channels: int) -> None:
    shape = (channels, side, side)
    space = Patch(max(2, side // 4), 2)
    theta, places = space.library(shape)
    colours = space.picture(theta, shape).flatten(2)
    assert torch.equal(colours.amin(2), colours.amax(2))  # squares of one colour
    assert {0.0, 1.0} <= {float(one.min()) for one in colours if one.min() == one.max()}
    assert len(theta) == (4 if channels == 3 else 2)
    room = side - space.size
    axis = places[:, 0].unique()
    assert (int(axis[0]), int(axis[-1])) == (0, room)
    assert int(axis.diff().max()) <= -(-side // 16)
    assert len(places) == len(axis) ** 2 <= 17**2


def test_a_grid_is_squares_of_one_colour() -> None:
    space, images = parse_space("patch:6x2"), torch.zeros(1, 3, 9, 7)
    theta = torch.arange(1, 13)[None] / 12
    stamped = space.apply(images, theta, torch.tensor([[2, 1]]))[0, :, 2:8, 1:7]
    for channel, row, column in product(range(3), range(2), range(2)):
        part = stamped[channel, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert torch.equal(part, theta[0, 4 * channel + 2 * row + column].expand(3, 3))


@pytest.mark.parametrize("side", [4, 9, 28, 32, 64, 96, 224, 299])
def test_the_ladder_has_as_much_of_larger_pictures(side: int) -> None:
    shape = (3, side, side + 5)
    fine, *coarse = Patches().ladder(shape)
    assert isinstance(fine, Patch)
    assert (fine.size, fine.dimensions(shape) <= 3 * 16**2) == (round(side * 6 / 32), True)
    assert coarse == [Patch(round(side * 8 / 32), 2)][: side >= 10]  # where it is more than 2×2
    for space in (fine, *coarse):
        assert len(space.coarse_arms((3, side, side))) <= 81
        assert parse_space(space.name) == space
