"""Where the strip of reference networks puts its dots: x is the score."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.report.curves import Scale, Tick
from unbackdoor.results import Standing

WIDE, NARROW = (860, 130.0, 836.0), (400, 110.0, 388.0)
"""Width of the figure, and where its scores begin and end: on a wide page, and on a narrow one."""
ROW, DOT = 46.0, 4.0
"""Height of a row, and radius of a dot, in units of the view box."""
LOW, HIGH = -1.0, 1.7
"""Scores at the ends; nothing scores lower, and hardly anything higher."""
MOST = 2000
"""Dots in a row."""
LAYERS = 5
"""Dots that lie above each other, at most; more of one score share places."""


@dataclass(frozen=True)
class Dot:
    """One reference network."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The figure, in units of its view box.

    Args:
        text: what it shows, in words.
        width, height: of the view box.
        clean, backdoored: a dot for each network.
        rows: the height of each row, and its name.
        ticks: the scores at which a verdict changes.
        here: where the scanned network stands.
        anchor: which end of the words that say so stands there.
        bottom: of the rows.

    """

    text: str
    width: int
    height: float
    clean: list[Dot]
    backdoored: list[Dot]
    rows: list[Tick]
    ticks: list[Tick]
    here: float
    anchor: str
    bottom: float


def strips(standing: Standing | None) -> dict[str, Strip]:
    """Return the strip of a network, wide and narrow; none where it was compared with none."""
    if standing is None or not standing.clean:
        return {}
    return {"wide": _strip(standing, *WIDE), "narrow": _strip(standing, *NARROW)}


def _strip(standing: Standing, width: int, left: float, right: float) -> Strip:
    x = Scale(LOW, HIGH, left, right)

    def place(score: float) -> float:
        return x(min(max(score, LOW), HIGH))

    def dots(scores: list[float], floor: float) -> list[Dot]:
        taken: dict[int, int] = {}
        row: list[Dot] = []
        for across in map(place, scores[:MOST]):
            column = round(across / (2 * DOT))
            layer = taken.get(column, 0) % LAYERS
            taken[column] = taken.get(column, 0) + 1
            row.append(Dot(across, floor - DOT - 2 * DOT * layer))
        return row

    here = place(standing.score)
    tops = [24.0 + ROW, 24.0 + 2 * ROW] if standing.backdoored else [24.0 + ROW]
    names = [f"{len(standing.clean)} clean", f"{len(standing.backdoored)} backdoored"]
    text = (
        f"Scores: this model {standing.score:.2f}; {len(standing.clean)} clean reference networks "
        f"up to {max(standing.clean):.2f}"
    )
    if standing.backdoored:
        text += f"; {len(standing.backdoored)} backdoored ones from {min(standing.backdoored):.2f}"
    return Strip(
        text=f"{text}.",
        width=width,
        height=tops[-1] + 40,
        clean=dots(standing.clean, tops[0]),
        backdoored=dots(standing.backdoored, tops[-1]),
        rows=[Tick(top - DOT, name) for top, name in zip(tops, names, strict=False)],
        ticks=[Tick(place(0), "0: just clean"), Tick(place(1), "1: just backdoored")],
        here=here,
        anchor="end" if here > 0.8 * width else "middle",
        bottom=tops[-1] + 4,
    )
