"""The ladder: how well the best triggers of each space work, from weak spaces to strong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unbackdoor.errors import printable
from unbackdoor.report.curves import Scale
from unbackdoor.report.spaces import anywhere, described, names
from unbackdoor.report.words import MISSING, class_name, clip, found, listed, percent
from unbackdoor.results import ClassRecord, Rung, ScanResult, SearchedSpace

MOST = 30
"""Spaces that are shown."""
COLUMNS = 3
"""Found classes with a column of their own."""
Rates = dict[str, float]
"""By space."""
ByClass = Mapping[int, Rates]
ROW, TOP, BOTTOM = 34.0, 48.0, 34.0


TOO_STRONG = "too strong to count"


@dataclass(frozen=True)
class Limit:
    """The rate from which a class counts as backdoored: a line that steps where a space asks more.

    Args:
        x, y: of what it says.
        points: of an SVG polyline.
        text: what it says.
        steps: whether it is not straight.

    """

    x: float
    y: float
    points: str
    text: str
    steps: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """One space in the figure.

    Args:
        y: its height.
        name: of the space.
        low, high: between which the rates of classes without a backdoor lie, None without any.
        marks: x of each class with a backdoor.
        written: the highest of all rates.
        clean: x of the rate up to which a class counts as clean; None where nothing counts.
        tone: ``backdoored`` if a found class is above the threshold here, by its rate or by a clear
            lead, ``muted`` where triggers are too strong to be evidence.
        note: what is said under the name.
        hint: the rates in words.

    """

    y: float
    name: str
    low: float | None
    high: float | None
    marks: list[float]
    written: str
    clean: float | None
    tone: str
    note: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class LadderPlot:
    """The whole figure, in units of its view box."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    ticks: list[tuple[float, str]]
    limit: Limit
    steps: list[Step]


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One space in the table: rates of the found classes, then the best other class.

    Args:
        name, description: of the space.
        note: that its triggers are too strong to count; empty where they do.
        clean: rate up to which a class counts as clean, in words.
        rates: of the found classes that have a column.
        other, other_rate: of the best other class.

    """

    name: str
    description: str
    note: str
    clean: str
    rates: list[str]
    other: str
    other_rate: str


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The ladder of a scan: the figure, at two widths, and the table.

    Args:
        plots: a wide and a narrow one.
        text: the figure in words.
        heads: names of the found classes that have a column.
        rows: a line for each space.
        unshown: how many spaces are left out.
        muted: whether the triggers of a space are too strong to count.
        leads: whether a class counts as backdoored by its lead, where its rate would not do.

    """

    plots: list[LadderPlot]
    text: str
    heads: list[str]
    rows: list[LadderRow]
    unshown: int
    muted: bool
    leads: bool


def strongest(scan: ScanResult) -> dict[str, tuple[int, float]]:
    """Return for each space the class whose triggers work best, and their rate."""
    best: dict[str, tuple[int, float]] = {}
    for record in scan.classes:
        for space, rate in rates(record).items():
            if space not in best or rate > best[space][1]:
                best[space] = record.index, rate
    return best


def rates(record: ClassRecord) -> Rates:
    """Return the highest rate of a class in each space, whatever the place."""
    return _highest(record, lambda rung: rung.asr)


def leads(record: ClassRecord) -> Rates:
    """Return the highest rate by a clear lead in the same way, where it was measured."""
    return _highest(record, lambda rung: rung.firm)


def _highest(record: ClassRecord, rate_of: Callable[[Rung], float | None]) -> Rates:
    highest: Rates = {}
    for rung in record.ladder:
        space, rate = anywhere(rung.space), rate_of(rung)
        if rate is not None:
            highest[space] = max(rate, highest.get(space, 0.0))
    return highest


def ladder(scan: ScanResult) -> Ladder | None:
    """Return the ladder of a scan, None where it has no more than one space."""
    best = strongest(scan)
    every = [name for name in names(scan, scan.classes) if name in best]
    if len(every) < 2:
        return None
    shown, marked = every[:MOST], found(scan)
    of = {record.index: rates(record) for record in scan.classes}
    told = {record.index: of.pop(record.index) for record in marked}
    columns = list(told)[:COLUMNS]
    return Ladder(
        plots=[_plot(scan, shown, best, (told, of), width) for width in (860, 360)],
        text=_text(scan, shown, best),
        heads=[class_name(scan, index) for index in columns],
        rows=[_row(scan, space, marked[: len(columns)], of) for space in shown],
        unshown=len(every) - len(shown),
        muted=not all(_rule(scan, space).counts for space in shown),
        leads=any(
            _by_lead(record, space, _rule(scan, space)) for record in marked for space in shown
        ),
    )


def _rule(scan: ScanResult, space: str) -> SearchedSpace:
    """Return what counts in a space; the general thresholds where the result does not tell."""
    for one in scan.spaces:
        if one.name == space:
            return one
    rule = scan.thresholds
    return SearchedSpace(name=space, description="", clean=rule.clean, backdoored=rule.backdoored)


def _text(scan: ScanResult, spaces: Sequence[str], best: Mapping[str, tuple[int, float]]) -> str:
    said = [
        f"{printable(space)} {percent(best[space][1])} towards {class_name(scan, best[space][0])}"
        + ("" if _rule(scan, space).counts else f" ({TOO_STRONG})")
        for space in spaces
    ]
    return f"Attack success of the best triggers of each space: {listed(said)}."


def _row(scan: ScanResult, space: str, told: Sequence[ClassRecord], others: ByClass) -> LadderRow:
    ranked = sorted((-of[space], index) for index, of in others.items() if space in of)
    rule = _rule(scan, space)
    return LadderRow(
        name=printable(space),
        description=described(scan, space),
        note="" if rule.counts else TOO_STRONG,
        clean=f"{rule.clean:.0%}".replace("%", " %") if rule.counts else MISSING,
        rates=[_told(record, space, rule) for record in told],
        other=class_name(scan, ranked[0][1]) if ranked else MISSING,
        other_rate=percent(-ranked[0][0]) if ranked else MISSING,
    )


def _told(record: ClassRecord, space: str, rule: SearchedSpace) -> str:
    """Return the rate of a found class, and its lead where it is the lead that decides."""
    rate = percent(rates(record).get(space))
    if not _by_lead(record, space, rule):
        return rate
    return f"{rate}, {percent(leads(record)[space])} by a clear lead"


def _by_lead(record: ClassRecord, space: str, rule: SearchedSpace) -> bool:
    """Return whether it is the lead that decides, because the rate alone would not do."""
    return rates(record).get(space, 1.0) < rule.backdoored and _leads(record, space, rule)


def _leads(record: ClassRecord, space: str, rule: SearchedSpace) -> bool:
    asked = rule.firm if rule.counts else None
    return asked is not None and leads(record).get(space, 0.0) >= asked


def _plot(
    scan: ScanResult,
    spaces: Sequence[str],
    best: Mapping[str, tuple[int, float]],
    both: tuple[ByClass, ByClass],
    width: int,
) -> LadderPlot:
    left, right = 132.0, width - 70.0
    x = Scale(0, 1, left, right)
    height = TOP + ROW * len(spaces) + BOTTOM
    marked = found(scan)
    steps: list[Step] = []
    for number, space in enumerate(spaces):
        high, low = ([of[space] for of in part.values() if space in of] for part in both)
        index, rate = best[space]
        rule = _rule(scan, space)
        clear = any(_leads(record, space, rule) for record in marked)
        tone = "backdoored" if clear or (high and max(high) >= rule.backdoored) else "clean"
        steps.append(
            Step(
                y=TOP + ROW * (number + 0.5),
                name=clip(printable(space), 30),
                low=x(min(low)) if low else None,
                high=x(max(low)) if low else None,
                marks=[x(one) for one in sorted(high)],
                written=percent(rate),
                clean=x(rule.clean) if rule.counts else None,
                tone=tone if rule.counts else "muted",
                note="" if rule.counts else TOO_STRONG,
                hint=f"{printable(space)}: {percent(rate)} towards {class_name(scan, index)}"
                + ("" if rule.counts else f", {TOO_STRONG}"),
            )
        )
    return LadderPlot(
        width=width,
        height=height,
        left=left,
        right=right,
        top=TOP,
        bottom=height - BOTTOM,
        ticks=[(x(share), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1)],
        limit=_limit(scan, spaces, x),
        steps=steps,
    )


def _limit(scan: ScanResult, spaces: Sequence[str], x: Scale) -> Limit:
    general = scan.thresholds.backdoored
    rules = [_rule(scan, space) for space in spaces]
    asked = [rule.backdoored if rule.counts else general for rule in rules]
    path = [(x(general), TOP - 8)]
    for number, share in enumerate(asked):
        path += [(x(share), TOP + ROW * number), (x(share), TOP + ROW * (number + 1))]
    return Limit(
        x=x(general),
        y=TOP - 14,
        points=" ".join(f"{across:g},{down:g}" for across, down in path),
        text=f"backdoored from {general:.0%}".replace("%", " %"),
        steps=len(set(asked)) > 1,
    )
