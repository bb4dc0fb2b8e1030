"""Patterns that are added to the whole picture: waves, watermarks, noise (Barni et al., 2019)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.whole import FINEST, WholePicture, cells, enlarge

LARGEST = 64


@dataclass(frozen=True)
class Additive(WholePicture):
    """x + δ, each value of δ within ± ``limit`` / 255: θ holds δ from lower to upper limit.

    Args:
        limit: largest change of a value, of 255.
        grid: rows and columns of values, enlarged smoothly to the picture; 0 for each pixel.

    """

    limit: int
    grid: int = 0

    @property
    def name(self) -> str:
        """``additive:LIMIT`` or ``additive:LIMITxGRID``."""
        return f"additive:{self.limit}" + (f"x{self.grid}" if self.grid else "")

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        detail = f"on a grid of {self.grid}×{self.grid}" if self.grid else "pixel by pixel"
        return f"additive pattern up to {self.limit}/255 {detail}"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.limit

    def with_strength(self, strength: int) -> Additive:
        """Return the space with another limit."""
        return replace(self, limit=strength)

    def dimensions(self, shape: Shape) -> int:
        """Channels × rows × columns."""
        rows, columns = cells(self.grid, shape)
        return shape[0] * rows * columns

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures plus their patterns, within [0, 1]."""
        _, channels, height, width = images.shape
        pattern = self.picture(theta.to(images.device), (channels, height, width))
        change = self.limit / 255 * (2 * enlarge(pattern, height, width) - 1)
        return (images + change).clamp(0, 1)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the patterns; grey changes nothing."""
        return theta.reshape(-1, shape[0], *cells(self.grid, shape))


@dataclass(frozen=True)
class Additives:
    """Added patterns; the stronger they may be, the more likely a clean network obeys too."""

    name: str = "additive"
    usage: str = f"additive:LIMIT or additive:LIMITxGRID with a limit of 1 to {LARGEST} of 255"

    def ladder(self, shape: Shape) -> Sequence[Additive]:
        """Return weak patterns pixel by pixel, and stronger ones on a grid."""
        return [Additive(4), Additive(16, 16)]

    def space(self, rung: str) -> Additive | None:
        """Return the patterns with this limit."""
        match = re.fullmatch(r"(\d{1,2})(?:x(\d{1,2}))?", rung)
        if match is None:
            return None
        limit, grid = int(match[1]), int(match[2] or 0)
        valid = 1 <= limit <= LARGEST and (match[2] is None or 1 <= grid <= FINEST)
        return Additive(limit, grid) if valid else None
