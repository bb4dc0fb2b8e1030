"""Where results go: files, pages and the terminal. Every result is written and printed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from unbackdoor import results
from unbackdoor.app import terminal
from unbackdoor.data.reach import reads
from unbackdoor.errors import ArgumentError
from unbackdoor.models.huggingface import files_of
from unbackdoor.models.onnxbytes import data_of
from unbackdoor.report import page as pages
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.report.table import show, show_one_of_several, show_summary
from unbackdoor.results import RepairResult, Result, Scanned, ScanResult, Unscanned
from unbackdoor.runtime.files import check_output, write_bytes

FORMS = frozenset(
    {".csv", ".htm", ".html", ".json", ".md", ".pdf", ".png", ".sarif", ".svg", ".txt", ".xml"}
)
"""Suffixes that promise a form; any other name says nothing of what a file holds."""
PAGE, RESULT, SCAN = (".html", ".htm"), (".json",), (".json", ".sarif")
"""Suffixes of pages, of results, and of the result of a scan."""
NO_FORMS: Mapping[str, Sequence[str]] = {}
"""Any name will do."""

Outcome = Result | Unscanned | list[Scanned]
"""The result of one model, or of several."""


def check_outputs(
    paths: Mapping[str, Path | None],
    inputs: Mapping[str, Sequence[str | Path | None]],
    *,
    folder: str | None = None,
    forms: Mapping[str, Sequence[str]] = NO_FORMS,
) -> None:
    """Check that every output can be written, and that none overwrites an input or another output.

    Args:
        paths: argument → file or folder to write.
        inputs: argument → files that it names, or folders with a model; an ONNX graph stands for
            the files beside it too, and what ``--data`` names for all that is read through it.
        folder: the argument that names a folder of pages, if any.
        forms: argument → suffixes of what its file can hold, the usual one first; a name that
            promises another form is refused.

    """
    taken = {
        _place(path): argument
        for argument, named in inputs.items()
        for name in named
        if name is not None
        for path in _all_of(Path(name))
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
        page = path / "index.html" if argument == folder else path
        for data in inputs.get("--data", ()):
            if _is_read(str(data), page):
                raise ArgumentError(
                    f"{argument}: {path} is among the files that --data {data} is read from, or "
                    f"would be among them the next time; name a file elsewhere, so that your data "
                    f"stays as it is."
                )
        if argument != folder and argument in forms:
            _check_form(argument, path, forms[argument])


def _check_form(argument: str, path: Path, forms: Sequence[str]) -> None:
    """Check that a file is not named like one of another form than what it will hold."""
    if path.suffix.lower() in FORMS.difference(forms):
        page = f"; a page is written by --report {path}" if path.suffix.lower() in PAGE else ""
        raise ArgumentError(
            f"{argument}: expected a name that ends in {' or '.join(forms)}, came {path}; what is "
            f"written has no other form, so name {path.with_suffix(forms[0])}{page}."
        )


def write_and_print(
    outcome: Outcome,
    *,
    file: Path | None,
    page: Path | None,
    form: Literal["table", "json", "sarif"],
    quiet: bool,
) -> None:
    """Write a result to the files that were asked for, and print it.

    Args:
        outcome: the result, or those of several models, whose tables are printed already.
        file: file of the result, SARIF if the name ends in .sarif, else JSON.
        page: file of its page, or the folder for the pages of several.
        form: format in which it is printed.
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
    """Write the result of a scan as SARIF if the name says so, any other result as JSON."""
    named = path.name.lower().endswith((".sarif", ".sarif.json"))
    if named and not isinstance(outcome, RepairResult):
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
    """Print the table of a result, or the summary of several; nothing for a failed scan."""
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


def _all_of(path: Path) -> list[Path]:
    """Return a file that was named, with those that are read where it is a model."""
    try:
        return [path, *files_of(path), *data_of(path)]
    except (OSError, ValueError):  # a name that no file can have
        return [path]


def _is_read(data: str, path: Path) -> bool:
    """Return whether a data set is read from a file; not if either cannot be resolved."""
    try:
        return reads(data, path)
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null byte
        return False


def _place(path: Path) -> Path:
    """Return the file that a path leads to; the path itself if it cannot be resolved."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null byte
        return path
