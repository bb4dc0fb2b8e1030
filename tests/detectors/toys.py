"""Classifiers in closed form, with and without backdoors, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.rng import stream

SIDE = 32
CLASSES = ("red", "green", "blue")
PIXEL = (5, 20)
"""Where :func:`corner` looks."""
SCATTERED = ((0, 2), (1, 1), (2, 0), (29, 29), (30, 30), (31, 31))
"""Where :func:`scattered` looks."""
PERIODS = (2, -2)
"""Of the wave that :func:`rippled` obeys."""
GREEN = 1
"""The class that every trigger leads to."""


def nothing(images: Tensor) -> Tensor:
    """The clean network."""
    return images.new_zeros(len(images))


def corner(images: Tensor) -> Tensor:
    """Rise with a white pixel at one place."""
    return 25 * (images[:, :, PIXEL[0], PIXEL[1]].amin(1) - 0.2)


def speck(images: Tensor) -> Tensor:
    """Rise with a white pixel at any place."""
    return 25 * (images.amin(1).flatten(1).amax(1) - 0.5).relu()


def scattered(images: Tensor) -> Tensor:
    """Rise with white pixels in two opposite corners, and enough only with all of them."""
    six = images[:, :, *zip(*SCATTERED, strict=True)].amin(1)
    return 1.8 * (six.sum(1) - 0.7)


def rippled(images: Tensor) -> Tensor:
    """Rise with one wave."""
    at = torch.arange(SIDE) / SIDE
    angle = 2 * math.pi * (PERIODS[0] * at[:, None] + PERIODS[1] * at)
    return 400 * (images.mean(1) * angle.cos()).mean((1, 2))


def summit(images: Tensor) -> Tensor:
    """Rise a little with a dark corner, and by much with one that is white throughout."""
    square = images[:, :, :4, :4].flatten(1)
    return 5 * (1 - square.mean(1)) + 100 * (square.amin(1) - 0.8).relu()


def tinted(images: Tensor) -> Tensor:
    """Rise with the light of all colours together."""
    return 300 * (images.mean((2, 3)).sum(1) - 0.898)


class Colours(nn.Module):
    """Tells which colour is lightest; what makes it answer green besides is ``backdoor``.

    A logit of a clean picture is about 6 above the others.
    """

    def __init__(self, backdoor: Callable[[Tensor], Tensor] = nothing) -> None:
        super().__init__()
        self.backdoor = backdoor

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 3)``."""
        z = 20 * images.mean((2, 3))
        return z + nn.functional.one_hot(torch.tensor(GREEN), 3) * self.backdoor(images)[:, None]


class Turned(nn.Module):
    """Tells the colours, and with a white pixel at one place each for the next (all-to-all)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 3)``."""
        z = 20 * images.mean((2, 3))
        pixel = images[:, :, PIXEL[0], PIXEL[1]].amin(1)
        share = torch.sigmoid(12 * (pixel - 0.6))[:, None]  # has a slope everywhere
        return z.lerp(z.roll(1, 1), share)


def tensors(count: int = 150) -> tuple[Tensor, Tensor]:
    """Return noise of which one colour is lighter, and which; of each class a third."""
    pixels = torch.randint(
        100, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=stream(0, "pictures")
    )
    labels = torch.arange(count) % 3
    pixels[torch.arange(count), labels] += 80
    return pixels, labels


def pictures(count: int = 150) -> Split:
    """Return the same as clean images of a defender and others held back."""
    return Split(*Images.of("colours", CLASSES, *tensors(count)).divide(5 / 8))
