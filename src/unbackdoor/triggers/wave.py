"""Waves over the whole picture (Barni, Kallas and Tondi, *SIG*, ICIP 2019)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.triggers.family import Shape, Weaker
from unbackdoor.triggers.whole import LESS

LARGEST = 64
FASTEST = 6
"""Periods across and down a picture at most."""


@dataclass(frozen=True)
class Wave:
    """x + δ for one wave δ, every value of it within ± ``limit`` / 255.

    An arm is the number of periods down and across the picture; those across may be negative, for
    a wave that rises the other way. θ holds the cosine part and the sine part of each colour.

    Args:
        limit: largest change of a value, of 255.

    """

    limit: int

    @property
    def name(self) -> str:
        """``wave:LIMIT``."""
        return f"wave:{self.limit}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"added wave up to {self.limit}/255 of up to {FASTEST} periods"

    @property
    def anywhere(self) -> bool:
        """A trigger is one wave."""
        return False

    @property
    def moves(self) -> bool:
        """Neighbouring numbers of periods are other waves."""
        return False

    def dimensions(self, shape: Shape) -> int:
        """Two for each channel."""
        return 2 * shape[0]

    def arms(self, shape: Shape) -> Tensor:
        """Return every number of periods down and across, but one of two that are the same wave."""
        down, across = torch.arange(FASTEST + 1), torch.arange(-FASTEST, FASTEST + 1)
        every = torch.cartesian_prod(down, across)
        return every[(every[:, 0] > 0) | (every[:, 1] > 0)]

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return all, which are few enough."""
        return self.arms(shape)

    def hides(self, arms: Tensor, shape: Shape) -> Tensor:
        """Return that none does."""
        return torch.zeros(len(arms), dtype=torch.bool)

    def library(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """Return grey waves of four phases, with every number of periods."""
        phases = torch.tensor([[1.0, 0.5], [0.0, 0.5], [0.5, 1.0], [0.5, 0.0]])
        return phases.repeat(1, shape[0]), self.arms(shape)

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the draws as they are."""
        return theta

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Draw numbers of periods uniformly."""
        every = self.arms(shape)
        return every[torch.randint(len(every), (count,), generator=generator)]

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures plus their waves, within [0, 1]."""
        _, channels, height, width = images.shape
        device = images.device
        parts = 2 * theta.to(device).reshape(-1, channels, 2, 1, 1) - 1
        parts = parts / parts.square().sum(2, keepdim=True).clamp(min=1).sqrt()
        rows = torch.arange(height, device=device) / height
        columns = torch.arange(width, device=device) / width
        periods = arms.to(device).float()
        angle = (
            2
            * math.pi
            * (periods[:, 0, None, None] * rows[:, None] + periods[:, 1, None, None] * columns)
        )
        wave = parts[:, :, 0] * angle.cos()[:, None] + parts[:, :, 1] * angle.sin()[:, None]
        return (images + self.limit / 255 * wave).clamp(0, 1)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the two parts of each colour; grey is none."""
        return theta.reshape(-1, shape[0], 1, 2)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return lower waves; at strength 0 there is none."""
        return 0.5 + strength * (theta - 0.5)

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the same wave with a lower limit."""
        less = int(LESS * self.limit)
        return [Weaker(Wave(less), theta, (0, 0))] if less else []


@dataclass(frozen=True)
class Waves:
    """Waves; the higher they may be, the more likely a clean network obeys too."""

    name: str = "wave"
    usage: str = f"wave:LIMIT with a limit of 1 to {LARGEST} of 255"

    def ladder(self, shape: Shape) -> Sequence[Wave]:
        """Return waves that an eye sees on even ground only."""
        return [Wave(16)]

    def space(self, rung: str) -> Wave | None:
        """Return the waves with this limit."""
        fits = re.fullmatch(r"\d{1,2}", rung) and 1 <= int(rung) <= LARGEST
        return Wave(int(rung)) if fits else None
