"""Stand-ins for what a pickle would make: what it is, and what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass(eq=False, repr=False)
class Object:
    """Stands in for an instance of a class, or for a value that a known call makes.

    Args:
        path: of its class, or the kind of value.
        arguments: that it was made with.
        state: its attributes.
        items: that were set on it.
        elements: that were appended to it.
        instance: whether it is of a class of the file's own, and may get a state and items.

    """

    path: str
    arguments: tuple[object, ...] = ()
    state: object = None
    items: dict[object, object] = field(default_factory=dict[object, object])
    elements: list[object] = field(default_factory=list[object])
    instance: bool = False


@dataclass(eq=False, repr=False)
class Table:
    """Stands in for an ordered dictionary, which may have attributes."""

    items: dict[object, object] = field(default_factory=dict[object, object])
    state: object = None


@dataclass(eq=False, repr=False)
class Made:
    """Stands in for what one of the calls makes that a state dict consists of."""

    path: str
    arguments: tuple[object, ...]


@dataclass(eq=False, repr=False)
class Storage:
    """Stands in for the numbers of tensors: ("storage", type, key, device, elements, …)."""

    identity: tuple[Any, ...]


def inside(value: object) -> Iterator[object]:
    """Iterate over what an object or a container holds."""
    match value:
        case Object():
            parts = (value.arguments, value.state, value.items, value.elements)
            yield from (part for part in parts if part)
        case Table():
            yield from (part for part in (value.items, value.state) if part)
        case dict():
            yield from cast("dict[object, object]", value).values()
        case list() | tuple():
            yield from cast("list[object]", value)
        case _:
            pass
