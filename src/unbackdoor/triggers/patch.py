"""Square patches that cover what is under them (Gu et al., *BadNets*, 2017), at random places."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.rng import stream
from unbackdoor.runtime.pictures import read_rgb

LARGEST = 16


@dataclass(frozen=True)
class PatchSpace:
    """All patches of ``size`` × ``size`` pixels: θ holds red, then green, then blue, row by row."""

    size: int = 3
    channels: int = 3

    @property
    def name(self) -> str:
        """``patch:SIZE``."""
        return f"patch:{self.size}"

    @property
    def dimensions(self) -> int:
        """Channels × size × size."""
        return self.channels * self.size * self.size

    def places(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Draw the upper left corner ``(count, 2)``, uniform over where the whole patch fits.

        Raises:
            ArgumentError: it fits nowhere.

        """
        _, height, width = shape
        if self.size > min(height, width):
            raise ArgumentError(
                f"a patch of {self.size}×{self.size} pixels does not fit pictures of "
                f"{width}×{height}; take a smaller one."
            )
        rows = torch.randint(height - self.size + 1, (count, 1), generator=generator)
        columns = torch.randint(width - self.size + 1, (count, 1), generator=generator)
        return torch.cat([rows, columns], dim=1)

    def stamp(self, images: Tensor, theta: Tensor, places: Tensor) -> Tensor:
        """Return ``images`` with each patch at its place, differentiable in θ."""
        count, channels = images.shape[:2]
        side = torch.arange(self.size, device=images.device)
        places = places.to(images.device)
        batch = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        rows = (places[:, 0, None] + side)[:, None, :, None]
        columns = (places[:, 1, None] + side)[:, None, None, :]
        return images.index_put((batch, channel, rows, columns), self.picture(theta))

    def picture(self, theta: Tensor) -> Tensor:
        """Return θ ``(B, n)`` as pictures ``(B, channels, size, size)``."""
        return theta.reshape(-1, self.channels, self.size, self.size)


@dataclass(frozen=True)
class Trigger:
    """One known trigger: what an attacker plants.

    Args:
        name: how it was written, such as ``bw:170``.
        space: the patches it belongs to.
        theta: ``(n,)`` in [0, 1].

    """

    name: str
    space: PatchSpace
    theta: Tensor

    def to_hex(self) -> str:
        """Return θ as two hexadecimal digits for each value, 00 … ff."""
        return (self.theta * 255).round().to(torch.uint8).numpy().tobytes().hex()

    @classmethod
    def from_hex(cls, name: str, digits: str) -> Trigger:
        """Return the trigger that :meth:`to_hex` wrote.

        Raises:
            ValueError: no hexadecimal digits, or not those of a square of three channels.

        """
        levels = bytes.fromhex(digits)
        size = math.isqrt(len(levels) // 3)
        if not 1 <= size <= LARGEST or len(levels) != 3 * size * size:
            raise ValueError(f"{len(levels)} values are no square of three channels")
        return cls(name, PatchSpace(size), torch.tensor(list(levels)) / 255)


@dataclass(frozen=True)
class Planted:
    """A trigger that is known to have been planted, and the class it sends images to."""

    trigger: Trigger
    target: int


def parse_space(spec: str) -> PatchSpace:
    """Return the space written ``patch:SIZE``.

    Raises:
        ArgumentError: not of that form, or a size outside 1 to 16.

    Example:
        >>> parse_space("patch:3").dimensions
        27

    """
    match = re.fullmatch(r"patch:(\d{1,3})", spec)
    if not match or not 1 <= int(match[1]) <= LARGEST:
        raise ArgumentError(
            f"--space: expected patch:SIZE with a size from 1 to {LARGEST}, came {spec!r}; "
            f"try patch:3."
        )
    return PatchSpace(int(match[1]))


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
        if (number := int(match[1])) > 511:
            raise ArgumentError(
                f"--trigger: bw:N is nine bits, so N goes from 0 to 511, came {number}."
            )
        bits = torch.tensor([float(bit) for bit in f"{number:09b}"])
        return Trigger(spec, PatchSpace(3), bits.repeat(3))
    if match := re.fullmatch(r"rgb:(\d{1,18})(?:x(\d{1,3}))?", spec):
        space = PatchSpace(int(match[2] or 3))
        if not 1 <= space.size <= LARGEST:
            raise ArgumentError(
                f"--trigger: rgb:SEEDxSIZE takes sizes from 1 to {LARGEST}, came {space.size}."
            )
        levels = torch.randint(
            256, (space.dimensions,), generator=stream(int(match[1]), "trigger", space.size)
        )
        return Trigger(spec, space, levels / 255)
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
    return Trigger(path.name, PatchSpace(height), theta)
