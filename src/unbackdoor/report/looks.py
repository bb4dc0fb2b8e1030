"""What a trigger looks like: how the values θ of each family are drawn.

A patch is its own picture. Of the other families θ means something else: shifts, a mask, the
coefficients of a filter, the weights of a small network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unbackdoor.report.pixels import Pixels, Shape, image, to_colour
from unbackdoor.report.spaces import amount, family, place_of
from unbackdoor.report.words import fixed

Floats = NDArray[np.float64]
WAVE = 32
"""Pixels along each side of a picture of a wave."""
CHECK, LIGHT, DARK = 4, 205, 165
"""Pixels of a square of the chequered ground behind a mask, and its two greys."""
LESS, SAME, MORE = (47, 93, 140), (236, 234, 228), (168, 38, 28)
"""Colours of coefficients below, at and above the identity."""
WIDEST = 30
"""Bound of the coefficients, in percent, of filters whose change of a picture is limited."""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Arrow:
    """A shift: from the pixel that is seen to the one whose colour it takes, in cells."""

    x: float
    y: float
    to_x: float
    to_y: float


@dataclass(frozen=True)
class Coefficients:
    """A small table; each row has a head and a number for each column."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Details:
    """What is shown of the best trigger beside its picture.

    Args:
        layers: further pictures, each with its caption.
        arrows: of a grid of shifts.
        grid: rows and columns of that grid.
        coefficients: of a filter.

    """

    layers: list[tuple[str, Pixels]] = field(default_factory=list[tuple[str, Pixels]])
    arrows: list[Arrow] = field(default_factory=list[Arrow])
    grid: tuple[int, int] = (0, 0)
    coefficients: Coefficients | None = None


def _no_details(_: Pixels) -> Details:
    return Details()


def _any_shape(_: Shape) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the triggers of one space are drawn.

    Args:
        caption: how to read the picture; empty where it is the trigger itself.
        pixels: from the values of θ ``(height, width, channels)`` to ``(rows, columns, 3)``.
        details: from the same to what is shown of the best trigger beside its picture.
        fits: whether θ of a shape (channels, height, width) can be drawn so.

    """

    caption: str = ""
    pixels: Callable[[Pixels], Pixels] = to_colour
    details: Callable[[Pixels], Details] = _no_details
    fits: Callable[[Shape], bool] = _any_shape


@dataclass(frozen=True)
class Drawer:
    """Draws triggers of one shape (channels, height, width)."""

    look: Look
    shape: Shape

    def pixels(self, theta: bytes) -> Pixels:
        """Return the picture of θ."""
        return self.look.pixels(image(theta, self.shape))

    def details(self, theta: bytes) -> Details:
        """Return what is shown of θ beside its picture."""
        return self.look.details(image(theta, self.shape))


def drawer(space: str, shape: Shape) -> Drawer:
    """Return what draws the triggers of a space; as they are where θ does not fit its family."""
    make, limit = LOOKS.get(family(space)), amount(space)
    look = make(limit) if make and limit is not None else Look()
    if family(space) == "wave" and limit is not None and (periods := place_of(space)):
        look = waves(limit, periods)
    if family(space) == "filter" and limit is not None and space.endswith("rms"):
        look = tints(limit)
    return Drawer(look if look.fits(shape) else Look(), shape)


def masks(percent: int) -> Look:
    """Return how masks and the patterns under them are drawn."""
    return Look(
        caption="the pattern where its mask lets it through, on a chequered ground",
        pixels=partial(_masked, percent=percent),
        details=partial(_mask_alone, percent=percent),
        fits=lambda shape: shape[0] > 1,
    )


def warps(limit: int) -> Look:
    """Return how shifts are drawn."""
    return Look(
        caption=f"the shifts: colour is direction, white is none, full colour is {limit} of 32 "
        f"pixels",
        pixels=_shift_colours,
        details=_arrows,
        fits=lambda shape: shape[0] == 2,
    )


def waves(limit: int, periods: tuple[int, int]) -> Look:
    """Return how waves with these periods down and across are drawn."""
    return Look(
        caption=f"what is added, up to ± {limit} of 255; grey changes nothing",
        pixels=partial(_wave, periods=periods),
        fits=lambda shape: tuple(shape[1:]) == (1, 2) and max(map(abs, periods)) < WAVE,
    )


def filters(percent: int) -> Look:
    """Return how the coefficients of colour filters are drawn."""
    return Look(
        caption="the coefficients: red is more than the identity, blue is less",
        pixels=_coefficient_colours,
        details=partial(_coefficients, percent=percent),
        fits=lambda shape: shape[1] == 1 and shape[2] == shape[0] + 2,
    )


def tints(change: int) -> Look:
    """Return how the coefficients of filters are drawn whose change of a picture is limited."""
    look = filters(WIDEST)
    return replace(
        look,
        caption=f"{look.caption}; the filtered picture is mixed with the one it was made of, until "
        f"they differ by at most {change} of 255 in the root mean square",
    )


LOOKS: dict[str, Callable[[int], Look]] = {
    "mask": masks,
    "warp": warps,
    "filter": filters,
    "additive": lambda limit: Look(
        caption=f"what is added, up to ± {limit} of 255; grey changes nothing"
    ),
    "blend": lambda percent: Look(caption=f"what is blended in at {percent} %"),
    "dynamic": lambda _: Look(
        caption="the weights of the small network that computes the change; grey is 0"
    ),
}
"""By the name of the family: from the number in the name of a space to how it is drawn."""


def _shift_colours(values: Pixels) -> Pixels:
    """Return the direction of each shift as its hue and the length as its saturation."""
    down, right = np.moveaxis(values / 127.5 - 1, 2, 0)
    hue = (np.arctan2(down, right) / (2 * np.pi)) % 1
    length = np.minimum(np.hypot(down, right), 1)
    thirds = np.abs((6 * hue[..., None] + np.array([0, 4, 2])) % 6 - 3) - 1
    colours = 1 - length[..., None] * (1 - np.clip(thirds, 0, 1))
    return _bytes(colours)


def _arrows(values: Pixels) -> Details:
    rows, columns = values.shape[:2]
    shifts = values / 127.5 - 1
    # At full length an arrow reaches the next point of the grid.
    arrows = [
        Arrow(
            column + 0.5,
            row + 0.5,
            round(column + 0.5 + float(shifts[row, column, 1]), 3),
            round(row + 0.5 + float(shifts[row, column, 0]), 3),
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return Details(arrows=arrows, grid=(rows, columns))


def _wave(values: Pixels, periods: tuple[int, int]) -> Pixels:
    """Return the wave that the cosine and the sine part of each colour, ``(1, 2, c)``, make."""
    parts = values[0] / 127.5 - 1
    parts = parts / np.sqrt(np.maximum((parts**2).sum(axis=0), 1))
    rows, columns = np.indices((WAVE, WAVE)) / WAVE
    angle = 2 * np.pi * (periods[0] * rows + periods[1] * columns)[..., None]
    return to_colour(_bytes(0.5 + 0.5 * (parts[0] * np.cos(angle) + parts[1] * np.sin(angle))))


def _opacity(values: Pixels, percent: int) -> Floats:
    """Return the mask, weakened as far as its budget in per cent asks for, ``(h, w, 1)``."""
    mask = values[..., :1] / 255
    return mask * min(1.0, percent / 100 / max(float(mask.mean()), 1e-6))


def _masked(values: Pixels, percent: int) -> Pixels:
    rows, columns = np.indices(values.shape[:2]) // CHECK
    ground = np.where((rows + columns) % 2 == 0, LIGHT, DARK)[..., None] / 255
    pattern = to_colour(values[..., 1:]) / 255
    return _bytes(ground + _opacity(values, percent) * (pattern - ground))


def _mask_alone(values: Pixels, percent: int) -> Details:
    mask = to_colour(_bytes(_opacity(values, percent)))
    pattern = to_colour(values[..., 1:])
    return Details(layers=[("mask: white covers all", mask), ("pattern under it", pattern)])


def _coefficient_colours(values: Pixels) -> Pixels:
    """Return a row for each colour and a column for each of its coefficients."""
    change = values[0].T[..., None] / 127.5 - 1
    less, same, more = (np.array(colour) / 255 for colour in (LESS, SAME, MORE))
    return _bytes(same + np.abs(change) * (np.where(change < 0, less, more) - same))


def _coefficients(values: Pixels, percent: int) -> Details:
    by = percent / 100 * (values[0].T / 127.5 - 1)
    channels = by.shape[0]
    names = COLOURS if channels == len(COLOURS) else [f"channel {n}" for n in range(channels)]
    mixed = by[:, :channels] + np.eye(channels)
    rows = [
        (
            f"new {name}",
            [
                *(fixed(float(one), 2) for one in mixed[row]),
                fixed(float(by[row, channels]), 2),
                fixed(float(np.exp(by[row, channels + 1])), 2),
            ],
        )
        for row, name in enumerate(names)
    ]
    columns = [*(f"× {name}" for name in names), "+", "γ"]
    return Details(coefficients=Coefficients(columns, rows))


def _bytes(shares: Floats) -> Pixels:
    return (np.clip(shares, 0, 1) * 255).round().astype(np.uint8)
