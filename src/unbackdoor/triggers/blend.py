"""Pictures that shine through: (1 − α) x + α p (Chen et al., *Targeted Backdoor Attacks*, 2017)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.whole import FINEST, WholePicture, cells, enlarge

LARGEST = 50


@dataclass(frozen=True)
class Blend(WholePicture):
    """(1 − α) x + α p: θ is the picture p.

    Args:
        percent: α in percent.
        grid: rows and columns of p, enlarged smoothly to the picture; 0 for each pixel.

    """

    percent: int
    grid: int = 0

    @property
    def name(self) -> str:
        """``blend:PERCENT`` or ``blend:PERCENTxGRID``."""
        return f"blend:{self.percent}" + (f"x{self.grid}" if self.grid else "")

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        detail = f"on a grid of {self.grid}×{self.grid}" if self.grid else "pixel by pixel"
        return f"picture blended in at {self.percent} % {detail}"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.percent

    def with_strength(self, strength: int) -> Blend:
        """Return the space with another limit."""
        return replace(self, percent=strength)

    def dimensions(self, shape: Shape) -> int:
        """Channels × rows × columns."""
        rows, columns = cells(self.grid, shape)
        return shape[0] * rows * columns

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures, each with its own blended in."""
        _, channels, height, width = images.shape
        blended = self.picture(theta.to(images.device), (channels, height, width))
        return images.lerp(enlarge(blended, height, width), self.percent / 100)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the pictures that are blended in."""
        return theta.reshape(-1, shape[0], *cells(self.grid, shape))


@dataclass(frozen=True)
class Blends:
    """Blended pictures; the larger α, the more likely a clean network obeys too."""

    name: str = "blend"
    usage: str = f"blend:PERCENT or blend:PERCENTxGRID with 1 to {LARGEST} percent"

    def ladder(self, shape: Shape) -> Sequence[Blend]:
        """Return pictures on a grid; pixel by pixel, additive patterns are as much."""
        return [Blend(10, 16)]

    def space(self, rung: str) -> Blend | None:
        """Return the pictures with this α."""
        match = re.fullmatch(r"(\d{1,2})(?:x(\d{1,2}))?", rung)
        if match is None:
            return None
        percent, grid = int(match[1]), int(match[2] or 0)
        valid = 1 <= percent <= LARGEST and (match[2] is None or 1 <= grid <= FINEST)
        return Blend(percent, grid) if valid else None
