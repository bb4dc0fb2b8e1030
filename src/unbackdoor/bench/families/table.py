"""The table of the development set: a line for each network, then one for each group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

from unbackdoor.attack.goal import ALL_TO_ONE
from unbackdoor.bench.families.scanned import FamiliesRow, evidence_of
from unbackdoor.bench.families.truth import WORSE, outcome, same_family
from unbackdoor.bench.framework.table import Line, averaged, share
from unbackdoor.mesa.uniform import share_upper_bound
from unbackdoor.results import Rung
from unbackdoor.verdict.case import Case
from unbackdoor.verdict.thresholds import Thresholds, thresholds_of

GROUPS = ("one target", "beyond what is searched", "clean")
"""Networks that a scan is to find, others with a backdoor, and those without one. A trigger that
works less often than a scan asks for is none that it is to find."""
WRONG = {"one target": "missed", "clean": "accused"}
"""The verdict that must not be, where there is one."""
NONE = "–"


def table(rows: Sequence[FamiliesRow]) -> list[Line]:
    """Return one line for each network, the worst of its seeds, and one for each group."""
    lines: list[Line] = []
    totals: list[Line] = []
    for name in GROUPS:
        of_group = [row for row in rows if group_of(row) == name]
        own = list(dict.fromkeys(row.network for row in of_group))
        networks = [[row for row in of_group if row.network == network] for network in own]
        lines += [_line(one) for one in networks]
        if networks:
            totals.append(_total(name, networks))
    return lines + totals


def rates_that_count(row: FamiliesRow, index: int) -> list[tuple[float, str]]:
    """Return the rates towards a class in the spaces that count, the highest first."""
    return _that_count(row, index, lambda rung: rung.asr)


def firm_that_counts(row: FamiliesRow, index: int) -> list[tuple[float, str]]:
    """Return the rates by a clear lead in the same way, where they were measured."""
    return _that_count(row, index, lambda rung: rung.firm)


def _that_count(
    row: FamiliesRow, index: int, rate_of: Callable[[Rung], float | None]
) -> list[tuple[float, str]]:
    found = [
        (rate, rung.space)
        for rung in row.classes[index].measured
        if (rate := rate_of(rung)) is not None
        and thresholds_of(rung.space, row.pictures, Thresholds()) is not None
    ]
    return sorted(found, reverse=True)


def group(trigger: str | None, mode: str, family: str | None, planted_asr: float | None) -> str:
    """Return which of :data:`GROUPS` a network stands in.

    Args:
        trigger: that was planted; None in a clean network.
        mode: the attacker's goal.
        family: of the trigger.
        planted_asr: of the trigger, None where it is not known.

    """
    if trigger is None:
        return "clean"
    works = planted_asr is None or planted_asr >= Thresholds().backdoored
    searched = mode == ALL_TO_ONE and family != "dynamic" and works
    return "one target" if searched else "beyond what is searched"


def group_of(row: FamiliesRow) -> str:
    """Return which of :data:`GROUPS` the network of a row stands in."""
    return group(row.trigger, row.mode, row.family, row.planted_asr)


def outcome_of(row: FamiliesRow) -> str:
    """Return the outcome of a scan, one of ``truth.WORSE``."""
    return outcome(row.truth.targets, row.verdict, row.targets)


def told(outcomes: Counter[str]) -> str:
    """Return how often each outcome came, in words."""
    return ", ".join(f"{outcomes[one]} {one}" for one in WORSE if one in outcomes)


def _worst(rows: Sequence[FamiliesRow]) -> str:
    return max((outcome_of(row) for row in rows), key=WORSE.index)


def _right(row: FamiliesRow) -> bool:
    return outcome_of(row) in {"found", "clean"}


def _evidence(row: FamiliesRow) -> tuple[str, float] | None:
    """Return the space of the evidence for the attacked class, and its rate."""
    attacked = row.truth.targets
    if attacked == [] or not row.classes:
        return None
    of = [one for one in row.classes if attacked is None or one.index in attacked]
    best = max(of, key=lambda one: (one.status == "backdoored", one.asr))
    return best.space, best.asr


Rates = Callable[[FamiliesRow, int], list[tuple[float, str]]]


def _highest_clean(rows: Sequence[FamiliesRow], rates: Rates = rates_that_count) -> str:
    """Return the highest rate that counts towards a class without a backdoor, and its space."""
    found: list[tuple[float, str]] = []
    for row in rows:
        attacked = row.truth.targets
        others = [one.index for one in row.classes if attacked is not None]
        for index in set(others) - set(attacked or ()):
            found += rates(row, index)[:1]
    highest = max(found, default=None)
    return f"{highest[0]:.1%} (`{highest[1]}`)" if highest else NONE


def _firm(row: FamiliesRow) -> float | None:
    """Return the highest rate by a clear lead towards an attacked class."""
    attacked = row.truth.targets
    of = range(len(row.classes)) if attacked is None else attacked
    found = [firm_that_counts(row, index)[:1] for index in of if index < len(row.classes)]
    return max((one[0][0] for one in found if one), default=None)


def _family(row: FamiliesRow) -> bool:
    """Return whether triggers of the planted family, or of one that contains it, accuse a class.

    One that does not obey them as often, but weaker ones of another family, is told by those.
    """
    if not _found(row) or (evidence := evidence_of(row)) is None:
        return False
    case, attacked = Case(Thresholds(), evidence), row.truth.targets
    of = row.targets if attacked is None else attacked
    return any(same_family(row.family, one.space) for index in of for one in case.accusing(index))


def _found(row: FamiliesRow) -> bool:
    return outcome_of(row) in {"found", "found, others too"}


def _line(rows: Sequence[FamiliesRow]) -> Line:
    first = rows[0]
    evidence = [one for one in map(_evidence, rows) if one]
    spaces = dict.fromkeys(space for space, _ in evidence)
    return {
        "network": first.network,
        "planted": first.truth.words,
        "accuracy": averaged([row.accuracy for row in rows]),
        "its ASR": averaged([row.planted_asr for row in rows]),
        "worst of the seeds": _worst(rows),
        "right verdict": share([_right(row) for row in rows]),
        "right family": share([_family(row) for row in rows]) if first.trigger else NONE,
        "evidence": ", ".join(f"`{space}`" for space in spaces) or NONE,
        "ASR found": averaged([rate for _, rate in evidence], lowest=True),
        "by a clear lead": averaged(list(map(_firm, rows)), lowest=True),
        "highest ASR, other classes": _highest_clean(rows),
        "the same by a clear lead": _highest_clean(rows, firm_that_counts),
        **_costs(rows),
    }


def _total(group: str, networks: Sequence[Sequence[FamiliesRow]]) -> Line:
    rows = [row for own in networks for row in own]
    outcomes = Counter(map(_worst, networks))
    attacked = group != "clean"
    return {
        "network": f"**{group}: {len(networks)}**",
        "planted": NONE,
        "accuracy": averaged([row.accuracy for row in rows], lowest=True),
        "its ASR": averaged([row.planted_asr for row in rows], lowest=True),
        "worst of the seeds": told(outcomes) + _bound(group, outcomes),
        "right verdict": share([_right(row) for row in rows]),
        "right family": share([_family(row) for row in rows]) if attacked else NONE,
        "evidence": NONE,
        "ASR found": averaged([one[1] for one in map(_evidence, rows) if one], lowest=True),
        "by a clear lead": averaged(list(map(_firm, rows)), lowest=True),
        "highest ASR, other classes": _highest_clean(rows),
        "the same by a clear lead": _highest_clean(rows, firm_that_counts),
        **_costs(rows),
    }


def _bound(group: str, outcomes: Counter[str]) -> str:
    """Return the upper bound of the share of networks for which the verdict would be wrong."""
    if (wrong := WRONG.get(group)) is None:
        return ""
    bound = share_upper_bound(outcomes[wrong], outcomes.total())
    return f"; {wrong}: at most {bound:.0%} of networks like these (95 %)"


def _costs(rows: Sequence[FamiliesRow]) -> Line:
    scanned = [row for row in rows if row.classes]
    if not scanned:
        return {"passes": NONE, "seconds": NONE, "MiB": NONE}
    passes = fmean(row.image_passes + row.image_passes_backward for row in scanned)
    memory = max((row.memory for row in scanned if row.memory is not None), default=None)
    return {
        "passes": f"{passes:,.0f}",
        "seconds": f"{fmean(row.seconds for row in scanned):.0f}",
        "MiB": NONE if memory is None else f"{memory:.0f}",
    }
