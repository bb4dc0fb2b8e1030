"""What a trigger space is: how parameters θ in [0, 1]^n change a picture."""

from __future__ import annotations

from typing import Protocol

from torch import Generator, Tensor


class TriggerSpace(Protocol):
    """A family of triggers, one for each θ ∈ [0, 1]^n."""

    @property
    def name(self) -> str:
        """How the space is written on the command line, such as ``patch:3``."""
        ...

    @property
    def dimensions(self) -> int:
        """n, the number of parameters of one trigger."""
        ...

    def places(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Draw where each of ``count`` pictures of ``shape`` gets its trigger, ``(count, k)``."""
        ...

    def stamp(self, images: Tensor, theta: Tensor, places: Tensor) -> Tensor:
        """Return the pictures with their triggers, differentiable in θ.

        Args:
            images: ``(B, channels, height, width)`` in [0, 1]; not changed.
            theta: ``(B, n)`` in [0, 1], one trigger for each picture.
            places: ``(B, k)`` from :meth:`places`.

        """
        ...

    def picture(self, theta: Tensor) -> Tensor:
        """Return triggers ``(B, n)`` as small pictures ``(B, channels, height, width)``."""
        ...
