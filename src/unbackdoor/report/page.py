"""A result as one HTML page that opens anywhere, without a network and without a script.

Figures are SVG drawn from coordinates that Python computed. Plotly was considered and left out: it
would put 4.8 MB of script in each page.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from unbackdoor.errors import ArgumentError
from unbackdoor.report.overview import overview
from unbackdoor.report.view import short_title, unscanned_view, view
from unbackdoor.results import Result, Scanned, Unscanned
from unbackdoor.runtime.files import check_folder, write_bytes


def page(result: Result | Unscanned) -> str:
    """Return the page of a scan, a repair or a failure; the same result makes the same page.

    Raises:
        ContentError: bytes of the result do not fit the shapes it states.

    """
    if isinstance(result, Unscanned):
        template, shown = _template("unscanned.html.j2"), unscanned_view(result)
    else:
        template, shown = _template("page.html.j2"), view(result)
    return template.render(title=short_title(result), view=shown)


def write_page(result: Result | Unscanned, path: Path) -> None:
    """Write the page of a result to ``path`` atomically."""
    write_bytes(path, page(result).encode("utf-8"))


def check_pages(folder: Path, argument: str) -> Path:
    """Return ``folder`` if the pages of several models can be written there; raise if not.

    Raises:
        ArgumentError: it is named like a page, is a file, or cannot be made or written into.

    """
    if folder.suffix == ".html":
        raise ArgumentError(
            f"{argument}: expected a folder for the pages of several models, came {folder}; name "
            f"it without .html."
        )
    return check_folder(folder, argument)


def write_pages(outcomes: Sequence[Scanned], folder: Path) -> None:
    """Write a page for each of several models into ``folder``, and ``index.html`` with links."""
    folder.mkdir(exist_ok=True)
    names = [f"{number:04}.html" for number in range(1, len(outcomes) + 1)]
    for outcome, name in zip(outcomes, names, strict=True):
        write_page(outcome, folder / name)
    shown = overview(outcomes, names)
    text = _template("index.html.j2").render(title=shown.headline, view=shown)
    write_bytes(folder / "index.html", text.encode("utf-8"))


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
