"""Lines of text cells from rows of numbers, as a table for a terminal or for a document."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

Line = dict[str, str]
"""Heading → cell; every line of a table has the same headings."""


def averaged(values: Sequence[float | None], *, digits: int = 1, lowest: bool = False) -> str:
    """Return ``mean (worst)`` in percent, only the mean where all agree, ``–`` without values.

    Args:
        values: shares in [0, 1]; None where a share does not apply.
        digits: after the point.
        lowest: whether the worst is the smallest.

    Example:
        >>> averaged([0.01, 0.03, None])
        '2.0 (3.0) %'
        >>> averaged([-0.0001])
        '0.0 %'

    """
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{fmean(known):z.{digits}f}"  # z: no sign for a rounded zero
    worst = f"{min(known) if lowest else max(known):z.{digits}f}"
    return f"{mean} %" if mean == worst else f"{mean} ({worst}) %"


def networks(count: int) -> str:
    """Return the first cell of a line that sums up networks.

    Example:
        >>> networks(1), networks(12)
        ('**1 network**', '**12 networks**')

    """
    return f"**{count} network{'s' * (count != 1)}**"


def share(values: Sequence[bool]) -> str:
    """Return how many values are true, such as ``5/5``; ``–`` without values."""
    return f"{sum(values)}/{len(values)}" if values else "–"


def markdown(lines: Sequence[Line]) -> str:
    """Return a table for a document, without a newline at the end."""
    head = list(lines[0])
    rows = [head, ["---"] * len(head), *([line[name] for name in head] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
