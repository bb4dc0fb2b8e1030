"""All families of triggers, by name."""

from __future__ import annotations

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers import DEFAULT_SPACE
from unbackdoor.triggers.family import Family, Space
from unbackdoor.triggers.patch import Patches

FAMILIES: dict[str, Family] = {family.name: family for family in (Patches(),)}
"""By the name before the colon."""


def parse_space(spec: str) -> Space:
    """Return the space written ``FAMILY:RUNG``.

    Raises:
        ArgumentError: there is no such family, or it has no such rung.

    Example:
        >>> parse_space("patch:3").dimensions((3, 32, 32))
        27

    """
    name, _, rung = spec.partition(":")
    family = FAMILIES.get(name)
    space = family.space(rung) if family else None
    if space is None:
        usage = " or ".join(one.usage for one in FAMILIES.values())
        raise ArgumentError(f"--space: expected {usage}, came {spec!r}; try {DEFAULT_SPACE}.")
    return space


def default_space() -> Space:
    """Return the space that is searched by default."""
    return parse_space(DEFAULT_SPACE)
