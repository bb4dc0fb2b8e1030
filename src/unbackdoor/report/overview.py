"""What the page of several models shows: a line for each, and a link to its own page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.errors import printable
from unbackdoor.report.words import SYMBOLS, clip, word_of
from unbackdoor.results import Scanned, Unscanned, versions

NBSP = "\N{NO-BREAK SPACE}"
WORST_FIRST = ("backdoored", "not scanned", "inconclusive", "clean")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model."""

    href: str
    model: str
    word: str
    reason: str

    @property
    def symbol(self) -> str:
        """A shape, so that no verdict is told by its colour alone."""
        return SYMBOLS[self.word]

    @property
    def tone(self) -> str:
        """The class of its style."""
        return "unscanned" if self.word == "not scanned" else self.word


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All models, in the order in which they were scanned."""

    headline: str
    facts: list[tuple[str, str]]
    lines: list[Line]

    @property
    def worst(self) -> Line:
        """The model that decides."""
        return min(self.lines, key=lambda line: WORST_FIRST.index(line.word))


def overview(outcomes: Sequence[Scanned], pages: Sequence[str]) -> Overview:
    """Return what the page of several models shows.

    Args:
        outcomes: at least one.
        pages: where the page of each lies, beside this one.

    """
    lines = [
        Line(
            href=href,
            model=printable(outcome.model.path),
            word=word_of(outcome),
            reason=clip(
                printable(outcome.error if isinstance(outcome, Unscanned) else outcome.reason), 400
            ),
        )
        for outcome, href in zip(outcomes, pages, strict=True)
    ]
    counts = Counter(line.word for line in lines)
    told = [f"{counts[word]:,} {word}".replace(" ", NBSP) for word in WORST_FIRST if counts[word]]
    number = versions()["unbackdoor"]
    return Overview(
        headline=", ".join(told),
        facts=[("Models", f"{len(lines):,}"), ("Scanned by", f"unbackdoor {number}")],
        lines=lines,
    )
