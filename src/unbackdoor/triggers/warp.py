"""Elastic warps of the whole picture (Nguyen and Tran, *WaNet*, ICLR 2021)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.whole import WholePicture

SIDE = 32
"""Side of the pictures whose pixels the limit counts; larger pictures are moved in proportion."""
FINEST = 8
LARGEST = 8


@dataclass(frozen=True)
class Warp(WholePicture):
    """Every pixel is read from a place up to ``limit`` pixels away: θ holds the shifts of a grid.

    Args:
        limit: largest shift down and to the right, in pixels of a picture of 32×32.
        grid: rows and columns of shifts, enlarged smoothly (bicubic) to the picture.

    """

    limit: int
    grid: int = 4

    @property
    def name(self) -> str:
        """``warp:LIMITxGRID``."""
        return f"warp:{self.limit}x{self.grid}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        grid = f"on a grid of {self.grid}×{self.grid}"
        return f"elastic warp up to {self.limit} of {SIDE} pixels {grid}"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.limit

    def with_strength(self, strength: int) -> Warp:
        """Return the space with another limit."""
        return replace(self, limit=strength)

    def dimensions(self, shape: Shape) -> int:
        """2 × rows × columns."""
        return 2 * self.grid * self.grid

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the warped pictures."""
        _, channels, height, width = images.shape
        shifts = self.picture(theta.to(images.device), (channels, height, width))
        flow = functional.interpolate(
            2 * shifts - 1, (height, width), mode="bicubic", align_corners=True
        )
        flow = flow.permute(0, 2, 3, 1).flip(3) * (2 * self.limit / SIDE)
        rows = torch.linspace(-1, 1, height, device=images.device)
        columns = torch.linspace(-1, 1, width, device=images.device)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return functional.grid_sample(
            images, torch.stack([x, y], 2) + flow, padding_mode="border", align_corners=True
        )

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the shifts down and to the right, as two channels; grey is no shift."""
        return theta.reshape(-1, 2, self.grid, self.grid)


@dataclass(frozen=True)
class Warps:
    """Elastic warps; the further they move, the more likely a clean network obeys too."""

    name: str = "warp"
    usage: str = f"warp:LIMIT or warp:LIMITxGRID with a limit of 1 to {LARGEST} pixels of {SIDE}"

    def ladder(self, shape: Shape) -> Sequence[Warp]:
        """Return warps that an eye hardly notices, on the grid of the literature."""
        return [Warp(2)]

    def space(self, rung: str) -> Warp | None:
        """Return the warps with this limit."""
        match = re.fullmatch(r"(\d)(?:x(\d))?", rung)
        if match is None:
            return None
        limit, grid = int(match[1]), int(match[2] or 4)
        return Warp(limit, grid) if 1 <= limit <= LARGEST and 2 <= grid <= FINEST else None
