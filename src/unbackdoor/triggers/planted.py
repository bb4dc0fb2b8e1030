"""Known triggers, which an attacker plants."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.registry import parse_space
from unbackdoor.triggers.values import from_bytes, to_bytes


@dataclass(frozen=True)
class Trigger:
    """One known trigger, which an attacker plants.

    Args:
        name: its notation, such as ``bw:170``.
        space: the space it belongs to.
        theta: ``(n,)`` in [0, 1].

    """

    name: str
    space: Space
    theta: Tensor

    def to_hex(self) -> str:
        """Return θ as two hexadecimal digits for each value, 00 … ff."""
        return to_bytes(self.theta).hex()

    @classmethod
    def from_hex(cls, name: str, space: str, digits: str, shape: Shape) -> Trigger:
        """Return the trigger that :meth:`to_hex` wrote.

        Args:
            name: its notation.
            space: the name of its space.
            digits: two hexadecimal digits for each value.
            shape: channels, height and width of the pictures.

        Raises:
            ArgumentError: there is no such space, or pictures of this shape have none of it.
            ValueError: no hexadecimal digits, or not one value for each parameter.

        """
        known, levels = parse_space(space), bytes.fromhex(digits)
        known.arms(shape)
        if len(levels) != (expected := known.dimensions(shape)):
            raise ValueError(f"{len(levels)} values for {expected} parameters")
        return cls(name, known, from_bytes(levels, expected)[0])


@dataclass(frozen=True)
class Planted:
    """A trigger that is known to have been planted, and what it does.

    Args:
        trigger: the trigger.
        target: the class it sends images to.
        source: the class whose images it sends there; None for those of every other class.

    """

    trigger: Trigger
    target: int
    source: int | None = None
