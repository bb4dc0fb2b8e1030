"""Stand-ins for what a pickle would make: what it is, and what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass(eq=False)
class Object:
    """Stands in for an instance of a class, or for a value that a known call makes."""

    path: str
    arguments: tuple[object, ...] = ()
    state: object = None
    items: dict[object, object] = field(default_factory=dict[object, object])
    elements: list[object] = field(default_factory=list[object])


@dataclass(eq=False)
class Table:
    """Stands in for an ordered dictionary, which may have attributes."""

    items: dict[object, object] = field(default_factory=dict[object, object])
    state: object = None


@dataclass(eq=False)
class Made:
    """Stands in for what one of the calls makes that a state dict consists of."""

    path: str
    arguments: tuple[object, ...]


@dataclass(eq=False)
class Storage:
    """Stands in for the numbers of tensors: ("storage", type, key, device, elements, …)."""

    identity: tuple[Any, ...]


def inside(value: object) -> Iterator[object]:
    """Iterate over what an object or a container holds."""
    match value:
        case Object(_, arguments, state, items, elements):
            yield from (part for part in (arguments, state, items, elements) if part)
        case Table(items, state):
            yield from (part for part in (items, state) if part)
        case dict():
            yield from cast("dict[object, object]", value).values()
        case list() | tuple():
            yield from cast("list[object]", value)
        case _:
            pass
