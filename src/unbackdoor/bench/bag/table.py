"""The table of the reference networks: the lines of each, then what their scores are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.bench.bag.recipes import EVERY
from unbackdoor.bench.families.scanned import FamiliesRow, evidence_of
from unbackdoor.bench.families.table import GROUPS, NONE, group_of
from unbackdoor.bench.families.table import table as families_table
from unbackdoor.bench.framework.roc import area
from unbackdoor.bench.framework.table import Line
from unbackdoor.mesa.uniform import share_upper_bound
from unbackdoor.verdict.judge import ByRate

ONE, _, CLEAN = GROUPS
HALVES = ("even", "odd")
"""Dozens of networks, by their number; in each there are five clean ones."""


@dataclass(frozen=True)
class _Scored:
    """The score of a network that counts, and the half that it is in."""

    score: float
    clean: bool
    half: str


def table(rows: Sequence[FamiliesRow]) -> list[Line]:
    """Return the lines of the networks, then what the score alone tells.

    The score of the highest clean network of one half of the networks is the limit by which the
    other half is judged, and the other way round.
    """
    lines = families_table(rows)
    scored = [one for row in rows if (one := _scored(row)) is not None]
    found = area([one.score for one in scored if not one.clean],
                 [one.score for one in scored if one.clean])  # fmt: skip
    said: dict[str, str] = {}
    if found:
        said["AUC of the score"] = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    for fitted, other in (HALVES, HALVES[::-1]):
        below = [one.score for one in scored if one.clean and one.half == fitted]
        if below and (words := _judged([one for one in scored if one.half == other], max(below))):
            said[f"limit fitted on {fitted} dozens, judged on {other} ones"] = words
    blank = dict.fromkeys(lines[0], NONE) if lines else {}
    told = [
        {**blank, "network": f"**{name}**", "worst of the seeds": words}
        for name, words in said.items()
    ]
    return lines + told


def _scored(row: FamiliesRow) -> _Scored | None:
    """Return the score of a network; None for one that does not count."""
    name, evidence = group_of(row), evidence_of(row)
    if evidence is None or name not in (ONE, CLEAN):
        return None
    number = int(row.network.partition("-")[0])
    return _Scored(
        score=ByRate()(evidence).score,
        clean=name == CLEAN,
        half=HALVES[number // EVERY % len(HALVES)],
    )


def _judged(scored: Sequence[_Scored], limit: float) -> str:
    """Return how many networks score above a limit, in words."""
    parts: list[str] = []
    for clean, verb in ((False, "found"), (True, "accused")):
        of = [one for one in scored if one.clean == clean]
        if not of:
            return ""
        above = sum(one.score > limit for one in of)
        wrong = above if clean else len(of) - above
        bound = share_upper_bound(wrong, len(of))
        what = "clean accused" if clean else "missed"
        parts.append(f"{verb} {above}/{len(of)} ({what}: at most {bound:.0%})")
    return f"from {limit:.2f}: " + ", ".join(parts)
