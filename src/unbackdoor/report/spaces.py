"""Spaces of triggers in words: where a trigger lies, what it looks like, what was searched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unbackdoor.errors import printable
from unbackdoor.results import ClassRecord, ScanResult

KINDS = {
    "patch": "square patch",
    "mask": "masked pattern",
    "additive": "added pattern",
    "blend": "blended picture",
    "warp": "elastic warp",
    "filter": "colour filter",
    "dynamic": "change that depends on the picture",
}
"""What the triggers of a family are, for a space that the result does not describe."""


def family(space: str) -> str:
    """Return the name of the family of a space.

    Example:
        >>> family("patch:3@28,28")
        'patch'

    """
    return space.partition(":")[0]


def anywhere(space: str) -> str:
    """Return the name of a space without the place.

    Example:
        >>> anywhere("patch:3@28,28")
        'patch:3'

    """
    return space.partition("@")[0]


def place_of(space: str) -> tuple[int, int] | None:
    """Return row and column of the upper left corner of a patch at a fixed place.

    Example:
        >>> place_of("patch:3@28,28"), place_of("patch:3")
        ((28, 28), None)

    """
    found = re.fullmatch(r"[^@]*@(\d{1,6}),(\d{1,6})", space, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


def amount(space: str) -> int | None:
    """Return the first number of a space's name: its size, limit or per cent.

    Example:
        >>> amount("additive:16x8"), amount("patch")
        (16, None)

    """
    found = re.match(r"[^:]*:(\d{1,6})", space, re.ASCII)
    return int(found[1]) if found else None


def described(scan: ScanResult, space: str) -> str:
    """Return the triggers of a space in words, and where they lie."""
    words = {one.name: one.description for one in scan.spaces if one.description}
    if exact := words.get(space):
        return printable(exact)
    kind = KINDS.get(family(space))
    name = printable(anywhere(space))
    said = printable(words.get(anywhere(space), "")) or (f"{kind} ({name})" if kind else name)
    place = place_of(space)
    return said if place is None else f"{said} at row {place[0]}, column {place[1]}"


def searched(scan: ScanResult) -> str:
    """Return what a scan searched, and what not, as one or two sentences."""
    every = scan.searched or ", ".join(one.description for one in scan.spaces) or scan.space
    said = [f"Searched: {_open(every)}."]
    if scan.not_searched:
        said.append(f"Not searched: {_open(scan.not_searched)}.")
    return " ".join(said)


def names(scan: ScanResult, classes: Sequence[ClassRecord] = ()) -> list[str]:
    """Return the spaces that were searched, without places, then others of the classes' ladders."""
    every = [one.name for one in scan.spaces]
    every += [rung.space for record in classes for rung in record.ladder]
    return list(dict.fromkeys(map(anywhere, every)))


def _open(words: str) -> str:
    """Return words without the full stop that the sentence around them has."""
    return printable(words).rstrip(". ")
