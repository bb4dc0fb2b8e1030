"""What the page shows, as plain values; every string from outside is one printable line."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from unbackdoor.errors import printable
from unbackdoor.report.curves import CurvePlot, curve_plot, height_of
from unbackdoor.report.draws import check_shapes
from unbackdoor.report.examples import Pairs, pairs
from unbackdoor.report.provenance import Record, records
from unbackdoor.report.sentences import COLUMNS, ROWS, limits
from unbackdoor.report.triggers import Picture, Portrait, picture, portraits
from unbackdoor.report.words import (
    SYMBOLS,
    by_success,
    class_name,
    clip,
    compact,
    found,
    headline,
    listed,
    percent,
    room,
    verdict,
)
from unbackdoor.results import (
    ClassRecord,
    Finding,
    RepairResult,
    RepairRow,
    Result,
    ScanResult,
    Status,
    Unscanned,
    Verdict,
)

ROWS_SHOWN = 20
"""Classes in the table before the rest is folded away."""
PORTRAITS = 6
"""Classes that are shown with their triggers."""


@dataclass(frozen=True)
class Tile:
    """One figure in large type: before and after, or one alone."""

    name: str
    before: str | None
    value: str


@dataclass(frozen=True)
class ClassRow:
    """One line of the table of classes; ``rooms`` holds log|V_β| for each β of the table."""

    index: int
    name: str
    status: Status
    symbol: str
    success: str
    best: Picture
    rooms: list[str]


@dataclass(frozen=True, kw_only=True)
class Classes:
    """All classes of one scan: the figure, at two widths, and the table.

    Args:
        plots: a wide and a narrow one; empty where there is nothing to draw.
        text: the figure in words.
        betas: heads of the table's last columns.
        first: rows that are always shown.
        rest: rows that are folded away.

    """

    plots: list[CurvePlot]
    text: str
    betas: list[str]
    first: list[ClassRow]
    rest: list[ClassRow]


@dataclass(frozen=True, kw_only=True)
class RepairLine:
    """One line of the repair table; the shares are for bars, the rest is written."""

    name: str
    meaning: str
    accuracy: str
    recovered: str
    original: str
    confusion: str
    recovered_share: float
    original_share: float | None
    confusion_share: float


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair adds to the page of its first scan."""

    lines: list[RepairLine]
    columns: dict[str, str]
    verdict: str
    tone: Verdict
    symbol: str
    reason: str
    classes: Classes
    portraits: list[Portrait]


@dataclass(frozen=True, kw_only=True)
class View:
    """The page."""

    kind: str
    headline: str
    tone: Verdict
    symbol: str
    reason: str
    model: str
    facts: list[tuple[str, str]]
    findings: list[Finding]
    tiles: list[Tile]
    classes: Classes
    portraits: list[Portrait]
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
    for one in [scan] if isinstance(result, ScanResult) else [scan, result.rescan]:
        check_shapes(one)
    striking = _striking(scan)
    outcome = verdict(result)
    return View(
        kind="Scan" if isinstance(result, ScanResult) else "Repair",
        headline=headline(result),
        tone=outcome,
        symbol=SYMBOLS[outcome],
        reason=printable(scan.reason if isinstance(result, ScanResult) else result.rescan.reason),
        model=printable(scan.model.path) or "a model handed over in Python",
        facts=_facts(result, scan),
        findings=_findings(scan),
        tiles=_scan_tiles(result) if isinstance(result, ScanResult) else _repair_tiles(result),
        classes=_classes(scan),
        portraits=portraits(scan, striking[:PORTRAITS]),
        unshown=len(striking[PORTRAITS:]),
        pairs=pairs(scan),
        repair=None if isinstance(result, ScanResult) else _repair(result),
        limits=limits(scan if isinstance(result, ScanResult) else result.rescan),
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
        ("Triggers searched", printable(scan.space)),
    ]
    if isinstance(result, RepairResult):
        facts += [
            ("Repaired model", printable(result.output) or "not written"),
            ("SHA-256 of the repaired model", printable(result.sha256) or "not a file"),
        ]
    return facts


def _scan_tiles(scan: ScanResult) -> list[Tile]:
    tiles = [Tile("accuracy on clean images", None, percent(scan.model.accuracy))]
    if classes := by_success(scan.classes):
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
    if not (before := rows.get("before")) or not (after := rows.get("repaired")):
        return []
    tiles = [
        Tile(
            "attack success, recovered triggers",
            percent(before.recovered_asr),
            percent(after.recovered_asr),
        ),
        Tile("accuracy on clean images", percent(before.accuracy), percent(after.accuracy)),
    ]
    if before.original_asr is not None:
        planted = percent(before.original_asr), percent(after.original_asr)
        tiles.insert(0, Tile("attack success, planted trigger", *planted))
    return tiles


def _classes(scan: ScanResult) -> Classes:
    betas = sorted({volume.beta for record in scan.classes for volume in record.log_volume})
    rows: list[ClassRow] = []
    for record in by_success(scan.classes):
        rooms = {volume.beta: room(volume) for volume in record.log_volume}
        name = class_name(scan, record.index) if not record.name else printable(record.name)
        rows.append(
            ClassRow(
                record.index,
                name,
                record.status,
                SYMBOLS[record.status],
                percent(record.asr),
                picture(record.best, record.trigger_shape, 30, f"best trigger towards {name}"),
                [rooms.get(beta, "–") for beta in betas],
            )
        )
    known = any(volume.value is not None for one in scan.classes for volume in one.log_volume)
    # Bounds alone make a flat figure: there is little to see in it, so it is kept low.
    sizes = ((860, 430), (360, 380)) if known else ((860, 250), (360, 250))
    plots = [curve_plot(scan.classes, *size) for size in sizes]
    return Classes(
        plots=[plot for plot in plots if plot],
        text=_curves_in_words(scan),
        betas=[compact(beta) for beta in betas],
        first=rows[:ROWS_SHOWN],
        rest=rows[ROWS_SHOWN:],
    )


def _curves_in_words(scan: ScanResult) -> str:
    said: list[str] = []
    marked = [record for record in by_success(scan.classes) if record.status != "clean"]
    for record in marked[:PORTRAITS]:
        levels = [
            f"{room(volume)} at β = {compact(volume.beta)}"
            for volume in record.log_volume
            if height_of(volume) is not None
        ]
        if levels:
            said.append(f"{printable(record.name)} ({record.status}): {listed(levels)}.")
    clean = [record for record in scan.classes if record.status == "clean"]
    rooms = [volume for record in clean for volume in record.log_volume if volume.value is not None]
    if clean:
        said.append(
            f"{len(clean)} clean classes, "
            + (
                f"with {len(rooms)} estimates."
                if rooms
                else "for which only upper bounds are known."
            )
        )
    return "log|V_β| in nats against β. " + " ".join(said)


def _repair(result: RepairResult) -> Repair:
    return Repair(
        lines=[_line(row) for row in result.rows],
        columns=COLUMNS,
        verdict=headline(result.rescan),
        tone=result.rescan.verdict,
        symbol=SYMBOLS[result.rescan.verdict],
        reason=printable(result.rescan.reason),
        classes=_classes(result.rescan),
        portraits=portraits(result.rescan, _striking(result.rescan)[:PORTRAITS]),
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
