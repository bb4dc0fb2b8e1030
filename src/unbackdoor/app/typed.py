"""What people type in other forms than the parser takes: commas, both sides, data twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from unbackdoor.errors import ArgumentError, printable

CHANNELS = ("--mean", "--std")
SIZE, DATA = "--size", "--data"
FLAG = re.compile(r"--?[a-zA-Z]")
BETWEEN = re.compile(r"[][(),;\s]+")
"""What people write between numbers, and around them."""
NUMBER = re.compile(r"\d{1,9}(?!\d)")
TIMES = re.compile(r"[x×X*]")
COUNTS = {1, 3}
"""How many channels pictures have: a number that may stand beside the sides."""
UNSET = ["None"]
"""How the parser lets an option be left out by its name."""


def as_meant(arguments: Sequence[str]) -> list[str]:
    """Return arguments as the parser takes them.

    ``--mean 0.5,0.5,0.5`` becomes three numbers, and ``--size 32x32`` one side. What stands behind
    numbers and is none, such as a model, is put before them, since the parser would take it for
    one.

    Raises:
        ArgumentError: two data sets are named, no numbers where there should be some, or what could
            be a number or a path; or the sides of a size are not equal.

    Example:
        >>> " ".join(as_meant(["scan", "m.pt", "--mean=0.5,0.5,0.5", "--size", "32x32"]))
        'scan m.pt --mean 0.5 0.5 0.5 --size 32'

    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    meant, data, left = list[str](), list[str](), list(arguments[:end])
    while left:
        argument = left.pop(0)
        flag, joined, first = argument.partition("=")
        if flag == DATA:
            data += [first] if joined else [one for one in left[:1] if not FLAG.match(one)]
        if flag not in (*CHANNELS, SIZE):
            meant.append(argument)
            continue
        values = [first] if joined else []
        while left and not FLAG.match(left[0]):
            values.append(left.pop(0))
        if flag == SIZE:
            meant += [flag, *_side(values)]
        else:
            numbers, others = _numbers(flag, values)
            at = next((at for at, one in enumerate(meant) if one in CHANNELS), len(meant))
            meant[at:at] = others
            meant += [flag, *numbers]
    if len(set(data)) > 1:
        raise ArgumentError(
            f"--data: expected one data set, came {printable(', '.join(data))}; name one, or "
            f"several files of one by a pattern, such as 'set-{{00..12}}.tar'."
        )
    return [*meant, *arguments[end:]]


def _numbers(flag: str, values: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the numbers that begin some values, however they are separated, and what follows."""
    numbers: list[str] = []
    if values == UNSET:
        return UNSET, []
    for at, value in enumerate(values):
        parts = [part for part in BETWEEN.split(value) if part]
        if not all(map(_is_number, parts)) or not value:
            if not numbers:
                raise ArgumentError(
                    f"{flag}: expected one number or three, such as {flag} 0.5 0.5 0.5, came "
                    f"{printable(value) or 'an empty text'}."
                )
            return numbers, list(values[at:])
        numbers += parts
    if len(numbers) not in {1, 3} and len(values) > 1:
        _check_path(flag, values, "one number or three")
    return numbers, []


def _side(values: Sequence[str]) -> list[str]:
    """Return the side of a square of which both, and the channels, may be given, and the rest."""
    others = (at for at, one in enumerate(values) if at and not BETWEEN.sub("", one).isdecimal())
    count = next(others, len(values))
    own, rest = list(values[:count]), values[count:]
    typed = " ".join(own)
    if not own or own == UNSET or re.fullmatch(r"-\d+", typed):
        return [*values]
    if len(own) > 1:
        _check_path(SIZE, own, "one number")
    parts = [part for part in BETWEEN.split(TIMES.sub(" ", typed)) if part]
    if not parts or not all(NUMBER.fullmatch(part) for part in parts):
        number = NUMBER.match(typed)
        raise ArgumentError(
            f"{SIZE}: expected the side of a square in pixels, such as {SIZE} "
            f"{number[0] if number else 32}, came {printable(typed)[:80] or 'an empty text'}."
        )
    sides = [int(part) for part in parts]
    if len(sides) > 2:
        sides = [side for side in sides if side not in COUNTS] or sides
    if len(set(sides)) > 1:
        raise ArgumentError(
            f"{SIZE}: expected the side of a square, such as {SIZE} {min(sides)}, came "
            f"{printable(typed)}."
        )
    return [str(sides[0]), *rest]


def _check_path(flag: str, values: Sequence[str], expected: str) -> None:
    """Raise where the last of too many numbers is a path too, such as a folder of models."""
    last = values[-1]
    there = False
    with suppress(OSError, ValueError):  # no name that a path can have
        there = Path(last).exists()
    if there:
        raise ArgumentError(
            f"{flag}: expected {expected}, came {printable(' '.join(values))}, and there is a path "
            f"{printable(last)}; write ./{printable(last)} where you mean that."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
