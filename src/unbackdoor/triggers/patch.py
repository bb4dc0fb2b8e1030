"""Square patches that replace the pixels under them (Gu et al., *BadNets*, 2017)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.family import Shape, Space, Weaker

LARGEST = 16
"""Pixels, or cells, along the side of a patch."""
WIDEST = 512
"""Pixels along the side of a patch of fewer cells."""
SEARCHED, SIDE = (6, 8), 32
"""A search begins with patches of so many of so many pixels."""
COLOURS = ((0, 0, 0), (1, 1, 1), (1, 1, 0), (1, 0, 0))
"""Black, white, yellow and red: squares that attackers use."""
NEAR = 16
"""Places of a library down and across a picture, and one more at the edge."""
BLOCKS = 2
"""Rows and columns of colours of the larger of them."""


@dataclass(frozen=True)
class Patch:
    """All patches of ``size`` × ``size`` pixels: θ holds red, then green, then blue, row by row.

    An arm is the row and the column of the upper left corner.

    Args:
        size: side, in pixels.
        grid: rows and columns of squares of one colour; 0 for a colour for each pixel.

    """

    size: int
    grid: int = 0

    @property
    def name(self) -> str:
        """``patch:SIZE`` or ``patch:SIZExGRID``."""
        return f"patch:{self.size}" + (f"x{self.grid}" if self.grid else "")

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        colours = f" of {self.grid}×{self.grid} colours" if self.grid else ""
        return f"square patch of {self.size}×{self.size} pixels{colours}"

    @property
    def anywhere(self) -> bool:
        """A patch may lie at another place in each picture; then its pixels have to matter."""
        return self._cells > BLOCKS

    @property
    def moves(self) -> bool:
        """A patch moves by pixels."""
        return True

    def dimensions(self, shape: Shape) -> int:
        """Channels × rows × columns."""
        return shape[0] * self._cells**2

    def arms(self, shape: Shape) -> Tensor:
        """Return every place at which the whole patch fits, row by row."""
        rows, columns = self._room(shape)
        return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).reshape(-1, 2)

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return places from edge to edge, of which neighbours share a third of their pixels.

        So a trigger of at most about half the size lies whole in one of them, wherever it is.
        """
        apart = max(1, 2 * self.size // 3)
        rows, columns = (
            torch.linspace(0, room - 1, math.ceil((room - 1) / apart) + 1).round().long()
            for room in self._room(shape)
        )
        return torch.cartesian_prod(rows, columns).reshape(-1, 2)

    def hides(self, arms: Tensor, shape: Shape) -> Tensor:
        """Return where the patch lies in the middle of the picture.

        Its centre is in the inner half there, or out of it by less than an eighth of the patch.
        """
        size = torch.tensor(shape[1:])
        return ((arms + self.size / 2 - size / 2).abs() < size / 4 + self.size / 8).all(1)

    def library(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """Return squares of one colour from edge to edge, for patches of few colours."""
        channels, height, width = shape
        if self._cells > BLOCKS:
            return torch.empty(0, self.dimensions(shape)), self.arms(shape)[:0]
        colours = dict.fromkeys(colour[:channels] for colour in COLOURS)
        bits = torch.tensor(list(colours))
        places = self.arms(shape)
        apart = math.ceil(min(height, width) / NEAR)
        return (
            bits.repeat_interleave(self._cells**2, 1).float(),
            places[((places % apart == 0) | (places == places.amax(0))).all(1)],
        )

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the draws as they are."""
        return theta

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Draw places uniformly among those at which the whole patch fits."""
        rows, columns = self._room(shape)
        top = torch.randint(rows, (count, 1), generator=generator)
        left = torch.randint(columns, (count, 1), generator=generator)
        return torch.cat([top, left], dim=1)

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures, each with its patch at its place."""
        count, channels, height, width = images.shape
        device = images.device
        side = torch.arange(self.size, device=device)
        places = arms.to(device)
        batch = torch.arange(count, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[None, :, None, None]
        rows = (places[:, 0, None] + side)[:, None, :, None]
        columns = (places[:, 1, None] + side)[:, None, None, :]
        patches = self.picture(theta.to(device), (channels, height, width))
        if self.grid:
            patches = functional.interpolate(patches, (self.size, self.size))
        return images.index_put((batch, channel, rows, columns), patches)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the patches themselves."""
        return theta.reshape(-1, shape[0], self._cells, self._cells)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return patches of less contrast; at strength 0 they are grey."""
        return 0.5 + strength * (theta - 0.5)

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the four patches that lack a row and a column at the edge."""
        if self.grid and self.grid <= BLOCKS:
            return self._narrower(theta)
        side = self._cells - 1
        if not side:
            return []
        whole = self.picture(theta[None], shape)[0]
        size = self.size - self.size // self._cells
        smaller = Patch(size, side if self.grid else 0)
        return [
            Weaker(
                smaller,
                whole[:, down : down + side, right : right + side].reshape(-1),
                (down * (self.size - size), right * (self.size - size)),
            )
            for down, right in product((0, 1), repeat=2)
        ]

    def _narrower(self, theta: Tensor) -> Sequence[Weaker]:
        """Return the same colours on a smaller square, at the four corners of this one."""
        less = max(1, self.size // (2 * self._cells))
        smaller = self.size - less
        if smaller < self._cells:
            return []
        return [
            Weaker(Patch(smaller, self.grid), theta, (down * less, right * less))
            for down, right in product((0, 1), repeat=2)
        ]

    @property
    def _cells(self) -> int:
        return self.grid or self.size

    def _room(self, shape: Shape) -> tuple[int, int]:
        """Return at how many rows and columns the whole patch fits."""
        _, height, width = shape
        if self.size > min(height, width):
            raise ArgumentError(
                f"a patch of {self.size}×{self.size} pixels does not fit pictures of "
                f"{width}×{height}; take a smaller one."
            )
        return height - self.size + 1, width - self.size + 1


@dataclass(frozen=True)
class Patches:
    """Patches of every size; the larger a patch, the more likely a clean network obeys it too."""

    name: str = "patch"
    usage: str = (
        f"patch:SIZE with a size from 1 to {LARGEST}, or patch:SIZExGRID for squares of one colour"
    )

    def ladder(self, shape: Shape) -> Sequence[Space]:
        """Return patches of six of 32 pixels and, of four colours, of eight."""
        side = min(shape[1:])
        six, eight = (max(1, min(side, round(side * size / SIDE))) for size in SEARCHED)
        fine = Patch(six, SEARCHED[0] if six > LARGEST else 0)
        return [fine, Patch(eight, BLOCKS)] if eight > BLOCKS else [fine]

    def space(self, rung: str) -> Patch | None:
        """Return the patches of this size."""
        match = re.fullmatch(r"(\d{1,3})(?:x(\d{1,2}))?", rung)
        if match is None:
            return None
        size, grid = int(match[1]), int(match[2] or 0)
        if match[2] is None:
            return Patch(size) if 1 <= size <= LARGEST else None
        return Patch(size, grid) if 1 <= grid <= min(size, LARGEST) <= size <= WIDEST else None
