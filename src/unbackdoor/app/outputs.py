"""Where results go: files, pages and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from unbackdoor import results
from unbackdoor.app import terminal
from unbackdoor.errors import ArgumentError
from unbackdoor.models.huggingface import CONFIG, WEIGHTS
from unbackdoor.report.page import check_pages, write_page, write_pages
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.report.table import show, show_summary
from unbackdoor.results import RepairResult, Result, Scanned, Unscanned
from unbackdoor.runtime.files import check_output, write_bytes

if TYPE_CHECKING:
    from unbackdoor.app import cli


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
        _place(Path(path)): argument
        for argument, named in inputs.items()
        for path in named
        if path is not None
        for path in (path, Path(path, CONFIG), Path(path, WEIGHTS))
    }
    for argument, path in paths.items():
        if path is not None:
            check_pages(path, argument) if argument == folder else check_output(path, argument)
            if (other := taken.setdefault(_place(path), argument)) != argument:
                raise ArgumentError(f"{argument}: {path} is also named by {other}; name another.")


def _place(path: Path) -> Path:
    """Return where a path leads; one that leads nowhere is told from others by its name."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null byte
        return path


def deliver(
    result: Result | Unscanned, options: cli.Scan | cli.Repair, output: Path | None
) -> None:
    """Write and print one result."""
    if output and output.suffix.lower() == ".sarif" and not isinstance(result, RepairResult):
        write_bytes(output, encode_sarif([result]))
    elif output:
        results.write(result, output)
    if options.report:
        write_page(result, options.report)
    if options.format == "json":
        terminal.write(results.encode(result).decode())
    elif options.format == "sarif" and not isinstance(result, RepairResult):
        terminal.write(encode_sarif([result]).decode())
    elif not isinstance(result, Unscanned):
        show(result, terminal.Terminal(quiet=options.quiet))


def deliver_several(outcomes: Sequence[Scanned], options: cli.Scan, console: Console) -> None:
    """Write and print the results of several models; their tables are printed already."""
    if output := options.output:
        sarif = output.suffix.lower() == ".sarif"
        write_bytes(output, encode_sarif(outcomes) if sarif else results.encode(outcomes))
    if options.report:
        write_pages(outcomes, options.report)
    if options.format == "json":
        terminal.write(results.encode(outcomes).decode())
    elif options.format == "sarif":
        terminal.write(encode_sarif(outcomes).decode())
    else:
        show_summary(outcomes, console)
