"""The search for patches whose values are all 0 or 1, by what a network answers alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.models import freeze
from unbackdoor.repairing.corners import best_corner, has_corners
from unbackdoor.rng import stream
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


def pictures(channels: int) -> Images:
    pixels = torch.randint(0, 256, (60, channels, 12, 12), generator=stream(0, "corners"))
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
