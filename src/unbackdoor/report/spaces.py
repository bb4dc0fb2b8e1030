"""Spaces of triggers in words: where a trigger lies, what it looks like, what was searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.errors import printable
from unbackdoor.report.words import listed
from unbackdoor.results import ClassRecord, ScanResult

KINDS = {
    "patch": "square patch",
    "mask": "masked pattern",
    "additive": "added pattern",
    "blend": "blended picture",
    "wave": "added wave",
    "warp": "elastic warp",
    "filter": "colour filter",
    "dynamic": "change that depends on the picture",
}
"""What the triggers of a family are, for a space that the result does not describe."""
SEVERAL = {
    "patch": "square patches",
    "mask": "masked patterns",
    "additive": "added patterns",
    "blend": "blended pictures",
    "wave": "waves",
    "warp": "elastic warps",
    "filter": "colour filters",
    "dynamic": "changes that depend on the picture",
}
"""The same in the plural."""
FEW = 2
"""Kinds of triggers that fit into a sentence."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a scan searched, and what not, for a page.

    Args:
        said: as a sentence, which a colon ends where a list follows.
        kinds: that list: the kinds of triggers that were searched.
        left: what was not searched, as a sentence; empty where the result does not tell.

    """

    said: str
    kinds: list[str]
    left: str


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
    """Return row and column of a patch at a fixed place, or the periods of a wave down and across.

    Example:
        >>> place_of("patch:3@28,28"), place_of("wave:16@6,-6"), place_of("patch:3")
        ((28, 28), (6, -6), None)

    """
    found = re.fullmatch(r"[^@]*@(\d{1,6}),(-?\d{1,6})", space, re.ASCII)
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
    if (place := place_of(space)) is None:
        return said
    if family(space) == "wave":
        return f"{said}, here {_periods(*place)}"
    return f"{said} at row {place[0]}, column {place[1]}"


def located(scan: ScanResult, space: str) -> str:
    """Return the triggers of a space in words, and where they lie, be it at any place."""
    anywhere = family(space) == "patch" and place_of(space) is None
    return described(scan, space) + " at any place" * anywhere


def _periods(down: int, across: int) -> str:
    """Return the direction of a wave in words."""
    parts = [
        f"{abs(number)} {way}" for number, way in ((down, "down"), (across, "across")) if number
    ]
    return f"{' and '.join(parts)}{', rising the other way' if across < 0 else ''}"


def nothing_searched(scan: ScanResult) -> bool:
    """Return whether a scan gave up before it searched, because the model guesses."""
    return bool(scan.searched) and not scan.spaces and not scan.not_searched


def kinds(scan: ScanResult) -> list[str]:
    """Return the kinds of triggers that were searched, in words."""
    every = scan.searched or "; ".join(one.description for one in scan.spaces) or scan.space
    return [_open(kind) for kind in every.split("; ")]


def searched_list(scan: ScanResult) -> Searched:
    """Return what was searched, as a list where it is too long for a sentence."""
    every = kinds(scan)
    left = f"Not searched: {_open(scan.not_searched)}." if scan.not_searched else ""
    if len(every) <= FEW:
        return Searched(said=f"Searched: {'; '.join(every)}.", kinds=[], left=left)
    said = f"Searched for {len(every)} kinds of triggers; of any other kind nothing is known:"
    return Searched(said=said, kinds=every, left=left)


def searched_in_short(scan: ScanResult) -> str:
    """Return what was searched, and what not, in a few lines of a terminal."""
    every = kinds(scan)
    if len(every) <= FEW:
        return searched(scan)
    families = list(dict.fromkeys(family(name) for name in names(scan)))
    words = listed([SEVERAL.get(one, printable(one)) for one in families])
    said = f"Searched, up to limited strengths: {words}."
    left = [_open(one) for one in scan.not_searched.split("; ")]
    if len(left) > 1:
        return f"{said} Not searched: all else, such as {left[0]}."
    return f"{said} Not searched: {left[0]}." if left[0] else said


def searched(scan: ScanResult) -> str:
    """Return what a scan searched, and what not, as one or two sentences."""
    said = [f"Searched: {'; '.join(kinds(scan))}."]
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
