"""All classes of one scan: the figure of their volumes, and the table."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.errors import printable
from unbackdoor.report.curves import CurvePlot, curve_plot, height_of
from unbackdoor.report.looks import drawer
from unbackdoor.report.triggers import Picture, picture
from unbackdoor.report.words import (
    SYMBOLS,
    by_success,
    class_name,
    compact,
    listed,
    percent,
    room,
)
from unbackdoor.results import ScanResult, Status

ROWS_SHOWN = 20
"""Classes in the table before the rest is folded away."""
TOLD = 6
"""Classes whose volumes are told in words."""
BYTES = 300_000
"""Room on a page for the pictures in the table."""


@dataclass(frozen=True)
class ClassRow:
    """One line of the table of classes.

    Args:
        index, name, status, symbol, success: of the class.
        space: of its best trigger.
        best: that trigger, None where there is no more room for pictures.
        rooms: log|V_β| for each β of the table.

    """

    index: int
    name: str
    status: Status
    symbol: str
    success: str
    space: str
    best: Picture | None
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


def class_table(scan: ScanResult) -> Classes:
    """Return the figure and the table of a scan, by falling attack success."""
    betas = sorted({volume.beta for record in scan.classes for volume in record.log_volume})
    rows: list[ClassRow] = []
    left = BYTES
    for record in by_success(scan.classes):
        rooms = {volume.beta: room(volume) for volume in record.log_volume}
        name = class_name(scan, record.index) if not record.name else printable(record.name)
        pixels = drawer(record.space, record.trigger_shape).pixels(record.best)
        best = picture(pixels, 30, f"best trigger towards {name}")
        left -= len(best.uri)
        rows.append(
            ClassRow(
                record.index,
                name,
                record.status,
                SYMBOLS[record.status],
                percent(record.asr),
                printable(record.space),
                best if left >= 0 else None,
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
    for record in marked[:TOLD]:
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
