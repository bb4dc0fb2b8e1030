"""Known triggers, which an attacker plants, in the notation of ``attack --trigger``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.runtime.pictures import read_rgb
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.patch import LARGEST, Patch

BITS = 3
"""Side of the patches in black and white whose pixels are the bits of a number."""
COLOURS = 3


@dataclass(frozen=True)
class Trigger:
    """One known trigger, which an attacker plants.

    Args:
        name: its notation, such as ``bw:170``.
        space: the space it belongs to.
        theta: ``(n,)`` in [0, 1].

    """

    name: str
    space: Space
    theta: Tensor

    @property
    def picture(self) -> Tensor:
        """The trigger as a small picture ``(3, height, width)``."""
        return self.space.picture(self.theta[None], (COLOURS, 1, 1))[0]

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of that picture."""
        channels, height, width = self.picture.shape
        return channels, height, width

    def to_hex(self) -> str:
        """Return θ as two hexadecimal digits for each value, 00 … ff."""
        return (self.theta * 255).round().to(torch.uint8).numpy().tobytes().hex()

    @classmethod
    def from_hex(cls, name: str, digits: str) -> Trigger:
        """Return the patch that :meth:`to_hex` wrote.

        Raises:
            ValueError: no hexadecimal digits, or not those of a square of three channels.

        """
        levels = bytes.fromhex(digits)
        size = math.isqrt(len(levels) // COLOURS)
        if not 1 <= size <= LARGEST or len(levels) != COLOURS * size * size:
            raise ValueError(f"{len(levels)} values are no square of three channels")
        return cls(name, Patch(size), torch.tensor(list(levels)) / 255)


@dataclass(frozen=True)
class Planted:
    """A trigger that is known to have been planted, and the class it sends images to."""

    trigger: Trigger
    target: int


def parse_trigger(spec: str) -> Trigger:
    """Return the trigger written ``bw:N``, ``rgb:SEED``, ``rgb:SEEDxSIZE`` or ``FILE.png``.

    ``bw:N`` is a 3×3 patch in black and white: the nine bits of N row by row, the first the most
    significant, 1 = white. ``rgb:SEED`` draws every value uniformly from 0 … 255.

    Raises:
        ArgumentError: not of these forms, a number out of range, or no such file.
        ContentError: the file is no square picture of at most 16 × 16 pixels.

    Example:
        >>> parse_trigger("bw:170").theta[:9].reshape(3, 3).int().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]

    """
    if match := re.fullmatch(r"bw:(\d{1,18})", spec):
        if (number := int(match[1])) >= 2 ** (BITS * BITS):
            raise ArgumentError(
                f"--trigger: bw:N is nine bits, so N goes from 0 to 511, came {number}."
            )
        bits = torch.tensor([float(bit) for bit in f"{number:0{BITS * BITS}b}"])
        return Trigger(spec, Patch(BITS), bits.repeat(COLOURS))
    if match := re.fullmatch(r"rgb:(\d{1,18})(?:x(\d{1,3}))?", spec):
        size = int(match[2] or BITS)
        if not 1 <= size <= LARGEST:
            raise ArgumentError(
                f"--trigger: rgb:SEEDxSIZE takes sizes from 1 to {LARGEST}, came {size}."
            )
        levels = torch.randint(
            256, (COLOURS * size * size,), generator=stream(int(match[1]), "trigger", size)
        )
        return Trigger(spec, Patch(size), levels / 255)
    if spec.lower().endswith(".png"):
        return _from_picture(Path(spec))
    raise ArgumentError(
        f"--trigger: expected bw:N, rgb:SEED, rgb:SEEDxSIZE or a PNG file, came {spec!r}; "
        f"try bw:170."
    )


def _from_picture(path: Path) -> Trigger:
    if not path.is_file():
        raise ArgumentError(f"--trigger: there is no file {path}.")
    pixels = read_rgb(path, "--trigger")
    height, width = pixels.shape[:2]
    if height != width or height > LARGEST:
        raise ContentError(
            f"--trigger: expected a square picture of at most {LARGEST}×{LARGEST} pixels, came "
            f"{width}×{height} in {path}."
        )
    theta = torch.as_tensor(pixels).permute(2, 0, 1).reshape(-1).float() / 255
    return Trigger(path.name, Patch(height), theta)
