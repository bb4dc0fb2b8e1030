"""The contract of triggers: a family is a ladder of spaces of the same kind, weak to strong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Generator, Tensor

Shape = tuple[int, int, int]
"""Channels, height and width of a picture."""


class Weaker(NamedTuple):
    """A trigger of the next weaker space that is as much of another one as fits.

    Args:
        space: the weaker space.
        theta: ``(n,)`` in [0, 1].
        shift: what is added to the arm.

    """

    space: Space
    theta: Tensor
    shift: tuple[int, ...] = ()


class Space(Protocol):
    """All triggers of one kind and strength: one for each θ ∈ [0, 1]^n and each arm.

    An *arm* is a choice without a gradient, such as the place of a patch: a row of k integers. A
    trigger at random places has another arm for each picture, a trigger at a fixed place always has
    the same.
    """

    @property
    def name(self) -> str:
        """How the space is written on the command line, such as ``patch:3``."""
        ...

    @property
    def description(self) -> str:
        """The triggers of the space in words, to fit into the sentence "No … was found"."""
        ...

    @property
    def anywhere(self) -> bool:
        """Whether a trigger with another arm in each picture is one to look for as well."""
        ...

    @property
    def moves(self) -> bool:
        """Whether its arms are places, so that neighbouring ones are alike."""
        ...

    def dimensions(self, shape: Shape) -> int:
        """Return n, the number of parameters of one trigger for pictures of this shape."""
        ...

    def arms(self, shape: Shape) -> Tensor:
        """Return every arm, ``(a, k)`` int64.

        Raises:
            ArgumentError: pictures of this shape have none.

        """
        ...

    def coarse_arms(self, shape: Shape) -> Tensor:
        """Return the arms with which a search begins, ``(a, k)`` int64: few, and everywhere.

        Raises:
            ArgumentError: pictures of this shape have none.

        """
        ...

    def hides(self, arms: Tensor, shape: Shape) -> Tensor:
        """Return at which arms ``(a, k)`` a trigger hides what the picture shows, ``(a,)`` bool.

        There it works by itself more often, so such arms compete among each other in a search.
        """
        ...

    def library(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """Return usual triggers ``(l, n)`` and places ``(a, k)`` to try them at; or none of either.

        A search looks at all of them, for every class in the same pass, without a gradient.
        """
        ...

    def begin(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return where a search begins that drew θ ``(B, n)`` uniformly from the cube."""
        ...

    def draw_arms(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """Draw an arm for each of ``count`` pictures uniformly, ``(count, k)`` int64.

        Raises:
            ArgumentError: pictures of this shape have none.

        """
        ...

    def apply(self, images: Tensor, theta: Tensor, arms: Tensor) -> Tensor:
        """Return the pictures with their triggers, on their device and differentiable in θ.

        Args:
            images: ``(B, channels, height, width)`` in [0, 1]; not changed.
            theta: ``(B, n)`` in [0, 1], one trigger for each picture.
            arms: ``(B, k)`` int64.

        """
        ...

    def picture(self, theta: Tensor, shape: Shape) -> Tensor:
        """Return triggers ``(B, n)`` as small pictures ``(B, channels, height, width)``."""
        ...

    def weaken(self, theta: Tensor, strength: float) -> Tensor:
        """Return triggers ``(B, n)`` of the same kind with a part of their strength.

        Args:
            theta: ``(B, n)`` in [0, 1].
            strength: in [0, 1]; 1 changes nothing, 0 leaves as little as the space allows.

        """
        ...

    def weaker(self, theta: Tensor, shape: Shape) -> Sequence[Weaker]:
        """Return the next weaker triggers that are part of θ ``(n,)``; none for the weakest."""
        ...


class Family(Protocol):
    """Spaces of triggers of the same kind."""

    @property
    def name(self) -> str:
        """The part before the colon on the command line, such as ``patch``."""
        ...

    @property
    def usage(self) -> str:
        """How its spaces are written, such as ``patch:SIZE with a size from 1 to 16``."""
        ...

    def ladder(self, shape: Shape) -> Sequence[Space]:
        """Return the spaces that a search looks at in pictures of this shape, weak to strong."""
        ...

    def space(self, rung: str) -> Space | None:
        """Return the space named by ``rung``, the text after the colon; None if there is none."""
        ...
