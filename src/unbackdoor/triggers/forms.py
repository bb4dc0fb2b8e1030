"""The forms of known triggers: each makes one member of a family of spaces.

References: patches as in Gu et al., *BadNets* (2017); sinusoids as in Barni et al., *SIG* (2019);
blended pictures as in Chen et al. (2017); warps as in Nguyen and Tran, *WaNet* (2021); filters as
in Liu et al., *ABS* (2019); changes that depend on the picture as in Nguyen and Tran, *Input-Aware*
(2020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.runtime.pictures import Bytes, read_rgba, resized
from unbackdoor.triggers import additive, blend, dynamic, filters, mask, patch, warp
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.whole import cells

PICTURE = ".png"
"""How the name of a picture ends that is a patch."""
BITS = 3
"""Side of the patches in black and white whose pixels are the bits of a number."""
COLOURS = 3
SEED = r"(\d{1,18})"
GRID = 4
"""Rows and columns of a warp's shifts."""
FAR = 0.6
"""The least size of a filter's coefficients, as a share of their bound."""


@dataclass(frozen=True)
class Made:
    """What a form makes: a member of a space.

    Args:
        space: the space.
        theta: shape of the pictures → ``(n,)`` in [0, 1].

    """

    space: Space
    theta: Callable[[Shape], Tensor]


def _no_file(_: str) -> str | None:
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
    file: Callable[[str], str | None] = _no_file


def black_white(rest: str) -> Made | None:
    """``bw:N``: a 3×3 patch whose pixels, row by row, are the nine bits of N; 1 = white."""
    if not re.fullmatch(SEED, rest) or (number := int(rest)) >= 2 ** (BITS * BITS):
        return None
    bits = torch.tensor([float(bit) for bit in f"{number:0{BITS * BITS}b}"])
    return Made(Patch(BITS), lambda _: bits.repeat(COLOURS))


def colours(rest: str) -> Made | None:
    """``rgb:SEED`` or ``rgb:SEEDxSIZE``: every value drawn uniformly from 0 … 255."""
    match = re.fullmatch(SEED + r"(?:x(\d{1,3}))?", rest)
    space = match and patch.Patches().space(match[2] or str(BITS))
    if not match or not space:
        return None
    theta = _levels(COLOURS * space.size**2, stream(int(match[1]), "trigger", space.size))
    return Made(space, lambda _: theta)


def white(rest: str) -> Made | None:
    """``white:SIZE``: a white square."""
    space = patch.Patches().space(rest) if re.fullmatch(r"\d{1,2}", rest) else None
    return space and Made(space, lambda shape: torch.ones(space.dimensions(shape)))


def pixel(rest: str) -> Made | None:
    """``pixel:RRGGBB``: one pixel, its colour in hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{6}", rest):
        return None
    levels = torch.tensor(list(bytes.fromhex(rest)))
    return Made(Patch(1), lambda _: levels / 255)


def picture(name: str) -> Made:
    """Return a square picture of at most 16×16 pixels as a patch."""
    pixels = _opaque(name)
    height, width = pixels.shape[:2]
    if height != width or height > patch.LARGEST:
        raise ContentError(
            f"--trigger: expected a square picture of at most {patch.LARGEST}×{patch.LARGEST} "
            f"pixels, came {width}×{height} in {name}."
        )
    theta = _flat(torch.as_tensor(pixels))
    return Made(Patch(height), lambda _: theta)


def masked(name: str) -> Made | None:
    """``mask:FILE``: a picture of any shape, resized to the input, over what is there.

    How opaque a pixel is says how much of what is there it covers. An input of more than 32 pixels
    across or down gets as many values as one of 32, enlarged smoothly.
    """
    if not name:
        return None
    pixels = read_rgba(_existing(name), "--trigger")
    opaque = int(pixels[..., 3].sum(dtype=int))
    if not opaque:
        raise ContentError(f"--trigger: {name} is transparent everywhere; a trigger has to show.")

    def theta(shape: Shape) -> Tensor:
        rows, columns = cells(mask.FINEST, shape)
        whole = torch.from_numpy(resized(pixels, rows, columns, smooth=False))
        if not bool(whole[..., 3].any()):
            raise ContentError(
                f"--trigger: nothing is left of {name} in {columns}×{rows} pixels; draw it larger, "
                f"in a picture of that size."
            )
        return _flat(whole[..., [3, 0, 1, 2]])

    return Made(mask.Mask(-(-100 * opaque // (255 * pixels[..., 3].size))), theta)


def added(rest: str) -> Made | None:
    """``additive:sin:PERIODS@LIMIT``, a wave across the width, or ``additive:noise:SEED@LIMIT``."""
    match = re.fullmatch(rf"(sin|noise):{SEED}@(\d{{1,2}})", rest)
    space = match and additive.Additives().space(match[3])
    if not match or not space:
        return None
    number = int(match[2])

    def wave(shape: Shape) -> Tensor:
        width = shape[2]
        if not 1 <= number < width / 2:
            raise ArgumentError(
                f"--trigger: expected a wave of 1 to {(width - 1) // 2} periods for pictures that "
                f"are {width} pixels wide, came {number}."
            )
        across = torch.sin(2 * math.pi * number * torch.arange(width) / width)
        return (0.5 + 0.5 * across).expand(shape).reshape(-1)

    def noise(shape: Shape) -> Tensor:
        return _levels(math.prod(shape), stream(number, "trigger", "noise"))

    return Made(space, wave if match[1] == "sin" else noise)


def blended(rest: str) -> Made | None:
    """``blend:SEED@ALPHA``, a picture of noise, or ``blend:FILE@ALPHA``, resized to the input."""
    match = re.fullmatch(r"(.+)@(0?\.\d{1,4})", rest, re.DOTALL)
    percent = 100 * float(match[2]) if match else 0.0
    space = blend.Blends().space(str(round(percent)))
    if not match or not space or abs(percent - round(percent)) > 1e-6:
        return None
    what = match[1]
    if re.fullmatch(SEED, what):
        return Made(
            space, lambda shape: _levels(math.prod(shape), stream(int(what), "trigger", "blend"))
        )
    pixels = _opaque(what)
    return Made(space, lambda shape: _flat(torch.from_numpy(resized(pixels, *shape[1:]))))


def _file_blended(rest: str) -> str | None:
    name = rest.rpartition("@")[0]
    return None if re.fullmatch(SEED, name) else name or None


def warped(rest: str) -> Made | None:
    """``warp:SEED`` or ``warp:SEED@STRENGTH``: WaNet's warp; its strength is 0.5 when left out.

    The shifts of a grid of 4×4 are drawn from [−1, 1], divided by the mean of their sizes, and
    multiplied by half the strength; pixels are those of a picture of 32×32. The space is that of
    the smallest whole number of pixels that contains the largest shift.
    """
    match = re.fullmatch(SEED + r"(?:@(\d{1,2}(?:\.\d{1,4})?|\.\d{1,4}))?", rest)
    strength = float(match[2] or 0.5) if match else 0.0
    if not match or not strength:
        return None
    shifts = 2 * torch.rand(2 * GRID * GRID, generator=stream(int(match[1]), "trigger", "warp")) - 1
    shifts = strength / 2 * shifts / shifts.abs().mean()
    limit = math.ceil(float(shifts.abs().max()))
    space = warp.Warps().space(f"{limit}x{GRID}")
    return space and Made(space, lambda _: 0.5 + 0.5 * shifts / limit)


def filtered(rest: str) -> Made | None:
    """``filter:SEED`` or ``filter:SEED@PERCENT``: a colour filter far from the identity."""
    match = re.fullmatch(SEED + r"(?:@(\d{1,2}))?", rest)
    space = match and filters.Filters().space(match[2] or "25")
    if not match or not space:
        return None

    def coefficients(shape: Shape) -> Tensor:
        draw = stream(int(match[1]), "trigger", "filter")
        size = FAR + (1 - FAR) * torch.rand(space.dimensions(shape), generator=draw)
        sign = torch.randint(2, size.shape, generator=draw) * 2 - 1
        return 0.5 + 0.5 * sign * size

    return Made(space, coefficients)


def depending(rest: str) -> Made | None:
    """``dynamic:SEED`` or ``dynamic:SEED@LIMIT``: a change that depends on the picture."""
    match = re.fullmatch(SEED + r"(?:@(\d{1,2}))?", rest)
    space = match and dynamic.Dynamics().space(match[2] or "16")
    if not match or not space:
        return None
    draw = int(match[1]), "trigger", "dynamic"
    return Made(space, lambda shape: _levels(space.dimensions(shape), stream(*draw)))


def _levels(count: int, draw: Generator) -> Tensor:
    """Draw values uniformly from 0 … 255, of 255."""
    return torch.randint(256, (count,), generator=draw) / 255


def _flat(pixels: Tensor) -> Tensor:
    """Return the θ of a picture ``(height, width, 3)`` of bytes."""
    return pixels.permute(2, 0, 1).reshape(-1) / 255


def _opaque(name: str) -> Bytes:
    """Return a picture without transparent parts."""
    pixels = read_rgba(_existing(name), "--trigger")
    if (pixels[..., 3] < 255).any():
        raise ContentError(
            f"--trigger: {name} has transparent parts, which this trigger would cover; draw it "
            f"into a transparent picture of the input's size, and plant that as mask:FILE."
        )
    return pixels[..., :3]


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ArgumentError(f"--trigger: there is no file {path}.")
    return path


FORMS: dict[str, Form] = {
    "bw": Form("bw:N", "bw:N with N from 0 to 511, its nine bits", black_white),
    "rgb": Form(
        "rgb:SEED, rgb:SEEDxSIZE",
        f"rgb:SEED or rgb:SEEDxSIZE with a size from 1 to {patch.LARGEST}",
        colours,
    ),
    "white": Form("white:SIZE", f"white:SIZE with a size from 1 to {patch.LARGEST}", white),
    "pixel": Form("pixel:RRGGBB", "pixel:RRGGBB, a colour in hexadecimal digits", pixel),
    "mask": Form(
        "mask:FILE",
        "mask:FILE, a picture that covers the input where it is not transparent",
        masked,
        lambda name: name or None,
    ),
    "additive": Form(
        "additive:sin:PERIODS@LIMIT, additive:noise:SEED@LIMIT",
        f"additive:sin:PERIODS@LIMIT or additive:noise:SEED@LIMIT with a limit of 1 to "
        f"{additive.LARGEST} of 255",
        added,
    ),
    "blend": Form(
        "blend:SEED@ALPHA, blend:FILE@ALPHA",
        f"blend:SEED@ALPHA or blend:FILE@ALPHA with an ALPHA of 0.01 to {blend.LARGEST / 100:g} in "
        f"whole percents",
        blended,
        _file_blended,
    ),
    "warp": Form(
        "warp:SEED, warp:SEED@STRENGTH",
        f"warp:SEED or warp:SEED@STRENGTH, whose largest shift is about the strength and at most "
        f"{warp.LARGEST} pixels",
        warped,
    ),
    "filter": Form(
        "filter:SEED, filter:SEED@PERCENT",
        f"filter:SEED or filter:SEED@PERCENT with 1 to {filters.LARGEST} percent",
        filtered,
    ),
    "dynamic": Form(
        "dynamic:SEED, dynamic:SEED@LIMIT",
        f"dynamic:SEED or dynamic:SEED@LIMIT with a limit of 1 to {dynamic.LARGEST} of 255",
        depending,
    ),
}
"""By the word before the first colon."""
