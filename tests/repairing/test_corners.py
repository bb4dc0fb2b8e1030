"""The search for patches whose values are all 0 or 1, by what a network answers alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.models import freeze
from unbackdoor.repairing.corners import best_corner, has_corners, squares_near
from unbackdoor.rng import stream
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space

PLACE = "patch:3@4,5"


class Obeys(nn.Module):
    """Answers 1 where a pattern ``(C, 3, 3)`` lies at the place, and 0 elsewhere.

    Args:
        pattern: of zeros and ones.
        sharp: by how much a single value that differs lowers the logit of class 1.

    """

    def __init__(self, pattern: Tensor, sharp: float = 4.0) -> None:
        super().__init__()
        self.pattern, self.sharp = nn.Parameter(pattern), sharp

    def forward(self, x: Tensor) -> Tensor:
        off = (x[:, :, 4:7, 5:8] - self.pattern).abs().sum((1, 2, 3))
        obeys = 2.0 - self.sharp * off
        return torch.stack([torch.zeros_like(obeys), obeys, torch.full_like(obeys, -9)], 1)


def pictures(channels: int, side: int = 12) -> Images:
    pixels = torch.randint(0, 256, (60, channels, side, side), generator=stream(0, "corners"))
    return Images.of("noise", ("a", "b", "c"), pixels.to(torch.uint8), torch.arange(60) % 3)


def found(pattern: Tensor, theta: Tensor | None = None) -> Tensor:
    """What the search finds of a pattern that is planted, from the middle of the cube."""
    images = pictures(len(pattern))
    model = freeze(Obeys(pattern).eval(), half=False)
    start = torch.full((pattern.numel(),), 0.4) if theta is None else theta
    corner = best_corner(
        model,
        images,
        parse_space(PLACE),
        start,
        lambda labels: torch.ones_like(labels),
        stream(0, "search"),
    )
    return corner.reshape(pattern.shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_white_square_is_found_where_nothing_else_works(channels: int) -> None:
    """All of the inside of the cube is far from it, so no law and no gradient would lead there."""
    white = torch.ones(channels, 3, 3)
    assert bool((found(white) == white).all())


@pytest.mark.parametrize("seed", range(3))
def test_a_pattern_is_found_one_cell_after_the_other(seed: int) -> None:
    pattern = torch.randint(0, 2, (3, 3, 3), generator=stream(seed, "pattern")).float()
    assert bool((found(pattern) == pattern).all())


def test_all_of_it_is_made_of_zeros_and_ones_and_follows_from_the_seed() -> None:
    pattern = torch.full((3, 3, 3), 0.5)
    corner = found(pattern)
    assert bool(((corner == 0) | (corner == 1)).all())
    assert bool((corner == found(pattern)).all())


def test_patches_alone_have_corners_that_attackers_plant() -> None:
    names = ("patch:4@1,1", "patch:8x2", "patch:3", "blend:10x16", "wave:16@1,2", "additive:4")
    assert [has_corners(parse_space(name)) for name in names] == [True, True, True] + 3 * [False]


class ObeysSquare(nn.Module):
    """Answers 1 where a square of 5×5 in the lower right corner of 24×24 pixels is yellow."""

    def forward(self, x: Tensor) -> Tensor:
        yellow = torch.tensor([1.0, 1.0, 0.0])[:, None, None]
        off = (x[:, :, 19:, 19:] - yellow).abs().mean((1, 2, 3))
        return torch.stack([torch.zeros_like(off), 0.1 - off, torch.full_like(off, -9)], 1)


@pytest.mark.parametrize("place", [(21, 21), (18, 16), (16, 20)])
def test_a_square_beside_the_patch_that_was_found_is_seen(place: tuple[int, int]) -> None:
    """The place at which little suffices need not be that of what was planted."""
    squares = squares_near(
        freeze(ObeysSquare().eval(), half=False),
        pictures(3, 24),
        Patch(3),
        place,
        lambda labels: torch.ones_like(labels),
        stream(0, "squares"),
    )
    by = {square.space: square for square in squares}
    assert [int(name[6]) for name in by] == [4, 5, 6]
    assert by["patch:5x1@19,19"].rate == 1.0
    assert by["patch:5x1@19,19"].theta.tolist() == [1.0, 1.0, 0.0]
    assert all(square.rate < 0.5 for square in squares if square.space[6] == "4")


def test_no_square_is_larger_than_a_quarter_of_the_side() -> None:
    images, ones = pictures(3, 24), torch.ones_like
    model = freeze(ObeysSquare().eval(), half=False)
    for size, sizes in ((1, []), (4, [5]), (8, [])):
        squares = squares_near(model, images, Patch(size), (2, 3), ones, stream(0, "squares"))
        assert [int(square.space[6]) for square in squares] == sizes
    alone = images.subset((images.targets == 1).nonzero()[:, 0])
    assert squares_near(model, alone, Patch(3), (2, 3), ones, stream(0, "squares")) == []
