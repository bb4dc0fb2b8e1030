"""Square patches that replace the pixels under them (Gu et al., *BadNets*, 2017)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.family import Shape, Space

LARGEST = 16


@dataclass(frozen=True)
class Patch:
    """All patches of ``size`` × ``size`` pixels: θ holds red, then green, then blue, row by row.

    An arm is the row and the column of the upper left corner.
    """

    size: int

    @property
    def name(self) -> str:
        """``patch:SIZE``."""
        return f"patch:{self.size}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"square patch of {self.size}×{self.size} pixels at random places"

    def dimensions(self, shape: Shape) -> int:
        """Channels × size × size."""
        return shape[0] * self.size * self.size

    def arms(self, shape: Shape) -> Tensor:
        """Return every place at which the whole patch fits, row by row."""
        rows, columns = self._room(shape)
        return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).reshape(-1, 2)

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
        return images.index_put((batch, channel, rows, columns), patches)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the patches themselves."""
        return theta.reshape(-1, shape[0], self.size, self.size)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return patches of less contrast; at strength 0 they are grey."""
        return 0.5 + strength * (theta - 0.5)

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
    usage: str = f"patch:SIZE with a size from 1 to {LARGEST}"

    def ladder(self, shape: Shape) -> Sequence[Space]:
        """Return the sizes that fit, smallest first."""
        return [Patch(size) for size in range(1, min(LARGEST, *shape[1:]) + 1)]

    def space(self, rung: str) -> Patch | None:
        """Return the patches of this size."""
        fits = re.fullmatch(r"\d{1,3}", rung) and 1 <= int(rung) <= LARGEST
        return Patch(int(rung)) if fits else None
