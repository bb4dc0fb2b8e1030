"""Colour filters: an affine map of the colours, then a gamma (Liu et al., *ABS*, CCS 2019)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unbackdoor.triggers.family import Shape, Weaker
from unbackdoor.triggers.whole import LESS, WholePicture

LARGEST = 90
WIDEST = 30
"""Bound of the coefficients, in percent, where it is the change of the picture that is limited."""
DARKEST = 1e-3
"""Values below it count as it under a gamma, whose slope at 0 has no bound."""
TINY = 1e-12
"""Mean square of a change below which its root has too steep a slope."""


@dataclass(frozen=True)
class Filter(WholePicture):
    """clamp((I + A) x + b)^γ with entries of A, b and log γ within ± ``percent`` / 100.

    θ holds, for each colour, its row of A, its entry of b, and its γ.
    """

    percent: int

    @property
    def name(self) -> str:
        """``filter:PERCENT``."""
        return f"filter:{self.percent}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"colour filter with coefficients within {self.percent} % of the identity"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.percent

    def with_strength(self, strength: int) -> Filter:
        """Return the space with another limit."""
        return replace(self, percent=strength)

    def dimensions(self, shape: Shape) -> int:
        """Channels × (channels + 2)."""
        return shape[0] * (shape[0] + 2)

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the filtered pictures."""
        _, channels, height, width = images.shape
        by = self.picture(theta.to(images.device), (channels, height, width))[:, :, 0]
        by = self.percent / 100 * (2 * by - 1)
        mix = torch.eye(channels, device=images.device) + by[:, :, :channels]
        mixed = torch.einsum("boc,bchw->bohw", mix, images)
        mixed = mixed + by[:, :, channels, None, None]
        gamma = by[:, :, channels + 1, None, None].exp()
        return mixed.clamp(DARKEST, 1) ** gamma

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return a row of coefficients for each colour; grey is the identity."""
        return theta.reshape(-1, shape[0], 1, shape[0] + 2)


@dataclass(frozen=True)
class Tint(WholePicture):
    """x + min(1, ε / r) (f(x) − x), where r is the root mean square of f(x) − x.

    f is a filter with coefficients within :data:`WIDEST` percent. Filters of like coefficients
    change a picture by very different amounts; here the amount itself is limited.

    Args:
        change: ε, of 255.

    """

    change: int

    @property
    def name(self) -> str:
        """``filter:CHANGErms``."""
        return f"filter:{self.change}rms"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"colour filter that changes a picture by up to {self.change}/255 (root mean square)"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.change

    def with_strength(self, strength: int) -> Tint:
        """Return the space with another limit."""
        return replace(self, change=strength)

    def dimensions(self, shape: Shape) -> int:
        """Channels × (channels + 2)."""
        return Filter(WIDEST).dimensions(shape)

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures, mixed with their filtered ones where these differ too much."""
        by = Filter(WIDEST).apply(images, theta, arms) - images
        change = (by.square().mean((1, 2, 3), keepdim=True) + TINY).sqrt()
        return images + (self.change / 255 / change).clamp(max=1) * by

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return a row of coefficients for each colour; grey is the identity."""
        return Filter(WIDEST).picture(theta, shape)

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the same filter, of which more of the picture is left."""
        less = int(LESS * self.change)
        return [Weaker(self.with_strength(less), theta)] if less else []


@dataclass(frozen=True)
class Filters:
    """Colour filters; the more they change, the more likely a clean network obeys too."""

    name: str = "filter"
    usage: str = f"filter:PERCENT or filter:CHANGErms with 1 to {LARGEST} percent or of 255"

    def ladder(self, shape: Shape) -> Sequence[Tint]:
        """Return filters that change a picture by a limited amount."""
        return [Tint(48)]

    def space(self, rung: str) -> Filter | Tint | None:
        """Return the filters within this bound."""
        match = re.fullmatch(r"(\d{1,2})(rms)?", rung)
        if not match or not 1 <= int(match[1]) <= LARGEST:
            return None
        return Tint(int(match[1])) if match[2] else Filter(int(match[1]))
