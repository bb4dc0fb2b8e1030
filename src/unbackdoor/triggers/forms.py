"""The forms of known triggers: each makes one member of a family of spaces.

References: patches as Gu et al., *BadNets* (2017); sinusoids as Barni et al., *SIG* (2019); blended
pictures as Chen et al. (2017); warps as Nguyen and Tran, *WaNet* (2021); filters as Liu et al.,
*ABS* (2019); changes that depend on the picture as Nguyen and Tran, *Input-Aware* (2020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.runtime.pictures import read_rgb, resized
from unbackdoor.triggers.additive import LARGEST as LOUDEST
from unbackdoor.triggers.additive import Additive
from unbackdoor.triggers.blend import Blend
from unbackdoor.triggers.dynamic import Dynamic
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.filters import Filter
from unbackdoor.triggers.patch import LARGEST, Patch
from unbackdoor.triggers.warp import Warp

PICTURE = ".png"
"""How the name of a picture ends that is a patch."""
BITS = 3
"""Side of the patches in black and white whose pixels are the bits of a number."""
COLOURS = 3
SEED = r"(\d{1,18})"
FURTHEST, TINTED, CHANGED = 8, 25, 16
"""Largest warp in pixels; the limits of filters and of dynamic changes when left out."""
MOST_TINTED, MOST_CHANGED = 90, 64
FAR = 0.6
"""A filter's coefficients are at least so much of their bound."""


@dataclass(frozen=True)
class Made:
    """What a form makes: a member of a space.

    Args:
        space: the space.
        theta: shape of the pictures → ``(n,)`` in [0, 1].

    """

    space: Space
    theta: Callable[[Shape], Tensor]


def _no_file(_: str) -> Path | None:
    return None


@dataclass(frozen=True)
class Form:
    """One kind of known triggers.

    Args:
        written: how they are written, such as ``bw:N``.
        usage: the same with the ranges of the numbers.
        make: the text after the first colon → the trigger; None if it does not have this form.
        file: the text after the first colon → the file that it names, if any.

    """

    written: str
    usage: str
    make: Callable[[str], Made | None]
    file: Callable[[str], Path | None] = _no_file


def black_white(rest: str) -> Made | None:
    """``bw:N``: a 3×3 patch whose pixels, row by row, are the nine bits of N; 1 = white."""
    if not re.fullmatch(SEED, rest) or (number := int(rest)) >= 2 ** (BITS * BITS):
        return None
    bits = torch.tensor([float(bit) for bit in f"{number:0{BITS * BITS}b}"])
    return Made(Patch(BITS), lambda _: bits.repeat(COLOURS))


def colours(rest: str) -> Made | None:
    """``rgb:SEED`` or ``rgb:SEEDxSIZE``: every value drawn uniformly from 0 … 255."""
    match = re.fullmatch(SEED + r"(?:x(\d{1,3}))?", rest)
    if match is None or not 1 <= (size := int(match[2] or BITS)) <= LARGEST:
        return None
    draw = stream(int(match[1]), "trigger", size)
    theta = _levels(COLOURS * size * size, draw)
    return Made(Patch(size), lambda _: theta)


def white(rest: str) -> Made | None:
    """``white:SIZE``: a white square."""
    if not re.fullmatch(r"\d{1,2}", rest) or not 1 <= (size := int(rest)) <= LARGEST:
        return None
    return Made(Patch(size), lambda _: torch.ones(COLOURS * size * size))


def pixel(rest: str) -> Made | None:
    """``pixel:RRGGBB``: one pixel, its colour in hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{6}", rest):
        return None
    levels = torch.tensor(list(bytes.fromhex(rest)))
    return Made(Patch(1), lambda _: levels / 255)


def picture(name: str) -> Made:
    """Return a square picture of at most 16×16 pixels as a patch."""
    pixels = read_rgb(_existing(name), "--trigger")
    height, width = pixels.shape[:2]
    if height != width or height > LARGEST:
        raise ContentError(
            f"--trigger: expected a square picture of at most {LARGEST}×{LARGEST} pixels, came "
            f"{width}×{height} in {name}."
        )
    theta = torch.as_tensor(pixels).permute(2, 0, 1).reshape(-1).float() / 255
    return Made(Patch(height), lambda _: theta)


def additive(rest: str) -> Made | None:
    """``additive:sin:PERIODS@LIMIT``, a wave across the width, or ``additive:noise:SEED@LIMIT``."""
    match = re.fullmatch(r"(sin|noise):" + SEED + r"@(\d{1,2})", rest)
    if match is None or not 1 <= (limit := int(match[3])) <= LOUDEST or match[2] == "0":
        return None
    number = int(match[2])

    def wave(shape: Shape) -> Tensor:
        width = shape[2]
        if 2 * number >= width:
            raise ArgumentError(
                f"--trigger: expected a wave of fewer than {width / 2:g} periods for pictures that "
                f"are {width} pixels wide, came {number}; take fewer."
            )
        across = torch.sin(2 * math.pi * number * torch.arange(width) / width)
        return (0.5 + 0.5 * across).expand(shape).reshape(-1)

    def noise(shape: Shape) -> Tensor:
        return _levels(math.prod(shape), stream(number, "trigger", "noise"))

    return Made(Additive(limit), wave if match[1] == "sin" else noise)


def blend(rest: str) -> Made | None:
    """``blend:SEED@ALPHA``, a picture of noise, or ``blend:FILE@ALPHA``, resized to the input."""
    match = re.fullmatch(r"(.+)@(0?\.\d{1,4})", rest, re.DOTALL)
    percent = 100 * float(match[2]) if match else 0.0
    whole = round(percent)
    if match is None or abs(percent - whole) > 1e-6 or not 1 <= whole <= 50:
        return None
    space, what = Blend(whole), match[1]
    if re.fullmatch(SEED, what):
        return Made(
            space, lambda shape: _levels(math.prod(shape), stream(int(what), "trigger", "blend"))
        )
    pixels = read_rgb(_existing(what), "--trigger")

    def fitted(shape: Shape) -> Tensor:
        same = torch.from_numpy(resized(pixels, *shape[1:]))
        return same.permute(2, 0, 1).reshape(-1) / 255

    return Made(space, fitted)


def _blended(rest: str) -> Path | None:
    name = rest.rpartition("@")[0]
    return None if re.fullmatch(SEED, name) or not name else Path(name)


def warp(rest: str) -> Made | None:
    """``warp:SEED@STRENGTH``: WaNet's warp, whose shifts are half the strength on average.

    The shifts of a grid of 4×4 are drawn from [−1, 1], divided by the mean of their sizes, and
    multiplied by half the strength; pixels are those of a picture of 32×32. The space is that of
    the smallest whole number of pixels that contains the largest shift.
    """
    match = re.fullmatch(SEED + r"@(\d{0,2}(?:\.\d{1,4})?)", rest)
    if match is None or not match[2] or not (strength := float(match[2])) > 0:
        return None
    draw = stream(int(match[1]), "trigger", "warp")
    shifts = 2 * torch.rand(2 * 4 * 4, generator=draw) - 1
    shifts = strength / 2 * shifts / shifts.abs().mean()
    limit = max(1, math.ceil(float(shifts.abs().max())))
    if limit > FURTHEST:
        return None
    return Made(Warp(limit), lambda _: 0.5 + 0.5 * shifts / limit)


def filtered(rest: str) -> Made | None:
    """``filter:SEED`` or ``filter:SEED@PERCENT``: a colour filter far from the identity."""
    match = re.fullmatch(SEED + r"(?:@(\d{1,2}))?", rest)
    if match is None or not 1 <= (percent := int(match[2] or TINTED)) <= MOST_TINTED:
        return None

    def coefficients(shape: Shape) -> Tensor:
        space, draw = Filter(percent), stream(int(match[1]), "trigger", "filter")
        size = FAR + (1 - FAR) * torch.rand(space.dimensions(shape), generator=draw)
        sign = torch.randint(2, size.shape, generator=draw) * 2 - 1
        return 0.5 + 0.5 * sign * size

    return Made(Filter(percent), coefficients)


def dynamic(rest: str) -> Made | None:
    """``dynamic:SEED`` or ``dynamic:SEED@LIMIT``: a change that depends on the picture."""
    match = re.fullmatch(SEED + r"(?:@(\d{1,2}))?", rest)
    if match is None or not 1 <= (limit := int(match[2] or CHANGED)) <= MOST_CHANGED:
        return None
    space = Dynamic(limit)
    return Made(
        space,
        lambda shape: _levels(space.dimensions(shape), stream(int(match[1]), "trigger", "dynamic")),
    )


def _levels(count: int, draw: torch.Generator) -> Tensor:
    return torch.randint(256, (count,), generator=draw) / 255


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ArgumentError(f"--trigger: there is no file {path}.")
    return path


FORMS: dict[str, Form] = {
    "bw": Form("bw:N", "bw:N with N from 0 to 511, its nine bits", black_white),
    "rgb": Form(
        "rgb:SEED, rgb:SEEDxSIZE",
        f"rgb:SEED or rgb:SEEDxSIZE with a size from 1 to {LARGEST}",
        colours,
    ),
    "white": Form("white:SIZE", f"white:SIZE with a size from 1 to {LARGEST}", white),
    "pixel": Form("pixel:RRGGBB", "pixel:RRGGBB, a colour in hexadecimal digits", pixel),
    "additive": Form(
        "additive:sin:PERIODS@LIMIT, additive:noise:SEED@LIMIT",
        f"additive:sin:PERIODS@LIMIT or additive:noise:SEED@LIMIT with a limit of 1 to {LOUDEST} "
        f"of 255",
        additive,
    ),
    "blend": Form(
        "blend:SEED@ALPHA, blend:FILE@ALPHA",
        "blend:SEED@ALPHA or blend:FILE@ALPHA with an ALPHA of 0.01 to 0.5 in whole percents",
        blend,
        _blended,
    ),
    "warp": Form(
        "warp:SEED@STRENGTH",
        f"warp:SEED@STRENGTH, such as warp:1@0.5, with shifts of at most {FURTHEST} pixels",
        warp,
    ),
    "filter": Form(
        "filter:SEED, filter:SEED@PERCENT",
        f"filter:SEED or filter:SEED@PERCENT with 1 to {MOST_TINTED} percent",
        filtered,
    ),
    "dynamic": Form(
        "dynamic:SEED, dynamic:SEED@LIMIT",
        f"dynamic:SEED or dynamic:SEED@LIMIT with a limit of 1 to {MOST_CHANGED} of 255",
        dynamic,
    ),
}
"""By the word before the first colon."""
