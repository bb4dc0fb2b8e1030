"""What spaces share whose triggers change the whole picture: they leave no choice of a place."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.triggers.family import Shape


class WholePicture:
    """A space with one arm, an empty row."""

    def arms(self, shape: Shape) -> Tensor:
        """Return the only arm, ``(1, 0)``."""
        return torch.empty(1, 0, dtype=torch.int64)

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return the only arm, ``(1, 0)``."""
        return self.arms(shape)

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Return the only arm for each picture, ``(count, 0)``."""
        return torch.empty(count, 0, dtype=torch.int64)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return triggers with values nearer to the middle, which changes little."""
        return 0.5 + strength * (theta - 0.5)


def enlarge(pattern: Tensor, height: int, width: int) -> Tensor:
    """Return patterns ``(B, C, rows, columns)`` smoothly enlarged to ``(B, C, height, width)``."""
    if pattern.shape[2:] == (height, width):
        return pattern
    return functional.interpolate(pattern, (height, width), mode="bilinear", align_corners=False)


def cells(grid: int, shape: Shape) -> tuple[int, int]:
    """Return the rows and columns of a pattern: ``grid`` of each, or a value per pixel for 0."""
    _, height, width = shape
    return (min(grid, height), min(grid, width)) if grid else (height, width)
