"""One contract for every family: what a ladder of spaces promises, on every rung."""

from __future__ import annotations

import pytest
import torch

from unbackdoor.errors import ArgumentError
from unbackdoor.rng import stream
from unbackdoor.triggers import DEFAULT_SPACE
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.registry import FAMILIES, default_space, parse_space

SHAPE = (3, 9, 7)
RUNGS = [space for family in FAMILIES.values() for space in family.ladder(SHAPE)]


def some(space: Space, count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = stream(0, space.name)
    images = torch.rand(count, *SHAPE, generator=draw)
    theta = torch.rand(count, space.dimensions(SHAPE), generator=draw)
    return images, theta, space.draw_arms(count, SHAPE, draw)


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_a_rung_is_found_by_its_name(space: Space) -> None:
    assert parse_space(space.name) == space
    assert space.description


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_a_trigger_changes_copies_of_pictures_and_has_a_slope(space: Space) -> None:
    images, theta, arms = some(space)
    before = images.clone()
    theta.requires_grad_()
    changed = space.apply(images, theta, arms)
    assert changed.shape == images.shape
    assert torch.equal(images, before)
    assert 0 <= float(changed.detach().min()) <= float(changed.detach().max()) <= 1
    changed.sum().backward()
    assert theta.grad is not None
    assert bool(theta.grad.any())


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_each_picture_gets_its_own_trigger_at_its_own_arm(space: Space) -> None:
    images, theta, arms = some(space)
    together = space.apply(images, theta, arms)
    rows = [slice(row, row + 1) for row in range(len(images))]
    alone = torch.cat([space.apply(images[row], theta[row], arms[row]) for row in rows])
    assert torch.equal(together, alone)
    if len(every := space.arms(SHAPE)) > 1:
        here, there = (space.apply(images[:1], theta[:1], every[[at]]) for at in (0, -1))
        assert not torch.equal(here, there)


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_drawn_arms_are_arms(space: Space) -> None:
    every = {tuple(arm) for arm in space.arms(SHAPE).tolist()}
    assert len(every) == len(space.arms(SHAPE)) > 0
    drawn = space.draw_arms(200, SHAPE, stream(0, "arms"))
    assert {tuple(arm) for arm in drawn.tolist()} <= every


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_full_strength_changes_nothing_and_none_leaves_one_trigger(space: Space) -> None:
    _, theta, _ = some(space)
    assert torch.allclose(space.weaken(theta, 1.0), theta, atol=1e-6)
    assert torch.allclose(space.weaken(theta, 0.0), space.weaken(1 - theta, 0.0), atol=1e-6)


@pytest.mark.parametrize("space", RUNGS, ids=lambda space: space.name)
def test_a_trigger_has_a_picture(space: Space) -> None:
    _, theta, _ = some(space)
    picture = space.picture(theta, SHAPE)
    assert picture.shape[:2] == (len(theta), SHAPE[0])


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_rung_that_is_not_there_is_refused_with_what_is(family: object) -> None:
    for wrong in (f"{family.name}:", f"{family.name}:none", "none", ""):  # pyright: ignore
        with pytest.raises(ArgumentError, match=f"^--space: expected .*try {DEFAULT_SPACE}"):
            parse_space(wrong)


def test_the_default_is_a_space() -> None:
    assert default_space().name == DEFAULT_SPACE
