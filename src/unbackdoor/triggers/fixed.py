"""Triggers that always have the same arm, such as a patch in one corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.family import Shape, Space, Weaker


@dataclass(frozen=True)
class At:
    """The triggers of a space that have one arm, such as ``patch:3@28,28``.

    Args:
        space: of the triggers.
        arm: the row of integers that every picture gets.

    """

    space: Space
    arm: tuple[int, ...]

    @property
    def name(self) -> str:
        """``SPACE@ARM``."""
        return f"{self.space.name}@{','.join(map(str, self.arm))}"

    @property
    def description(self) -> str:
        """The triggers of the space, in words."""
        return f"{self.space.description} at one place"

    @property
    def anywhere(self) -> bool:
        """The arm is fixed."""
        return False

    @property
    def moves(self) -> bool:
        """The arm is fixed."""
        return False

    def dimensions(self, shape: Shape) -> int:
        """As many as without the restriction."""
        return self.space.dimensions(shape)

    def arms(self, shape: Shape) -> Tensor:
        """Return the one arm."""
        arm, every = torch.tensor([self.arm]), self.space.arms(shape)
        if not bool((every == arm).all(1).any()):
            most = ",".join(str(int(number)) for number in every.amax(0))
            raise ArgumentError(
                f"{self.name} does not lie within pictures of {shape[2]}×{shape[1]}; take at most "
                f"@{most}."
            )
        return arm

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return the one arm."""
        return self.arms(shape)

    def hides(self, arms: Tensor, shape: Shape) -> Tensor:
        """Return the same as without the restriction."""
        return self.space.hides(arms, shape)

    def library(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """Return none."""
        return torch.empty(0, self.dimensions(shape)), self.coarse_arms(shape)[:0]

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return the same as without the restriction."""
        return self.space.begin(theta, shape)

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Return the one arm for each picture."""
        return self.arms(shape).expand(count, -1)

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures with their triggers."""
        return self.space.apply(images, theta, arms)

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return triggers as small pictures."""
        return self.space.picture(theta, shape)

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return weaker triggers."""
        return self.space.weaken(theta, strength)

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the next weaker triggers, each at its own place."""
        return [
            Weaker(At(space, tuple(a + b for a, b in zip(self.arm, shift, strict=True))), part)
            for space, part, shift in self.space.weaker(theta, shape)
        ]
