"""What an operator knows beside its inputs, and the bounds that it has to keep to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

LARGEST_VALUES = 1 << 26
"""Numbers that are alive at once, for one image: 256 MiB."""
MOST_KEPT = 3 << 26
"""Numbers that a gradient may need of one image: 768 MiB."""
MOST_WORK = 1 << 36
"""Multiplications for one image; the largest vision transformers in use take some 2³⁶."""

LARGEST_GROWTH, SMALLEST_BOUND = 2048, 1 << 22
"""By how much the numbers that are alive may outgrow those of the picture, and what any may take:
16 MiB."""

Attributes = Mapping[str, Any]


class TooMuch(ValueError):  # noqa: N818  the graph's reader makes the sentence
    """A graph takes more memory or time than any classifier of such pictures."""


@dataclass
class Context:
    """What an operator knows beside its inputs, and the bounds that it has to keep to.

    Args:
        opset: version of the operators.
        batch: images that run.
        exported: images that the file was exported for; None for any number.
        precision: of the images, and so of every floating value.
        dry: whether products are blank, so that a graph is measured before it is run.
        picture: numbers of one image.

    """

    opset: int
    batch: int
    exported: int | None
    precision: torch.dtype = torch.float32
    dry: bool = False
    picture: int = LARGEST_VALUES
    live: int = 0
    peak: int = 0
    kept: int = 0
    work: int = 0

    def precise(self, value: Tensor) -> Tensor:
        """Return a floating value in the precision of the images, and any other as it is."""
        return value.to(self.precision) if value.is_floating_point() else value

    def room(self, shape: Sequence[int]) -> None:
        """Raise unless a value of this shape is small enough, before it is made."""
        bound = min(max(LARGEST_GROWTH * self.picture, SMALLEST_BOUND), LARGEST_VALUES)
        if self.live + math.prod(shape) > bound * max(self.batch, 1):
            raise TooMuch(f"a value of shape {tuple(shape)} would take too much memory")

    def take(self, count: int, *, kept: bool) -> None:
        """Count the numbers of a value, and raise where a gradient would keep too many of them."""
        self.live += count
        self.peak = max(self.peak, self.live)
        self.kept += count if kept else 0
        if self.kept > MOST_KEPT * max(self.batch, 1):
            raise TooMuch("its values together would take too much memory for a gradient")

    def multiply(self, count: int) -> None:
        """Raise unless so many more multiplications are few enough."""
        self.work += count
        if self.work > MOST_WORK * max(self.batch, 1):
            raise TooMuch("it takes more multiplications than any classifier of pictures")

    def blank(self, like: Tensor, shape: Sequence[int]) -> Tensor:
        """Return a value of this shape that takes neither memory nor time."""
        return like.new_zeros(()).expand(tuple(shape))

    def rebatched(self, sizes: list[int]) -> list[int]:
        """Adapt target sizes from the exported number of images to the present one."""
        if self.exported and sizes and sizes[0] == self.exported:
            return [self.batch, *sizes[1:]]
        return sizes


def integers(value: Any) -> list[int]:
    """Return a tensor of one axis, or a row of numbers, as a list."""
    items = cast("list[Any]", value.reshape(-1).tolist() if isinstance(value, Tensor) else value)
    return [int(item) for item in items]


def common(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that values of these shapes are broadcast to."""
    return cast("tuple[int, ...]", torch.broadcast_shapes(*map(tuple, shapes)))
