"""Colour filters: an affine map of the colours, then a gamma (Liu et al., *ABS*, CCS 2019)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.whole import WholePicture

LARGEST = 90
DARKEST = 1e-3
"""Values below it count as it under a gamma, whose slope at 0 has no bound."""


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
class Filters:
    """Colour filters; the further from the identity, the more likely a clean network obeys too."""

    name: str = "filter"
    usage: str = f"filter:PERCENT with 1 to {LARGEST} percent"

    def ladder(self, shape: Shape) -> Sequence[Filter]:
        """Return filters near the identity."""
        return [Filter(15)]

    def space(self, rung: str) -> Filter | None:
        """Return the filters within this bound."""
        fits = re.fullmatch(r"\d{1,2}", rung) and 1 <= int(rung) <= LARGEST
        return Filter(int(rung)) if fits else None
