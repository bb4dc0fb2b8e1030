"""The tables of the repairs: a line for each repair of each network, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.framework.table import Line, averaged, networks
from unbackdoor.bench.repairs.repaired import RepairedRow

NONE = "–"
ALLOWED = 0.01
"""The loss of accuracy that a repair of ours may have by default."""


def table(rows: Sequence[RepairedRow]) -> list[Line]:
    """Return a line for each repair of each network, then the mean and the worst of each repair."""
    return [_line([row]) for row in rows] + [
        _line(own, networks(len({row.network for row in own}))) for own in groups(rows)
    ]


def relearning(rows: Sequence[RepairedRow]) -> list[Line]:
    """Return a line for each repair: the rate after it, and after each further training.

    Trainings that wreck a network are left out, because what is left says nothing of a backdoor;
    the last column says how many networks these are.
    """
    names = list(dict.fromkeys(one.name for row in rows for one in row.relearnt))
    return [
        {
            "repair": own[0].repair,
            "clean images": f"{own[0].asked:,}",
            "networks": f"{len({row.network for row in own})}",
            "after the repair": averaged([row.asr_after for row in own]),
            **{name: averaged(_after(own, name)) for name in names},
            "wrecked": f"{sum(any(map(row.wrecks, row.relearnt)) for row in own)}",
        }
        for own in groups(rows)
    ]


def groups(rows: Sequence[RepairedRow]) -> list[list[RepairedRow]]:
    """Return the rows of each repair with each number of images, as they occur."""

    def key(row: RepairedRow) -> tuple[int, str]:
        return row.asked, row.repair

    return [[row for row in rows if key(row) == one] for one in dict.fromkeys(map(key, rows))]


def _after(rows: Sequence[RepairedRow], name: str) -> list[float]:
    every = [(row, one) for row in rows for one in row.relearnt if one.name == name]
    return [one.asr for row, one in every if not row.wrecks(one)]


def _line(rows: Sequence[RepairedRow], name: str | None = None) -> Line:
    first = rows[0]
    done = [row for row in rows if row.accuracy_after is not None]
    planted = Truth(trigger=first.trigger, mode=first.mode, target=first.target)
    return {
        "network": name or first.network,
        "planted": NONE if name else planted.words,
        "repair": first.repair,
        "clean images": f"{first.asked:,}",
        "accuracy before": averaged([row.accuracy_before for row in rows], lowest=True),
        "after": averaged([row.accuracy_after for row in rows], lowest=True),
        "lost": averaged([row.lost for row in rows]),
        "ASR before": averaged([row.asr_before for row in rows], lowest=True),
        "ASR after": averaged([row.asr_after for row in rows]),
        "excess": averaged([row.excess for row in rows]),
        "says": _says(rows) if name else first.said or ("refused" if first.refused else NONE),
        "passes": f"{fmean(row.passes for row in done):,.0f}" if done else NONE,
        "seconds": f"{fmean(row.seconds for row in done):.0f}" if done else NONE,
    }


def _says(rows: Sequence[RepairedRow]) -> str:
    """Return how many repairs are called repaired, and how many of those lost too much."""
    told = [row for row in rows if row.exit_code is not None]
    refused = sum(bool(row.refused) for row in rows)
    if not told:
        return f"{refused} refused" if refused else NONE
    repaired = [row for row in told if row.exit_code == 0]
    lost = sum((row.lost or 0.0) > ALLOWED for row in repaired)
    return f"{len(repaired)} of {len(told)} repaired, {lost} of these lost more than {ALLOWED:.0%}"
