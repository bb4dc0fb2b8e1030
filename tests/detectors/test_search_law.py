"""The law of a trigger that was found, in its space and at its place."""

from __future__ import annotations

import pytest
import torch

from detectors import toys
from unbackdoor.detectors.law import MANY, MOST_DIMENSIONS, law
from unbackdoor.detectors.settings import SearchSettings
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.models import freeze
from unbackdoor.runtime.journal import opened
from unbackdoor.runtime.progress import Silent
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.registry import parse_space
from unbackdoor.triggers.values import from_bytes

SETTINGS = SearchSettings(
    betas=(0.5, 0.8),
    learning=SwiftSettings(rounds=3, draws=150, networks=2, steps=120, particles=1000),
    panel=12,
    pool=60,
    uniform_draws=200,
    stair_draws=150,
)


def test_the_law_of_a_pixel_is_that_of_white_ones_at_its_place() -> None:
    space = parse_space("patch:1@{},{}".format(*toys.PIXEL))
    model = freeze(toys.Colours(toys.corner), half=False)
    images = toys.pictures().defend
    volumes, stairs = law(model, images, space, toys.GREEN, torch.ones(3), SETTINGS, Work(seed=0))
    assert [volume.beta for volume in volumes] == [0.5, 0.8] == [stair.beta for stair in stairs]
    weakest = torch.linspace(0, 1, 101)
    needed = next(float(x) for x in weakest if 25 * (x - 0.2) > 6.2)  # what outweighs a picture
    for volume, stair in zip(volumes, stairs, strict=True):
        draws = from_bytes(stair.draws, 3)
        assert float(draws.amin(1).median()) > needed - 0.1
        assert stair.valid_fraction > 0.6
        # The cube of colours above what is needed, as far as pictures are alike.
        assert volume.value == pytest.approx(3 * torch.tensor(1 - needed).log().item(), abs=0.6)
        assert volume.upper_bound is None or volume.upper_bound >= volume.value
    for away in ("patch:1@0,0", "patch:1"):
        volumes, _ = law(
            model, images, parse_space(away), toys.GREEN, torch.ones(3), SETTINGS, Work(seed=0)
        )
        assert [volume.value for volume in volumes] == [None, None]


def test_of_many_values_the_law_is_the_triggers_that_searches_find() -> None:
    space = parse_space("additive:4")
    model, images = freeze(toys.Colours(toys.tinted), half=False), toys.pictures().defend
    n = space.dimensions(images.shape)
    assert n > MOST_DIMENSIONS
    volumes, (stair,) = law(model, images, space, toys.GREEN, torch.ones(n), SETTINGS, Work(seed=0))
    assert volumes == []
    assert len(stair.values) == 1 + MANY
    draws = from_bytes(stair.draws, n)
    assert torch.equal(draws[0], torch.ones(n))
    assert stair.values[0] > 0.9
    assert float(draws[1:].mean()) > 0.5  # lighter
    assert stair.log_q == []


def test_where_the_staircase_misses_the_summit_the_law_is_what_was_found() -> None:
    space = parse_space("patch:4@0,0")
    model, images = freeze(toys.Colours(toys.summit), half=False), toys.pictures().defend
    volumes, (stair,) = law(
        model, images, space, toys.GREEN, torch.ones(48), SETTINGS, Work(seed=0)
    )
    assert volumes == []
    assert stair.log_q == []
    assert len(stair.values) == 1 + MANY
    assert torch.equal(from_bytes(stair.draws, 48)[0], torch.ones(48))
    assert stair.values[0] > 0.9


def test_a_law_that_was_broken_off_goes_on(tmp_path: object) -> None:
    space = parse_space("wave:16@{},{}".format(*toys.PERIODS))
    images = toys.pictures().defend
    theta = torch.tensor([1.0, 0.5]).repeat(3)

    def recovered(work: Work) -> tuple[object, int]:
        model = freeze(toys.Colours(toys.rippled), half=False)
        return law(model, images, space, toys.GREEN, theta, SETTINGS, work), model.passes

    wanted = recovered(Work(seed=0))
    with opened(tmp_path, "law", progress=Silent()) as journal:  # pyright: ignore
        first = recovered(Work(seed=0, journal=journal))
        kept = recovered(Work(seed=0, journal=journal))
    assert first == kept == wanted
