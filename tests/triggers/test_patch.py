from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Space
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
