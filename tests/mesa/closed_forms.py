"""Testing functions whose level sets have a known volume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

STEEPNESS = 8.0


@dataclass(frozen=True)
class HalfSpace:
    """F(θ) = σ(8 (Σ θ − offset)); the volume of {Σ θ ≥ s} is Irwin and Hall's."""

    dimensions: int
    offset: float

    def __call__(self, theta: Tensor) -> Tensor:
        return torch.sigmoid(STEEPNESS * (theta.sum(1) - self.offset))

    def log_volume(self, beta: float) -> float:
        # {Σ θ ≥ s} mirrors {Σ θ ≤ n − s}, whose alternating sum is short and stable
        rest = self.dimensions - self.offset - math.log(beta / (1 - beta)) / STEEPNESS
        terms = [
            (-1) ** k * math.comb(self.dimensions, k) * (rest - k) ** self.dimensions
            for k in range(math.floor(rest) + 1)
        ]
        return math.log(math.fsum(terms) / math.factorial(self.dimensions))


@dataclass(frozen=True)
class Ball:
    """F(θ) = σ(scale · (radius² − |θ − ½|²)); for β = ½ the level set is a ball inside the cube."""

    dimensions: int
    radius: float
    scale: float = 60.0

    def __call__(self, theta: Tensor) -> Tensor:
        return torch.sigmoid(self.scale * (self.radius**2 - (theta - 0.5).square().sum(1)))

    def log_volume(self, beta: float) -> float:
        squared = self.radius**2 - math.log(beta / (1 - beta)) / self.scale
        half = self.dimensions / 2
        return half * math.log(math.pi) - math.lgamma(half + 1) + half * math.log(squared)


@dataclass(frozen=True)
class Box:
    """F(θ) = σ(scale · min(θ − low)); the level set is a box in the upper corner."""

    dimensions: int
    low: float
    scale: float = 40.0

    def __call__(self, theta: Tensor) -> Tensor:
        return torch.sigmoid(self.scale * (theta.amin(1) - self.low))

    def log_volume(self, beta: float) -> float:
        return self.dimensions * math.log(1 - self.low - math.log(beta / (1 - beta)) / self.scale)


@dataclass(frozen=True)
class TwoCorners:
    """Two half-spaces' corners, {Σ θ ≥ n − c} and {Σ θ ≤ c}: two modes of equal volume."""

    dimensions: int
    cut: float

    def __call__(self, theta: Tensor) -> Tensor:
        distance = (theta.sum(1) - self.dimensions / 2).abs()
        return torch.sigmoid(STEEPNESS * (distance - self.dimensions / 2 + self.cut))

    def log_volume(self, beta: float) -> float:
        one = HalfSpace(self.dimensions, self.dimensions - self.cut).log_volume(beta)
        return one + math.log(2)
