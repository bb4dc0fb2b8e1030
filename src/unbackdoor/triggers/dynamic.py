"""Changes that depend on the picture (Nguyen and Tran, *Input-Aware Dynamic Backdoor*, 2020)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.whole import WholePicture

LARGEST = 64
HIDDEN, SIDE = 3, 3
"""Channels between the two convolutions of a generator, and the side of their kernels."""
SHARPNESS = 3.0
"""Largest weight of a generator, in units in which its sums vary by about one."""


@dataclass(frozen=True)
class Dynamic(WholePicture):
    """x + ε tanh(g(x)) for a generator g of two small convolutions, whose weights are θ.

    Args:
        limit: ε, the largest change of a value, of 255.

    """

    limit: int

    @property
    def name(self) -> str:
        """``dynamic:LIMIT``."""
        return f"dynamic:{self.limit}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"change that depends on the picture, up to {self.limit}/255"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.limit

    def with_strength(self, strength: int) -> Dynamic:
        """Return the space with another limit."""
        return replace(self, limit=strength)

    def dimensions(self, shape: Shape) -> int:
        """Two kernels."""
        return 2 * shape[0] * HIDDEN * SIDE * SIDE

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the changed pictures, within [0, 1]."""
        count, channels, height, width = images.shape
        weights = SHARPNESS * (2 * theta.to(images.device) - 1)
        first, second = weights.reshape(count, 2, -1).unbind(1)
        first = first.reshape(count * HIDDEN, channels, SIDE, SIDE) / (channels**0.5 * SIDE)
        second = second.reshape(count * channels, HIDDEN, SIDE, SIDE) / (HIDDEN**0.5 * SIDE)
        x = (4 * images - 2).reshape(1, count * channels, height, width)
        hidden = torch.tanh(functional.conv2d(x, first, padding=1, groups=count))
        change = torch.tanh(functional.conv2d(hidden, second, padding=1, groups=count))
        change = change.reshape(images.shape)
        return (images + self.limit / 255 * change).clamp(0, 1)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the weights; grey is none."""
        return theta.reshape(-1, shape[0], 2 * HIDDEN, SIDE * SIDE)


@dataclass(frozen=True)
class Dynamics:
    """Changes that depend on the picture."""

    name: str = "dynamic"
    usage: str = f"dynamic:LIMIT with a limit of 1 to {LARGEST} of 255"

    def ladder(self, shape: Shape) -> Sequence[Dynamic]:
        """Return weak changes."""
        return [Dynamic(5)]

    def space(self, rung: str) -> Dynamic | None:
        """Return the changes with this limit."""
        fits = re.fullmatch(r"\d{1,2}", rung) and 1 <= int(rung) <= LARGEST
        return Dynamic(int(rung)) if fits else None
