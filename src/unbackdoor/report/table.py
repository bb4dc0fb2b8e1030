"""A result as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from unbackdoor.errors import printable
from unbackdoor.report.draws import check_shapes, read_draws
from unbackdoor.report.pixels import Pixels, image, to_colour
from unbackdoor.report.sentences import next_step
from unbackdoor.report.spaces import family, located, nothing_searched, searched_in_short
from unbackdoor.report.tradeoff import lines
from unbackdoor.report.words import (
    SYMBOLS,
    by_success,
    class_name,
    clip,
    compact,
    found,
    headline,
    in_vain,
    intake,
    moves,
    percent,
    room,
    word_of,
)
from unbackdoor.results import (
    ClassRecord,
    RepairResult,
    Result,
    Scanned,
    ScanResult,
    Unscanned,
    verdict,
)

STYLES = {
    "backdoored": "bold red",
    "suspicious": "bold yellow",
    "inconclusive": "bold yellow",
    "clean": "green",
    "not scanned": "bold red",
}
ROWS = 12
"""Classes in the table, at most; the page has all of them."""
LARGEST_PICTURE, PICTURES = 6, 4


def show(result: Result, console: Console) -> None:
    """Print the verdict, its reason and a table; text from outside is never read as markup.

    Raises:
        ContentError: bytes of the result do not fit the shapes it states.

    """
    tone = verdict(result)
    scan = result if isinstance(result, ScanResult) else result.latest
    console.print(Text(searched_in_short(scan), style="dim"))
    console.print(Text(f"{SYMBOLS[tone]} {headline(result)}", style=STYLES[tone]))
    if isinstance(result, ScanResult):
        _show_triggers(result, console)
        step = next_step(result) if tone == "inconclusive" else ""
        console.print(Text(f"{printable(result.reason)} {step}".rstrip()))
        console.print(_subject(result))
        _show_intake(scan, console)
        if not nothing_searched(result):
            _show_classes(result, console)
        _show_means(result, console)
    else:
        before = verdict(result.scan)
        text = f"{SYMBOLS[before]} Before: {headline(result.scan)}"
        console.print(Text(text, style=STYLES[before]))
        if result.assumed:
            console.print(Text(printable(result.assumed.sentence)))
        if result.guard:
            console.print(Text(printable(result.guard.sentence)))
        if further := in_vain(result):
            console.print(Text(printable(further)))
        if result.rescan:
            console.print(Text(printable(result.rescan.reason)))
        _show_intake(scan, console)
        _show_repair(result, console)
        _show_trade_off(result, console)


def show_one_of_several(outcome: Scanned, console: Console) -> None:
    """Print what :func:`show` prints, under the name of the model, or why it was not scanned."""
    console.rule(Text(clip(printable(outcome.model.path), 70)), align="left", style="dim")
    if isinstance(outcome, Unscanned):
        style = STYLES["not scanned"]
        console.print(Text(f"{SYMBOLS['not scanned']} Not scanned", style=style))
        console.print(Text(printable(outcome.error)))
    else:
        show(outcome, console)
    console.print()


def show_summary(outcomes: Sequence[Scanned], console: Console) -> None:
    """Print a line for each of several models."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for name in ("model", "verdict", "towards"):
        table.add_column(name)
    for outcome in outcomes:
        word = word_of(outcome)
        classes = () if isinstance(outcome, Unscanned) else found(outcome)
        table.add_row(
            Text(printable(outcome.model.path)),
            Text(f"{SYMBOLS[word]} {word}", style=STYLES[word]),
            Text(", ".join(clip(printable(record.name), 32) for record in classes)),
        )
    console.print(table)


def _show_triggers(scan: ScanResult, console: Console) -> None:
    """Print what the best trigger towards each found class is, and where it lies."""
    # A trigger that sends each class to its own stands in the record of each of them.
    every = {(*record.goal,) or record.index: record for record in found(scan)}
    for record in list(every.values())[:PICTURES]:
        name = clip(class_name(scan, record.index), 32)
        whose = moves(scan, record.goal) if record.goal else f"towards {name}"
        console.print(Text(f"Trigger {whose}: {located(scan, record.space)}."))


def _subject(scan: ScanResult) -> Text:
    return Text(
        f"{printable(scan.model.path) or 'the model'} · {printable(scan.data.name)}, "
        f"{scan.data.evaluate:,} images held back · accuracy {percent(scan.model.accuracy)} · "
        f"seed {scan.seed} · {scan.image_passes:,} image passes · {scan.seconds:.0f} s",
        style="dim",
    )


def _show_intake(scan: ScanResult, console: Console) -> None:
    if scan.data.intake is not None:
        console.print(Text(f"Pictures: {intake(scan.data.intake)}", style="dim"))


def _show_classes(scan: ScanResult, console: Console) -> None:
    betas = sorted({volume.beta for record in scan.classes for volume in record.log_volume})
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    table.add_column("class", max_width=32, no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("ASR", justify="right", no_wrap=True)
    spaces = len({record.space for record in scan.classes}) > 1
    if spaces:
        table.add_column("best space", max_width=20, no_wrap=True)
    for beta in betas:
        table.add_column(f"log|V|\nβ {compact(beta)}", justify="right", no_wrap=True)
    ranked = by_success(scan.classes)
    shown = ranked[: max(ROWS, len(found(scan)))]
    for record in shown:
        rooms = {volume.beta: room(volume) for volume in record.log_volume}
        table.add_row(
            Text(clip(printable(record.name), 32)),
            Text(f"{SYMBOLS[record.status]} {record.status}", style=STYLES[record.status]),
            Text(percent(record.asr)),
            *([Text(clip(printable(record.space), 20))] if spaces else []),
            *[Text(rooms.get(beta, "–")) for beta in betas],
        )
    console.print()
    console.print(table)
    if rest := ranked[len(shown) :]:
        most = percent(max(record.asr for record in rest))
        console.print(Text(f"… and {len(rest)} more classes, ASR {most} at most", style="dim"))
    if betas:
        text = "log|V|: log of the share of all triggers that work, on a share β of images"
        console.print(Text(text, style="dim"))


def _show_means(scan: ScanResult, console: Console) -> None:
    """Print the mean patch of found classes in colour, two columns to a pixel."""
    check_shapes(scan)
    drawn = [
        record
        for record in found(scan)
        if record.stairs
        and record.stairs[-1].draws
        and family(record.space) == "patch"
        and max(record.trigger_shape[1:]) <= LARGEST_PICTURE
    ]
    if console.color_system is None or not drawn:
        return
    means = [_mean(record) for record in drawn[:PICTURES]]
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_row(*[_blocks(mean) for mean in means])
    grid.add_row(
        *[Text(clip(printable(record.name), 14), style="dim") for record in drawn[:PICTURES]]
    )
    console.print()
    console.print(Text(f"mean trigger at β {compact(drawn[0].stairs[-1].beta)}", style="dim"))
    console.print(grid)


def _mean(record: ClassRecord) -> Pixels:
    draws = read_draws(record.stairs[-1], record.dimensions)
    mean = draws.theta.mean(axis=0).round().astype(np.uint8)
    return to_colour(image(mean.tobytes(), record.trigger_shape))


def _blocks(pixels: Pixels) -> Text:
    text = Text()
    for number, row in enumerate(pixels.tolist()):
        text.append("\n" if number else "")
        for red, green, blue in row:
            text.append("  ", Style(bgcolor=f"rgb({red},{green},{blue})"))
    return text


def _show_repair(result: RepairResult, console: Console) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    table.add_column("model")
    for name in ("accuracy", "ASR, recovered", "ASR, planted", "confusion floor"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        planted = "unknown" if row.original_asr is None else percent(row.original_asr)
        rates = (percent(row.accuracy), percent(row.recovered_asr), planted, percent(row.confusion))
        _add(table, [row.name, *rates], "bold" if row.name == "repaired" else "")
    console.print()
    console.print(table)
    console.print()
    if result.rescan:
        tone = result.rescan.verdict
        console.print(
            Text.assemble(
                "Scanned again: ",
                (f"{SYMBOLS[tone]} {headline(result.rescan)}", STYLES[tone]),
            )
        )
    if result.output:
        console.print(Text(f"Written to {printable(result.output)}", style="dim"))


def _show_trade_off(result: RepairResult, console: Console) -> None:
    """Print the best states where the repair is not certain: what accuracy buys."""
    if result.guard is None or verdict(result) == "clean" or not result.guard.states:
        return
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for name in ("attempt", "images seen", "accuracy lost", "triggers work", "stronger ahead"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines(result.guard):
        cells = (line.attempt, line.seen, line.lost, line.works, line.ahead)
        _add(table, cells, "bold" if line.taken else "")
    console.print()
    text = f"The trade-off, on {result.guard.watched:,} images that were kept back:"
    console.print(Text(text, style="dim"))
    console.print(table)


def _add(table: Table, cells: Sequence[str], style: str) -> None:
    table.add_row(*[Text(printable(cell)) for cell in cells], style=style)
