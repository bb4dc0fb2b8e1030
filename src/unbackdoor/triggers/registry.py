"""All families of triggers, by name."""

from __future__ import annotations

import re

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers import AUTO, DEFAULT_SPACE
from unbackdoor.triggers.additive import Additives
from unbackdoor.triggers.blend import Blends
from unbackdoor.triggers.dynamic import Dynamics
from unbackdoor.triggers.family import Family, Shape, Space
from unbackdoor.triggers.filters import Filters
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.mask import Masks
from unbackdoor.triggers.patch import Patches
from unbackdoor.triggers.warp import Warps
from unbackdoor.triggers.wave import Waves

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Patches(),
        Masks(),
        Additives(),
        Waves(),
        Blends(),
        Warps(),
        Dynamics(),
        Filters(),
    )
}
"""By the name before the colon."""
PLACED = ("patch", "wave")
"""Families whose triggers have an arm: a place, or a number of periods."""


def family_of(space: str) -> str:
    """Return the family in the name of a space.

    Example:
        >>> family_of("patch:3@28,28")
        'patch'

    """
    return space.partition(":")[0]


def strength_of(space: str) -> int:
    """Return the size, limit or percentage in the name of a space; 0 where there is none.

    Example:
        >>> strength_of("additive:16x16")
        16

    """
    digits = re.search(r":(\d+)", space)
    return int(digits[1]) if digits else 0


def parse_space(spec: str) -> Space:
    """Return the space written ``FAMILY:RUNG`` or, of patches at one place, ``FAMILY:RUNG@R,C``.

    Raises:
        ArgumentError: there is no such family, or it has no such rung.

    Example:
        >>> parse_space("patch:3@28,28").dimensions((3, 32, 32))
        27

    """
    whole, at, place = spec.partition("@")
    name, _, rung = whole.partition(":")
    family = FAMILIES.get(name)
    space = family.space(rung) if family else None
    if space is None:
        usage = ", ".join(one.usage for one in FAMILIES.values())
        raise ArgumentError(
            f"--space: expected {AUTO}, a family ({', '.join(FAMILIES)}), or {usage}; came "
            f"{spec!r}; try {DEFAULT_SPACE}."
        )
    if not at:
        return space
    arm = re.fullmatch(r"(\d{1,4}),(-?\d{1,4})", place)
    if arm is None or name not in PLACED:
        raise ArgumentError(
            f"--space: expected two numbers after @ for a {' or a '.join(PLACED)}, as in "
            f"patch:3@28,28 for its row and column, came {spec!r}."
        )
    return At(space, (int(arm[1]), int(arm[2])))


def parse_spaces(spec: str, shape: Shape) -> list[Space]:
    """Return the spaces that a search looks at, in their order.

    Args:
        spec: ``auto`` for the ladders of all families; or names of families, for theirs, and
            spaces, with commas between them.
        shape: channels, height and width of the pictures.

    Raises:
        ArgumentError: a part is neither.

    Example:
        >>> [space.name for space in parse_spaces("warp,patch:3@0,0", (3, 32, 32))]
        ['warp:2x4', 'patch:3@0,0']

    """
    spaces: list[Space] = []
    for part in _parts(spec):
        family = FAMILIES.get(part)
        spaces += family.ladder(shape) if family else [_fitting(parse_space(part), shape)]
    return list({space.name: space for space in spaces}.values())


def check_spaces(spec: str) -> None:
    """Raise unless ``spec`` is one that :func:`parse_spaces` takes.

    Raises:
        ArgumentError: a part is neither a family nor a space.

    """
    for part in _parts(spec):
        if part not in FAMILIES:
            parse_space(part)


def _parts(spec: str) -> list[str]:
    return list(FAMILIES) if spec == AUTO else re.split(r",(?!-?\d)", spec)


def _fitting(space: Space, shape: Shape) -> Space:
    """Return a space of which pictures of a shape have triggers; raise if they have none."""
    try:
        space.arms(shape)
    except ArgumentError as error:
        raise ArgumentError(f"--space: {error}") from error
    return space
