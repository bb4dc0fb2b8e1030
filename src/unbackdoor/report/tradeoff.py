"""The trade-off of a repair: accuracy lost against how often the triggers still work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unbackdoor.errors import printable
from unbackdoor.report.words import MISSING, compact, fixed, percent
from unbackdoor.results import Guarded, Watched

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 360, 220, 44, 12, 12, 40
"""Of the figure and its margins."""
MOST_LINES = 8
STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A state of the network in the figure.

    Args:
        x: across, by the accuracy that is lost.
        y: down, by the success of the triggers.
        kind: ``before``, ``taken``, ``best`` (no other state is better in both) or ``other``.

    """

    x: float
    y: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A state in words; ``ahead`` is by how much stronger triggers favour their class."""

    attempt: str
    seen: str
    lost: str
    works: str
    ahead: str
    taken: bool


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """The figure, and the best states as a table."""

    points: list[Point]
    allowed: float
    ticks: list[tuple[float, str]]
    lines: list[Line]
    sentence: str


def front(guard: Guarded) -> list[Watched]:
    """Return the states that no other one beats in both ways, by rising loss of accuracy."""
    best: list[Watched] = []
    for state in sorted(guard.states, key=lambda one: (one.accuracy_lost, one.asr or 0.0)):
        if not best or (state.asr or 0.0) < (best[-1].asr or 0.0):
            best.append(state)
    return best


def lines(guard: Guarded) -> list[Line]:
    """Return the start, the best states and the one that was taken, by rising loss of accuracy."""
    taken = None if guard.taken is None else guard.states[guard.taken]
    shown = front(guard)
    while len(shown) > MOST_LINES:  # those that are nearest to their neighbours say least
        gaps = [
            shown[at + 1].accuracy_lost - shown[at - 1].accuracy_lost
            for at in range(1, len(shown) - 1)
        ]
        del shown[1 + gaps.index(min(gaps))]
    shown += [one for one in (guard.states[0], taken) if one is not None and one not in shown]
    shown.sort(key=lambda one: (one.accuracy_lost, one.asr or 0.0))
    return [
        Line(
            attempt=_named(state),
            seen=f"{state.images_seen:,}",
            lost=f"{fixed(100 * state.accuracy_lost)} %",
            works=percent(state.asr),
            ahead=MISSING if state.stronger is None else f"{fixed(100 * state.stronger)} %",
            taken=state is taken,
        )
        for state in shown
    ]


def _named(state: Watched) -> str:
    if not state.images_seen:
        return "before"
    number = str(state.attempt + 1)
    return number if state.mixed == 1 else f"{number}, {compact(100 * state.mixed)} %"


def trade_off(guard: Guarded | None) -> TradeOff | None:
    """Return the trade-off of a repair; None where it was not watched, or no trigger was known."""
    if guard is None or not guard.states or any(state.asr is None for state in guard.states):
        return None
    losses = [state.accuracy_lost for state in guard.states]
    least, most = min(0.0, *losses), max(guard.max_accuracy_lost, *losses) + 0.005
    taken = None if guard.taken is None else guard.states[guard.taken]
    best = front(guard)

    def across(loss: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (loss - least) / (most - least), 1)

    def kind(state: Watched) -> str:
        if state is taken:
            return "taken"
        if not state.images_seen:
            return "before"
        return "best" if state in best else "other"

    points = [
        Point(
            x=across(state.accuracy_lost),
            y=round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - (state.asr or 0.0)), 1),
            kind=kind(state),
        )
        for state in guard.states
    ]
    return TradeOff(
        points=points,
        allowed=across(guard.max_accuracy_lost),
        ticks=[(across(tick), compact(100 * tick)) for tick in _ticks(least, most)],
        lines=lines(guard),
        sentence=printable(guard.sentence),
    )


def _ticks(least: float, most: float) -> list[float]:
    """Return a few round numbers between two.

    Example:
        >>> _ticks(-0.004, 0.035)
        [0.0, 0.01, 0.02, 0.03]

    """
    step = next((one for one in STEPS if most - least <= 5 * one), STEPS[-1])
    numbers = range(math.ceil(least / step), math.floor(most / step) + 1)
    return [round(number * step, 6) for number in numbers]
