"""What spaces share whose triggers change the whole picture: they leave no choice of a place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.triggers.family import Shape, Space, Weaker

FINEST = 64
"""Rows and columns of a pattern at most."""
LESS = 0.72
"""Share of the strength of a space that the next weaker one has."""


class WholePicture(ABC):
    """A space with one arm, an empty row, whose strength is a whole number."""

    @abstractmethod
    def dimensions(self, shape: Shape) -> int:
        """Return n, the number of parameters of one trigger for pictures of this shape."""

    @property
    @abstractmethod
    def strength(self) -> int:
        """The limit of the changes, in the unit of the space."""

    @abstractmethod
    def with_strength(self, strength: int) -> Space:
        """Return the space of the same kind with another limit."""

    @property
    def anywhere(self) -> bool:
        """There is one arm."""
        return False

    @property
    def moves(self) -> bool:
        """There is one arm."""
        return False

    def arms(self, shape: Shape) -> Tensor:
        """Return the only arm, ``(1, 0)``."""
        return torch.empty(1, 0, dtype=torch.int64)

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return the only arm, ``(1, 0)``."""
        return self.arms(shape)

    def hides(self, arms: Tensor, shape: Shape) -> Tensor:
        """Return that none does."""
        return torch.zeros(len(arms), dtype=torch.bool)

    def library(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """Return none."""
        return torch.empty(0, self.dimensions(shape)), self.coarse_arms(shape)[:0]

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the draws as they are."""
        return theta

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Return the only arm for each picture, ``(count, 0)``."""
        return torch.empty(count, 0, dtype=torch.int64)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return triggers with values nearer to the middle, which changes little."""
        return 0.5 + strength * (theta - 0.5)

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the trigger as it is where the weaker space allows it, else at its limit."""
        less = int(LESS * self.strength)
        if not less:
            return []
        nearer = (0.5 + (theta - 0.5) * self.strength / less).clamp(0, 1)
        return [Weaker(self.with_strength(less), nearer)]


def enlarge(pattern: Tensor, height: int, width: int) -> Tensor:
    """Return patterns ``(B, C, rows, columns)`` smoothly enlarged to ``(B, C, height, width)``."""
    if pattern.shape[2:] == (height, width):
        return pattern
    return functional.interpolate(pattern, (height, width), mode="bilinear", align_corners=False)


def cells(grid: int, shape: Shape) -> tuple[int, int]:
    """Return the rows and columns of a pattern: ``grid`` of each, or a value per pixel for 0.

    A picture of more than :data:`FINEST` pixels across or down gets so many.
    """
    most = grid or FINEST
    return min(most, shape[1]), min(most, shape[2])
