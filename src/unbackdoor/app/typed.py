"""What people type in other forms than the parser takes: commas, both sides, data twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unbackdoor.errors import ArgumentError, printable

CHANNELS = ("--mean", "--std")
SIZE, DATA = "--size", "--data"
FLAG = re.compile(r"--?[a-zA-Z]")
SIDES = re.compile(r"(\d+)[x×X*,](\d+)")


def as_meant(arguments: Sequence[str]) -> list[str]:
    """Return arguments as the parser takes them.

    ``--mean 0.5,0.5,0.5`` becomes three numbers, and ``--size 32x32`` one side.

    Raises:
        ArgumentError: two data sets are named, or the sides of a size are not equal.

    Example:
        >>> " ".join(as_meant(["scan", "m.pt", "--mean=0.5,0.5,0.5", "--size", "32x32"]))
        'scan m.pt --mean 0.5 0.5 0.5 --size 32'

    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    meant, data = list[str](), list[str]()
    flag = ""
    for argument in arguments[:end]:
        value: str | None = argument
        if FLAG.match(argument):
            flag, joined, rest = argument.partition("=")
            value = rest if joined else None
            if not joined or flag in (*CHANNELS, SIZE):
                meant.append(flag)
        if value is None:
            continue
        if flag in CHANNELS:
            meant += _numbers(value)
        elif flag == SIZE:
            if meant[-1] != SIZE and value.isdigit():  # the other side, behind a space
                value = f"{meant.pop()}x{value}"
            meant.append(_side(value))
        else:
            meant.append(argument)
            data += [value] if flag == DATA else []
        flag = flag if flag in (*CHANNELS, SIZE) else ""
    if len(set(data)) > 1:
        raise ArgumentError(
            f"--data: expected one data set, came {printable(', '.join(data))}; name one, or "
            f"several files of one by a pattern, such as 'set-{{00..12}}.tar'."
        )
    return [*meant, *arguments[end:]]


def _numbers(text: str) -> list[str]:
    """Return the numbers in a text that separates them by commas or spaces; itself if none."""
    return [part for part in re.split(r"[][(),;\s]+", text) if part] or [text]


def _side(text: str) -> str:
    """Return the side of a square of which both are given, any other text as it is."""
    sides = SIDES.fullmatch(text.strip("[]() ").replace(" ", ""))
    if sides is None:
        return text
    if sides[1] != sides[2]:
        smaller = min(sides[1], sides[2], key=int)
        raise ArgumentError(
            f"--size: expected the side of a square, such as --size {smaller}, came "
            f"{printable(text)}."
        )
    return sides[1]
