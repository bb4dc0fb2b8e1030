"""Where results go: files, pages and the terminal. Every result is written and printed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from unbackdoor import results
from unbackdoor.app import terminal
from unbackdoor.errors import ArgumentError
from unbackdoor.models.huggingface import CONFIG, WEIGHTS
from unbackdoor.report import page as pages
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.report.table import show, show_one_of_several, show_summary
from unbackdoor.results import RepairResult, Result, Scanned, ScanResult, Unscanned
from unbackdoor.runtime.files import check_output, write_bytes

Outcome = Result | Unscanned | list[Scanned]
"""Of one model, or of several."""


def check_outputs(
    paths: Mapping[str, Path | None],
    inputs: Mapping[str, Sequence[str | Path | None]],
    *,
    folder: str | None = None,
) -> None:
    """Check that everything can be written, and that nothing is written over what is read.

    Args:
        paths: argument → where it wants something written.
        inputs: argument → what it names, perhaps a folder with a model.
        folder: the argument that wants a folder of pages, if one does.

    """
    taken = {
        _place(path): argument
        for argument, named in inputs.items()
        for name in named
        if name is not None
        for path in (Path(name), Path(name, CONFIG), Path(name, WEIGHTS))
    }
    for argument, path in paths.items():
        if path is None:
            continue
        if argument == folder:
            pages.check_pages(path, argument)
        else:
            check_output(path, argument)
        other = taken.setdefault(_place(path), argument)
        if other != argument:
            raise ArgumentError(f"{argument}: {path} is also named by {other}; name another.")


def write_and_print(
    outcome: Outcome,
    *,
    file: Path | None,
    page: Path | None,
    form: Literal["table", "json", "sarif"],
    quiet: bool,
) -> None:
    """Write a result where it was asked for, and print it.

    Args:
        outcome: the result, or those of several models, whose tables are printed already.
        file: where it goes, as SARIF where the name ends so and else as JSON.
        page: where its page goes, or the folder of pages of several.
        form: how it is printed.
        quiet: whether no table is printed.

    """
    if file:
        write_file(outcome, file)
    if page:
        write_page(outcome, page)
    if form == "json":
        terminal.write(results.encode(outcome).decode())
    elif form == "sarif" and not isinstance(outcome, RepairResult):
        terminal.write(_sarif(outcome).decode())
    else:
        print_table(outcome, quiet=quiet)


def write_file(outcome: Outcome, path: Path) -> None:
    """Write a result as SARIF where the name ends so, else, and that of a repair, as JSON."""
    if path.suffix.lower() == ".sarif" and not isinstance(outcome, RepairResult):
        write_bytes(path, _sarif(outcome))
    else:
        results.write(outcome, path)


def write_page(outcome: Outcome, path: Path) -> None:
    """Write the page of a result, or a folder of the pages of several."""
    if isinstance(outcome, list):
        pages.write_pages(outcome, path)
    else:
        pages.write_page(outcome, path)


def print_table(outcome: Outcome, *, quiet: bool) -> None:
    """Print the table of a result, or the summary of several; an error has its sentence instead."""
    console = terminal.Terminal(quiet=quiet)
    if isinstance(outcome, list):
        show_summary(outcome, console)
    elif not isinstance(outcome, Unscanned):
        show(outcome, console)


def print_one_of_several(outcome: Scanned, *, quiet: bool) -> None:
    """Print the table of one of several models, under its name."""
    show_one_of_several(outcome, terminal.Terminal(quiet=quiet))


def _sarif(outcome: ScanResult | Unscanned | list[Scanned]) -> bytes:
    return encode_sarif(outcome if isinstance(outcome, list) else [outcome])


def _place(path: Path) -> Path:
    """Return where a path leads; one that leads nowhere is told from others by its name."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null byte
        return path
