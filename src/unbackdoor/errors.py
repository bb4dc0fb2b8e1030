"""Everything that can go wrong for a user, each kind with the exit code of the command line."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

LISTED = 5
"""Of many items, how many a sentence names."""


class UnbackdoorError(Exception):
    """Base of every error this package raises on purpose; its text is one sentence for a person."""

    exit_code = 2


class ContentError(UnbackdoorError, ValueError):
    """A file or value exists but what is in it cannot be used."""

    exit_code = 2


class SizesError(ContentError):
    """Pictures have several sizes, and no one says to which they are to be scaled.

    Args:
        came: which sizes came, as a sentence about them begins.
        usual: a side that is usual among them.

    """

    def __init__(self, came: str, usual: int) -> None:
        super().__init__(
            f"{came}; say --size, best that of the network's input, such as --size {usual}."
        )
        self.came = came

    def known(self, side: int) -> ContentError:
        """Return the same where it is known which side the network takes."""
        return ContentError(f"{self.came}; say --size {side}, which the network takes.")


class InsufficientDataError(UnbackdoorError, ValueError):
    """There are too few images for the question that was asked."""

    exit_code = 3


class ArgumentError(UnbackdoorError, ValueError):
    """An argument, name or path is wrong or does not exist."""

    exit_code = 4


def printable(text: str) -> str:
    r"""Return text from outside as one printable line.

    Control and direction marks could recolour a terminal or turn a sentence around; each becomes
    U+FFFD. Markup is not touched: escaping belongs to whoever prints.

    Example:
        >>> printable("cat\n\x1b[31m dog")
        'cat �[31m dog'

    """
    flat = " ".join(text.split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in flat)


def quoted(text: object) -> str:
    """Return a path or some code as it is typed in a shell, printable.

    Example:
        >>> quoted("my data/x.csv"), quoted("x.csv")
        ("'my data/x.csv'", 'x.csv')

    """
    return printable(shlex.quote(str(text)))


def few(items: Sequence[str], most: int = LISTED, separator: str = ", ") -> str:
    """Return the first of some items for a sentence, and how many more there are.

    Example:
        >>> few(["a", "b"]), few(list("abcdefg"), separator="; ")
        ('a, b', 'a; b; c; d; e and 2 more')

    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names from outside, printable and not long, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a, b and 1 more'

    """
    return few([printable(name)[:80] for name in names], most)


def brief(error: BaseException) -> str:
    """Return the first line of an error's text, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


def expect(settings: object, least: float, most: float, *names: str) -> None:
    """Raise unless every named setting is a number in a range.

    Args:
        settings: the dataclass, from its ``__post_init__``.
        least: the smallest value.
        most: the largest one; infinity where there is none.
        names: of its fields.

    Raises:
        ArgumentError: one is not; the sentence names it.

    """
    for name in names:
        value: Any = getattr(settings, name)
        if not least <= value <= most:
            wanted = f"at least {least:g}" if math.isinf(most) else f"{least:g} to {most:g}"
            raise ArgumentError(f"{name}: expected {wanted}, came {value}.")


def expect_above(settings: object, bound: float, *names: str) -> None:
    """Raise unless every named setting is a number above a bound."""
    for name in names:
        value: Any = getattr(settings, name)
        if not bound < value < math.inf:
            raise ArgumentError(f"{name}: expected more than {bound:g}, came {value}.")
