"""A mask and a pattern under it (Wang et al., *Neural Cleanse*, S&P 2019).

Neural Cleanse charges a price for the mask, and adapts the price until the trigger just works. Here
the mask has a budget instead: its mean over the picture is at most a few percent. By duality this
is the same search, and the budget says how little is enough.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unbackdoor.triggers.family import Shape, Weaker
from unbackdoor.triggers.whole import LESS, WholePicture, cells, enlarge

FINEST = 32
"""Rows and columns of a mask at most, so that θ stays small for large pictures."""


@dataclass(frozen=True)
class Mask(WholePicture):
    """(1 − m) x + m p: θ holds the mask m, then the channels of the pattern p.

    Args:
        percent: largest mean of the mask, in percent.

    """

    percent: int

    @property
    def name(self) -> str:
        """``mask:PERCENT``."""
        return f"mask:{self.percent}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"masked pattern over at most {self.percent} % of the picture"

    @property
    def strength(self) -> int:
        """The limit."""
        return self.percent

    def with_strength(self, strength: int) -> Mask:
        """Return the space with another limit."""
        return replace(self, percent=strength)

    def dimensions(self, shape: Shape) -> int:
        """(1 + channels) × rows × columns."""
        rows, columns = cells(FINEST, shape)
        return (1 + shape[0]) * rows * columns

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the draws with masks whose mean is at most about the budget.

        A mask that begins far above it is scaled down as a whole. All of its pixels would have to
        vanish before a few can cover the picture, which takes far more steps than a search has.
        """
        both = self.picture(theta, shape)
        mask = both[:, :1] * min(1.0, 2 * self.percent / 100)
        return torch.cat([mask, both[:, 1:]], 1).flatten(1)

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures with their patterns where their masks are."""
        _, channels, height, width = images.shape
        both = self.picture(theta.to(images.device), (channels, height, width))
        raw = both[:, :1]
        budget = self.percent / 100
        mean = raw.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
        mask = enlarge(raw * (budget / mean).clamp(max=1), height, width)
        return images + mask * (enlarge(both[:, 1:], height, width) - images)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the mask as the first channel, and the pattern as the others."""
        return theta.reshape(-1, 1 + shape[0], *cells(FINEST, shape))

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the same mask and pattern, with a smaller budget."""
        less = int(LESS * self.percent)
        return [Weaker(self.with_strength(less), theta)] if less else []


@dataclass(frozen=True)
class Masks:
    """Masked patterns; the larger the mask, the more likely a clean network obeys too."""

    name: str = "mask"
    usage: str = "mask:PERCENT with 1 to 100 percent of the picture"

    def ladder(self, shape: Shape) -> Sequence[Mask]:
        """Return one small budget."""
        return [Mask(2)]

    def space(self, rung: str) -> Mask | None:
        """Return the masks with this budget."""
        fits = re.fullmatch(r"\d{1,3}", rung) and 1 <= int(rung) <= 100
        return Mask(int(rung)) if fits else None
