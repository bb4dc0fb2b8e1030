"""Triggers over the whole picture, held to their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.results.records import MOST_VALUES
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.filters import WIDEST, Filter, Tint
from unbackdoor.triggers.mask import Mask
from unbackdoor.triggers.registry import FAMILIES, parse_space
from unbackdoor.triggers.warp import SIDE, Warp
from unbackdoor.triggers.wave import Wave

SHAPE = (3, 12, 16)
LIMITED = ["additive:7", "additive:20x3", "wave:16", "wave:5@3,-2", "dynamic:9"]
"""Spaces whose limit is of the change of a value, of 255."""


def grey(shape: Shape = SHAPE) -> Tensor:
    return torch.full((1, *shape), 0.5)


def noise(shape: Shape = SHAPE, count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=stream(seed, "images"))


def applied(space: Space, theta: Tensor, images: Tensor, arm: Tensor | None = None) -> Tensor:
    _, channels, height, width = images.shape
    arm = space.arms((channels, height, width))[0] if arm is None else arm
    theta = theta.expand(len(images), -1)
    return space.apply(images, theta, arm.expand(len(images), -1))


@pytest.mark.parametrize("name", LIMITED)
@given(seed=st.integers(0, 10_000), edge=st.booleans())
def test_no_value_changes_by_more_than_the_limit(name: str, seed: int, edge: bool) -> None:
    space, draw = parse_space(name), stream(seed, "limit")
    theta = torch.rand(space.dimensions(SHAPE), generator=draw)
    theta = theta.round() if edge else theta
    arm = space.draw_arms(1, SHAPE, draw)[0]
    images = noise(seed=seed)
    limit = int(name.partition(":")[2].partition("x")[0].partition("@")[0]) / 255
    assert float((applied(space, theta, images, arm) - images).abs().max()) <= limit + 1e-6


@pytest.mark.parametrize("name", [*LIMITED, "warp:3x5", "filter:20", "filter:20rms"])
def test_the_middle_of_the_cube_changes_nothing(name: str) -> None:
    space, images = parse_space(name), noise(count=3)
    theta = torch.full((space.dimensions(SHAPE),), 0.5)
    images = images.clamp(min=0.01)  # a filter takes darker values for 0.001
    assert torch.allclose(applied(space, theta, images), images, atol=1e-5)


@given(seed=st.integers(0, 10_000), edge=st.booleans())
def test_a_tint_is_its_filter_as_far_as_its_limit_allows(seed: int, edge: bool) -> None:
    """It changes no picture by more than its limit, and else as its filter does."""
    space, draw = Tint(20), stream(seed, "tint")
    theta = torch.rand(space.dimensions(SHAPE), generator=draw)
    theta = theta.round() if edge else 0.5 + 0.2 * (theta - 0.5)
    images = noise(count=3, seed=seed)
    by = applied(Filter(WIDEST), theta, images) - images
    have = applied(space, theta, images) - images
    size = [one.square().mean((1, 2, 3)).sqrt() for one in (have, by)]
    assert torch.allclose(size[0], size[1].clamp(max=20 / 255), atol=1e-5)
    assert torch.allclose(
        have * size[1][:, None, None, None], by * size[0][:, None, None, None], atol=1e-5
    )


def test_a_tint_of_a_picture_that_it_does_not_change_has_a_gradient() -> None:
    theta = torch.full((1, Tint(9).dimensions(SHAPE)), 0.5, requires_grad=True)
    for level in (0.0, 0.5, 1.0):
        applied(Tint(9), theta, torch.full((1, *SHAPE), level)).sum().backward()
        assert theta.grad is not None
        assert bool(theta.grad.isfinite().all())


def test_an_added_pattern_reaches_its_limit_and_stays_in_range() -> None:
    space = parse_space("additive:51")
    theta = noise().reshape(-1).round()
    added = applied(space, theta, grey()) - 0.5
    assert torch.allclose(added, (0.4 * theta - 0.2).reshape(1, *SHAPE), atol=1e-6)
    images = noise()
    assert torch.allclose(applied(space, theta, images), (images + added).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("blend:10", 0.1), ("blend:37x1", 0.37)])
def test_a_blend_is_a_mixture(name: str, share: float) -> None:
    space, images = parse_space(name), noise(count=2)
    theta = torch.rand(space.dimensions(SHAPE), generator=stream(0, "theta"))
    shown = theta.reshape(3, *SHAPE[1:]) if "x" not in name else theta[:, None, None]
    wanted = (1 - share) * images + share * shown
    assert torch.allclose(applied(space, theta, images), wanted, atol=1e-6)


@pytest.mark.parametrize("down_across", [(0, 1), (3, 0), (2, 2), (1, -3), (6, -6)])
def test_a_wave_has_its_periods_and_no_others(down_across: tuple[int, int]) -> None:
    down, across = down_across
    shape = (3, 32, 40)
    theta = torch.rand(6, generator=stream(0, "theta"))
    wave = applied(Wave(20), theta, grey(shape), torch.tensor(down_across))[0] - 0.5
    power = torch.fft.fft2(wave.double()).abs()
    there = torch.zeros(32, 40, dtype=torch.bool)
    there[down % 32, across % 40] = there[-down % 32, -across % 40] = True
    assert float(power[:, ~there].max()) < 1e-3 * float(power[:, there].min())


def test_both_parts_of_a_wave_are_a_phase_and_a_size() -> None:
    rows, columns = torch.arange(12)[:, None] / 12, torch.arange(16) / 16
    angle = 2 * math.pi * (2 * rows + 3 * columns)
    arm = torch.tensor([2, 3])
    for cosine, sine in ((0.4, 0.3), (1.0, 1.0), (-1.0, 0.0)):
        theta = (torch.tensor([cosine, sine]).repeat(3) + 1) / 2
        size = max(1.0, math.hypot(cosine, sine))
        wanted = 20 / 255 * (cosine * angle.cos() + sine * angle.sin()) / size
        came = applied(Wave(20), theta, grey(), arm)[0] - 0.5
        assert torch.allclose(came, wanted.expand(3, -1, -1), atol=1e-5)


def test_no_two_arms_are_the_same_wave() -> None:
    arms = {tuple(arm) for arm in Wave(1).arms(SHAPE).tolist()}
    assert (0, 0) not in arms
    assert not {(-down, -across) for down, across in arms} & arms
    every = {(a, b) for a in range(7) for b in range(-6, 7)} - {(0, 0)}
    assert {max(one, (-one[0], -one[1])) for one in every} == arms


def test_a_warp_reads_from_as_far_as_it_says() -> None:
    """A ramp shows from how far: its values are places."""
    shape = (1, 33, 33)
    ramp = torch.linspace(0, 1, 33)
    down, right = (ramp[:, None].expand(shape)[None], ramp.expand(shape)[None])
    limit, half = 4, slice(8, 25)
    theta = torch.cat([torch.full((9,), 0.75), torch.zeros(9)])
    vertical, across = (applied(Warp(limit, 3), theta, one) for one in (down, right))
    assert torch.allclose((vertical - down)[..., half, half], torch.tensor(0.5 * limit / SIDE))
    assert torch.allclose((across - right)[..., half, half], torch.tensor(-limit / SIDE))


@given(seed=st.integers(0, 1000))
def test_a_warp_brings_in_no_new_values(seed: int) -> None:
    images = noise(seed=seed)
    theta = torch.rand(32, generator=stream(seed, "theta"))
    warped = applied(Warp(2), theta, images)
    assert float(images.min()) - 1e-6 <= float(warped.min())
    assert float(warped.max()) <= float(images.max()) + 1e-6


def test_a_filter_is_its_formula() -> None:
    images = noise(count=2)
    theta = torch.rand(15, generator=stream(0, "theta"))
    by = 0.3 * (2 * theta.reshape(3, 5) - 1)
    for channel in range(3):
        mixed = images[:, channel] + by[channel, 3]
        for other in range(3):
            mixed = mixed + by[channel, other] * images[:, other]
        wanted = mixed.clamp(1e-3, 1) ** math.exp(by[channel, 4])
        came = applied(Filter(30), theta, images)[:, channel]
        assert torch.allclose(came, wanted, atol=1e-5)


@given(percent=st.integers(1, 50), seed=st.integers(0, 1000), power=st.floats(0.2, 8))
def test_a_mask_keeps_to_its_budget(percent: int, seed: int, power: float) -> None:
    space, (_, height, width) = Mask(percent), SHAPE
    raw = torch.rand(height * width, generator=stream(seed, "mask")) ** power
    theta = torch.cat([raw, torch.ones(3 * height * width)])
    mask = applied(space, theta, torch.zeros(1, *SHAPE))[0]
    budget = percent / 100
    assert torch.equal(mask[0], mask[1])
    assert float(mask.mean()) <= budget + 1e-5
    if float(raw.mean()) > budget:
        assert float(mask.mean()) == pytest.approx(budget, rel=1e-4)
    else:
        assert torch.allclose(mask[0].reshape(-1), raw, atol=1e-6)


def test_under_a_mask_is_its_pattern_and_elsewhere_the_picture() -> None:
    space, images = Mask(50), noise()
    mask = torch.zeros(SHAPE[1:])
    mask[3:6, 4:9] = 1
    pattern = noise(seed=1)
    theta = torch.cat([mask.reshape(-1), pattern.reshape(-1)])
    wanted = torch.where(mask.bool(), pattern, images)
    assert torch.allclose(applied(space, theta, images), wanted, atol=1e-6)


def test_a_dynamic_change_depends_on_the_picture() -> None:
    space = parse_space("dynamic:20")
    theta = torch.rand(space.dimensions(SHAPE), generator=stream(0, "theta"))
    first, second = noise(count=2)
    changes = applied(space, theta, torch.stack([first, second])) - torch.stack([first, second])
    assert float((changes[0] - changes[1]).abs().max()) > 0.01
    again = applied(space, theta, second[None]) - second
    assert torch.allclose(again[0], changes[1], atol=1e-6)


@pytest.mark.parametrize("side", [8, 28, 32, 64, 224, 299])
def test_results_have_room_for_every_rung(side: int) -> None:
    shape = (3, side, side)
    for family in FAMILIES.values():
        for space in family.ladder(shape):
            assert 0 < space.dimensions(shape) <= MOST_VALUES
            theta = torch.rand(space.dimensions(shape), generator=stream(0, space.name))
            assert applied(space, theta, grey(shape)).shape == (1, *shape)


@pytest.mark.parametrize(
    "spec",
    [
        *["mask:0", "mask:101", "mask:1x4", "additive:0", "additive:65", "additive:4x0"],
        *["additive:4x65", "wave:0", "wave:65", "wave:4x4", "blend:0", "blend:51", "blend:5x0"],
        *["warp:0", "warp:9", "warp:2x1", "warp:2x9", "filter:0", "filter:91", "dynamic:0"],
        *["dynamic:65", "wave:4@7", "wave:4@x,1", "wave:4@1,2,3", "warp:2@0,0", "mask:2@1,1"],
        *["additive:four", "auto:1", "wave:4.5", "wave:-4"],
    ],
)
def test_a_space_that_there_is_not_is_refused_in_one_sentence(spec: str) -> None:
    with pytest.raises(ArgumentError, match=r"^--space: expected") as caught:
        parse_space(spec)
    said = str(caught.value)
    assert caught.value.exit_code == 4
    assert repr(spec) in said
    assert "\n" not in said
