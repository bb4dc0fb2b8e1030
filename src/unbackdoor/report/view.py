"""What the page shows, as plain values; every string from outside is one printable line."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from unbackdoor.errors import printable
from unbackdoor.report.classes import Classes, class_table
from unbackdoor.report.draws import check_shapes
from unbackdoor.report.examples import Pairs, pairs
from unbackdoor.report.ladder import Ladder, ladder
from unbackdoor.report.places import PlaceMap, place_map
from unbackdoor.report.provenance import Record, records
from unbackdoor.report.sentences import COLUMNS, ROWS, limits, next_step
from unbackdoor.report.spaces import (
    Searched,
    described,
    names,
    nothing_searched,
    searched_list,
)
from unbackdoor.report.strip import Strip, strips
from unbackdoor.report.tradeoff import TradeOff, trade_off
from unbackdoor.report.triggers import Portrait, portraits
from unbackdoor.report.words import (
    SYMBOLS,
    by_success,
    clip,
    found,
    headline,
    in_vain,
    intake,
    percent,
)
from unbackdoor.results import (
    ClassRecord,
    Finding,
    RepairResult,
    RepairRow,
    Result,
    ScanResult,
    Unscanned,
    Verdict,
    verdict,
)

PORTRAITS = 6
"""Classes that are shown with their triggers."""


@dataclass(frozen=True)
class Tile:
    """One figure in large type: before and after, or one alone."""

    name: str
    before: str | None
    value: str


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a scan tried: the spaces, and the places of patches; None where there is but one."""

    ladder: Ladder | None
    places: PlaceMap | None


@dataclass(frozen=True, kw_only=True)
class RepairLine:
    """One line of the repair table; the shares are for bars, the rest is written."""

    name: str
    meaning: str
    accuracy: str
    recovered: str
    original: str
    confusion: str
    recovered_share: float | None
    original_share: float | None
    confusion_share: float


@dataclass(frozen=True, kw_only=True)
class Again:
    """The scan of the repaired model."""

    verdict: str
    searched: Searched
    tone: Verdict
    symbol: str
    reason: str
    tried: Tried
    classes: Classes | None
    portraits: list[Portrait]


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair adds to the page of its first scan."""

    lines: list[RepairLine]
    columns: dict[str, str]
    trade_off: TradeOff | None
    again: Again | None


@dataclass(frozen=True, kw_only=True)
class View:
    """The page."""

    kind: str
    searched: Searched
    headline: str
    tone: Verdict
    symbol: str
    reason: str
    step: str
    model: str
    facts: list[tuple[str, str]]
    findings: list[Finding]
    tiles: list[Tile]
    strips: dict[str, Strip]
    tried: Tried
    classes: Classes | None
    portraits: list[Portrait]
    found: bool
    unshown: int
    pairs: Pairs
    repair: Repair | None
    limits: list[tuple[str, str]]
    records: list[Record]


@dataclass(frozen=True, kw_only=True)
class UnscannedView:
    """The page of a model that could not be scanned."""

    symbol: str
    error: str
    facts: list[tuple[str, str]]


def view(result: Result) -> View:
    """Return what the page of a result shows.

    Raises:
        ContentError: bytes of the result do not fit the shapes it states.

    """
    scan = result if isinstance(result, ScanResult) else result.scan
    last = result if isinstance(result, ScanResult) else result.latest
    for one in (scan, last):
        check_shapes(one)
    striking = _striking(scan)
    outcome = verdict(result)
    return View(
        kind="Scan" if isinstance(result, ScanResult) else "Repair",
        searched=searched_list(last),
        headline=headline(result),
        tone=outcome,
        symbol=SYMBOLS[outcome],
        reason=_reason(result),
        step=next_step(result),
        model=printable(scan.model.path) or "a model handed over in Python",
        facts=_facts(result, scan),
        findings=_findings(scan),
        tiles=_scan_tiles(result) if isinstance(result, ScanResult) else _repair_tiles(result),
        strips=strips(last.standing),
        tried=_tried(scan),
        classes=None if nothing_searched(scan) else class_table(scan),
        portraits=portraits(scan, striking[:PORTRAITS]),
        found=bool(found(scan)),
        unshown=len(striking[PORTRAITS:]),
        pairs=pairs(scan),
        repair=None if isinstance(result, ScanResult) else _repair(result),
        limits=limits(last),
        records=records(result),
    )


def unscanned_view(outcome: Unscanned) -> UnscannedView:
    """Return what the page of a model shows that could not be scanned."""
    return UnscannedView(
        symbol=SYMBOLS["not scanned"],
        error=printable(outcome.error),
        facts=[
            ("Model", printable(outcome.model.path)),
            ("SHA-256 of the model", printable(outcome.model.sha256) or "cannot be read"),
            ("Exit code", str(outcome.exit_code)),
        ],
    )


def _findings(scan: ScanResult) -> list[Finding]:
    """Return what the preflight saw, what the reader has to deal with first."""
    return [
        msgspec.structs.replace(
            finding,
            check=printable(finding.check),
            sentence=printable(finding.sentence),
            remedy=printable(finding.remedy),
        )
        for finding in sorted(scan.preflight, key=lambda one: one.severity != "warning")
    ]


def _striking(scan: ScanResult) -> list[ClassRecord]:
    """Return the classes whose triggers are worth a look: those found, then those in between."""
    if nothing_searched(scan):
        return []
    classes = found(scan)
    others = [record for record in by_success(scan.classes) if record.status == "suspicious"]
    return classes + [record for record in others if record not in classes]


def _facts(result: Result, scan: ScanResult) -> list[tuple[str, str]]:
    facts = [
        ("Model", printable(scan.model.path) or "handed over in Python"),
        ("SHA-256 of the model", printable(scan.model.sha256) or "not a file"),
        ("Architecture", printable(scan.model.arch)),
        (
            "Data",
            f"{printable(scan.data.name)}: {scan.data.defend:,} images to search with, "
            f"{scan.data.evaluate:,} held back, {len(scan.data.classes):,} classes",
        ),
        ("Triggers searched", _spaces(scan)),
    ]
    if scan.data.intake is not None:
        facts.insert(4, ("Pictures", intake(scan.data.intake)))
    if scan.checks:
        facts.append(("Planted in a copy as a check", _checks(scan)))
    if isinstance(result, RepairResult):
        facts += [
            ("Repaired model", printable(result.output) or "not written"),
            ("SHA-256 of the repaired model", printable(result.sha256) or "not a file"),
        ]
    return facts


def _checks(scan: ScanResult) -> str:
    """Return the known triggers that were planted in a copy, and whether they were found."""
    said = [
        f"{printable(one.trigger)} ({'found' if one.found else 'not found'}; works on "
        f"{percent(one.works)})"
        for one in scan.checks
    ]
    return ", ".join(said)


def _spaces(scan: ScanResult) -> str:
    """Return what was typed, and the spaces that it stands for."""
    if nothing_searched(scan):
        return f"none of {printable(scan.space)}"
    every = list(map(printable, names(scan)))
    if len(every) > 1:
        return f"{printable(scan.space)}: {', '.join(every)}"
    return f"{printable(scan.space)}: {described(scan, scan.space)}"


def _tried(scan: ScanResult) -> Tried:
    return Tried(ladder=ladder(scan), places=place_map(scan))


def _scan_tiles(scan: ScanResult) -> list[Tile]:
    tiles = [Tile("accuracy on clean images", None, percent(scan.model.accuracy))]
    if (classes := by_success(scan.classes)) and not nothing_searched(scan):
        best = clip(printable(classes[0].name), 30)
        tiles.append(
            Tile(f"attack success of the best trigger ({best})", None, percent(classes[0].asr))
        )
        tiles.append(
            Tile("classes with a backdoor", None, f"{len(scan.targets)} of {len(classes)}")
        )
    return tiles


def _repair_tiles(result: RepairResult) -> list[Tile]:
    rows = {row.name: row for row in result.rows}
    after = rows.get("repaired") or rows.get("best attempt")
    if not (before := rows.get("before")) or after is None:
        return []
    # Some of these images were watched; what was lost is told of those that decide nothing.
    on = f"accuracy on the {result.scan.data.evaluate:,} images that the scan held back"
    tiles = [Tile(on, percent(before.accuracy), percent(after.accuracy))]
    if before.recovered_asr is not None:
        rates = percent(before.recovered_asr), percent(after.recovered_asr)
        tiles.insert(0, Tile("attack success, recovered triggers", *rates))
    if before.original_asr is not None:
        planted = percent(before.original_asr), percent(after.original_asr)
        tiles.insert(0, Tile("attack success, planted trigger", *planted))
    return tiles


def _reason(result: Result) -> str:
    """Return why the outcome is what it is."""
    if isinstance(result, ScanResult):
        return printable(result.reason)
    parts = [
        result.assumed and result.assumed.sentence,
        result.guard and result.guard.sentence,
        in_vain(result),
        result.rescan and result.rescan.reason,
    ]
    return printable(" ".join(filter(None, parts)))


def _repair(result: RepairResult) -> Repair:
    again = result.rescan
    return Repair(
        lines=[_line(row) for row in result.rows],
        columns=COLUMNS,
        trade_off=trade_off(result.guard),
        again=None
        if again is None
        else Again(
            verdict=headline(again),
            searched=searched_list(again),
            tone=again.verdict,
            symbol=SYMBOLS[again.verdict],
            reason=printable(again.reason),
            tried=_tried(again),
            classes=None if nothing_searched(again) else class_table(again),
            portraits=portraits(again, _striking(again)[:PORTRAITS]),
        ),
    )


def _line(row: RepairRow) -> RepairLine:
    return RepairLine(
        name=printable(row.name),
        meaning=ROWS.get(row.name, ""),
        accuracy=percent(row.accuracy),
        recovered=percent(row.recovered_asr),
        original="unknown" if row.original_asr is None else percent(row.original_asr),
        confusion=percent(row.confusion),
        recovered_share=row.recovered_asr,
        original_share=row.original_asr,
        confusion_share=row.confusion,
    )


def short_title(result: Result | Unscanned) -> str:
    """Return the title of the page: the outcome and the model."""
    outcome = "Not scanned" if isinstance(result, Unscanned) else headline(result)
    path = (result.scan if isinstance(result, RepairResult) else result).model.path
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return " · ".join(part for part in (clip(outcome, 80), printable(name)) if part)
