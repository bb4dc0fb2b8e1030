"""One contract for every family: what a ladder of spaces promises, on every rung."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.rng import stream
from unbackdoor.triggers import AUTO, DEFAULT_SPACE
from unbackdoor.triggers.family import Family, Space, Weaker
from unbackdoor.triggers.filters import Filter, Tint
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import BLOCKS, Patch
from unbackdoor.triggers.registry import (
    FAMILIES,
    PLACED,
    check_spaces,
    parse_space,
    parse_spaces,
    strength_of,
)
from unbackdoor.triggers.values import whole
from unbackdoor.triggers.wave import Wave

SHAPE = (3, 9, 7)
BESIDE = ("patch:3@6,4", "patch:4x2", "patch:4x2@0,3", "wave:16@2,-3", "additive:8", "blend:4")
"""Spaces that stand on no ladder."""
RUNGS = [
    *(space for family in FAMILIES.values() for space in family.ladder(SHAPE)),
    *map(parse_space, BESIDE),
]


def named(space: Space) -> str:
    return space.name


def some(space: Space, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    draw = stream(0, space.name)
    images = torch.rand(count, *SHAPE, generator=draw)
    theta = torch.rand(count, space.dimensions(SHAPE), generator=draw)
    return images, theta, space.draw_arms(count, SHAPE, draw)


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_a_rung_is_found_by_its_name(space: Space) -> None:
    assert parse_space(space.name) == space
    assert space.description
    check_spaces(space.name)
    assert parse_spaces(space.name, SHAPE) == [space]


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_a_trigger_changes_copies_of_pictures_and_has_a_slope(space: Space) -> None:
    images, theta, arms = some(space)
    before = images.clone()
    theta.requires_grad_()
    changed = space.apply(images, theta, arms)
    assert changed.shape == images.shape
    assert torch.equal(images, before)
    assert 0 <= float(changed.detach().min()) <= float(changed.detach().max()) <= 1
    weights = torch.rand(changed.shape, generator=stream(0, "weights"))
    (changed * weights).sum().backward()
    assert theta.grad is not None
    assert bool(theta.grad.any(1).all())


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_each_picture_gets_its_own_trigger_at_its_own_arm(space: Space) -> None:
    images, theta, arms = some(space)
    together = space.apply(images, theta, arms)
    rows = [slice(row, row + 1) for row in range(len(images))]
    alone = torch.cat([space.apply(images[row], theta[row], arms[row]) for row in rows])
    assert torch.allclose(together, alone, atol=1e-6)
    if len(every := space.arms(SHAPE)) > 1:
        here, there = (space.apply(images[:1], theta[:1], every[[at]]) for at in (0, -1))
        assert not torch.equal(here, there)


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_drawn_and_coarse_arms_are_arms(space: Space) -> None:
    every = {tuple(arm) for arm in space.arms(SHAPE).tolist()}
    assert len(every) == len(space.arms(SHAPE)) > 0
    drawn = space.draw_arms(200, SHAPE, stream(0, "arms"))
    assert drawn.dtype == torch.int64
    assert {tuple(arm) for arm in drawn.tolist()} <= every
    coarse = space.coarse_arms(SHAPE)
    assert coarse.dtype == torch.int64
    assert 0 < len({tuple(arm) for arm in coarse.tolist()} & every) == len(coarse)


@pytest.mark.parametrize("space", [*RUNGS, parse_space("patch:3@6,4")], ids=named)
def test_searches_begin_in_the_cube_and_where_they_were_drawn(space: Space) -> None:
    _, theta, _ = some(space)
    begun = space.begin(theta, SHAPE)
    assert begun.shape == theta.shape
    assert bool(((begun >= 0) & (begun <= 1)).all())
    assert torch.equal(begun[1:], space.begin(theta[1:], SHAPE))


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_a_library_is_of_triggers_and_places_of_the_space(space: Space) -> None:
    theta, places = space.library(SHAPE)
    assert theta.shape[1:] == (space.dimensions(SHAPE),)
    assert places.shape[1:] == space.arms(SHAPE).shape[1:]
    assert (len(theta) == 0) == (len(places) == 0)
    few = isinstance(space, Patch) and (space.grid or space.size) <= BLOCKS
    assert (len(theta) > 0) == (few or isinstance(space, Wave))
    if len(theta):
        assert ((theta == 0) | (theta == 1) | (not few) & (theta == 0.5)).all()
        assert len(theta.unique(dim=0)) == len(theta)
        every = {tuple(arm) for arm in space.arms(SHAPE).tolist()}
        assert {tuple(arm) for arm in places.tolist()} <= every


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_only_patches_in_the_middle_hide_what_a_picture_shows(space: Space) -> None:
    every = space.arms(SHAPE)
    hides = space.hides(every, SHAPE)
    assert hides.shape == (len(every),)
    assert hides.dtype == torch.bool
    if isinstance(space, At):
        assert torch.equal(hides, space.space.hides(every, SHAPE))
        return
    if not isinstance(space, Patch):
        assert not hides.any()
        return
    for arm, hidden in zip(every.tolist(), hides.tolist(), strict=True):
        centre = [place + space.size / 2 for place in arm]
        more = space.size / 8
        inner = [
            s / 4 - more < at < 3 * s / 4 + more for at, s in zip(centre, SHAPE[1:], strict=True)
        ]
        assert hidden == all(inner)
    if len(every) > 1:
        assert torch.equal(At(space, tuple(every[0].tolist())).hides(every[:2], SHAPE), hides[:2])


def test_usual_waves_are_grey_and_of_four_phases() -> None:
    space = Wave(16)
    theta, places = space.library(SHAPE)
    grey = torch.full((1, *SHAPE), 0.5)
    for arm in (places[0], places[-1]):
        waves = space.apply(grey.expand(4, -1, -1, -1), theta, arm.expand(4, -1)) - 0.5
        assert torch.allclose(waves[:, 0], waves[:, 1])
        assert torch.allclose(waves[:, 0], waves[:, 2])
        assert torch.allclose(waves[0], -waves[1], atol=1e-6)
        assert torch.allclose(waves[2], -waves[3], atol=1e-6)
        assert abs(float((waves[0] * waves[2]).mean())) < 1e-6  # a quarter of a period apart
        assert float(waves.abs().max()) == pytest.approx(16 / 255, rel=1e-3)


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_only_a_space_with_several_arms_is_searched_anywhere(space: Space) -> None:
    """A pixel or four colours at any place are too little to tell from what pictures show."""
    detailed = isinstance(space, Patch) and (space.grid or space.size) > BLOCKS
    assert space.anywhere == detailed
    assert space.moves == isinstance(space, Patch)
    if space.anywhere or space.moves:
        assert len(space.arms(SHAPE)) > 1


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_full_strength_changes_nothing_and_none_leaves_one_trigger(space: Space) -> None:
    _, theta, _ = some(space)
    assert torch.allclose(space.weaken(theta, 1.0), theta, atol=1e-6)
    assert torch.allclose(space.weaken(theta, 0.0), space.weaken(1 - theta, 0.0), atol=1e-6)


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_a_trigger_has_a_picture_that_is_it_row_by_row(space: Space) -> None:
    _, theta, _ = some(space)
    picture = space.picture(theta, SHAPE)
    assert picture.ndim == 4
    assert torch.equal(picture.reshape(len(theta), -1), theta)


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_weaker_triggers_lead_down_to_none(space: Space) -> None:
    _, theta, _ = some(space, 1)
    steps, now, at = 0, space, theta[0]
    while options := now.weaker(at, SHAPE):
        assert len({one.space.name for one in options}) == len(options) or not isinstance(now, At)
        for one in options:
            assert one.space.name.partition(":")[0] == space.name.partition(":")[0]
            assert isinstance(one.space, At) == isinstance(space, At)
            assert 0 < strength_of(one.space.name) < strength_of(now.name)
            assert one.theta.shape == (one.space.dimensions(SHAPE),)
            assert 0 <= float(one.theta.min()) <= float(one.theta.max()) <= 1
            assert parse_space(one.space.name) == one.space
            assert len(one.space.arms(SHAPE)) > 0
            assert len(one.shift) in (0, space.arms(SHAPE).shape[1])
        now, at = options[-1].space, options[-1].theta
        steps += 1
    assert steps < 20
    last = now.space if isinstance(now, At) else now
    assert strength_of(now.name) == (last.grid if isinstance(last, Patch) and last.grid else 1)


def changed_by(space: Space, theta: Tensor, arm: Tensor, images: Tensor) -> Tensor:
    return space.apply(images, theta.expand(len(images), -1), arm.expand(len(images), -1)) - images


@pytest.mark.parametrize("space", RUNGS, ids=named)
def test_a_weaker_trigger_changes_less_and_in_the_same_direction(space: Space) -> None:
    """On even ground, so that it is the trigger that is looked at and not the picture."""
    images = torch.full((1, *SHAPE), 0.5)
    _, theta, arms = some(space, 1)
    strong = changed_by(space, theta, arms, images)
    if "x2" in space.name:
        theta[:] = 0.9  # the same colours on a smaller square: where they meet is elsewhere
        strong = changed_by(space, theta, arms, images)
    for one in space.weaker(theta[0], SHAPE):
        placed = isinstance(one.space, At)
        arm = one.space.arms(SHAPE) if placed else arms + torch.tensor(one.shift).long()
        weak = changed_by(one.space, one.theta, arm, images)
        assert float(weak.abs().sum()) <= float(strong.abs().sum()) + 1e-5
        along = weak * strong
        if isinstance(space, Filter | Tint):  # it bends: a colour that hardly changes may turn back
            assert float(-along.clamp(max=0).sum()) <= 0.01 * float(along.sum())
        else:
            assert float(along.min()) >= -1e-6


@pytest.mark.parametrize(
    "name", ["additive:8", "additive:20x4", "warp:3", "filter:20", "wave:9@1,2"]
)
def test_what_a_weaker_space_allows_stays_as_it_is(name: str) -> None:
    space, draw = parse_space(name), stream(0, "weaker")
    images = 0.3 + 0.4 * torch.rand(2, *SHAPE, generator=draw)
    theta = 0.4 + 0.2 * torch.rand(space.dimensions(SHAPE), generator=draw)
    arm = space.arms(SHAPE)[0]
    (one,) = space.weaker(theta, SHAPE)
    want, have = (changed_by(*pair, arm, images) for pair in ((space, theta), one[:2]))
    assert torch.allclose(have, want, atol=1e-6) == (not name.startswith("wave"))
    assert float(have.abs().max()) <= float(want.abs().max()) + 1e-6


@pytest.mark.parametrize("name", ["patch:6", "patch:5x5", "patch:8x4", "patch:2", "patch:12x3"])
def test_a_weaker_patch_is_a_part_of_the_patch_at_its_place(name: str) -> None:
    shape, space = (3, 16, 14), parse_space(name)
    draw = stream(0, "crop")
    theta = torch.rand(space.dimensions(shape), generator=draw)
    images = torch.rand(2, *shape, generator=draw)
    for arm in space.draw_arms(5, shape, draw):
        placed = At(space, tuple(whole(arm)))
        strong = changed_by(placed, theta, placed.arms(shape)[0], images)
        options = placed.weaker(theta, shape)
        assert len(options) == 4
        parts: list[Tensor] = []
        for one in options:
            weak = changed_by(one.space, one.theta, one.space.arms(shape)[0], images)
            changed = weak != 0
            assert torch.equal(weak[changed], strong[changed])
            assert 0 < int(changed.sum()) < int((strong != 0).sum())
            parts.append(changed)
        assert torch.equal(torch.stack(parts).any(0), strong != 0)
        assert_alike(options, space.weaker(theta, shape), whole(arm))


def test_a_weaker_patch_of_few_colours_is_a_smaller_one_of_the_same() -> None:
    shape, space = (3, 32, 32), parse_space("patch:8x2")
    theta = torch.rand(12, generator=stream(0, "theta"))
    corners = {one.shift for one in space.weaker(theta, shape)}
    assert corners == {(0, 0), (0, 2), (2, 0), (2, 2)}
    for one in space.weaker(theta, shape):
        assert one.space == Patch(6, 2)
        assert torch.equal(one.theta, theta)
    assert parse_space("patch:2x2").weaker(theta, shape) == []


def assert_alike(placed: list[Weaker], free: list[Weaker], arm: list[int]) -> None:  # pyright: ignore
    """A patch at a place and one at any lose the same."""
    for one, other in zip(placed, free, strict=True):
        assert isinstance(one.space, At)
        assert one.space.space == other.space
        assert torch.equal(one.theta, other.theta)
        assert one.space.arm == tuple(a + b for a, b in zip(arm, other.shift, strict=True))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_rung_that_is_not_there_is_refused_with_what_is(family: Family) -> None:
    for wrong in (f"{family.name}:", f"{family.name}:none", f"{family.name}:0", "none", ""):
        with pytest.raises(ArgumentError, match=f"^--space: expected .*try {DEFAULT_SPACE}"):
            parse_space(wrong)
        with pytest.raises(ArgumentError, match=r"^--space: expected"):
            check_spaces(wrong)
    for space in family.ladder(SHAPE):
        with pytest.raises(ArgumentError, match=r"^--space: expected two numbers after @"):
            parse_space(f"{space.name}@1")
        if family.name not in PLACED:
            with pytest.raises(ArgumentError, match="for a patch or a wave"):
                parse_space(f"{space.name}@1,1")


@pytest.mark.parametrize("name", ["patch:3@7,0", "patch:3@0,5", "wave:16@0,0", "wave:16@7,0"])
def test_an_arm_that_pictures_do_not_have_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=name) as caught:
        parse_space(name).arms(SHAPE)
    assert caught.value.exit_code == 4


def test_the_default_is_the_ladders_of_all_families() -> None:
    every = parse_spaces(AUTO, SHAPE)
    assert every == [space for family in FAMILIES.values() for space in family.ladder(SHAPE)]
    assert DEFAULT_SPACE == AUTO
    check_spaces(AUTO)


def test_several_spaces_are_searched_once_each_in_their_order() -> None:
    spec = "warp,patch:2,wave:16@2,-3,patch:1@0,0,warp:2,patch:2"
    names = [space.name for space in parse_spaces(spec, SHAPE)]
    assert names == ["warp:2x4", "patch:2", "wave:16@2,-3", "patch:1@0,0"]
    check_spaces(spec)
    with pytest.raises(ArgumentError, match="'nope'"):
        check_spaces("patch,nope")
