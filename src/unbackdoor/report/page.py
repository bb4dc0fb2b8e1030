"""A result as one HTML page that opens anywhere, without a network and without a script.

Figures are SVG drawn from coordinates that Python computed. Plotly was considered and left out: it
would put 4.8 MB of script in each page.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from unbackdoor.files import write_bytes
from unbackdoor.report.view import short_title, view
from unbackdoor.results import Result


def page(result: Result) -> str:
    """Return the page of a scan or a repair; the same result always makes the same page.

    Raises:
        ContentError: bytes of the result do not fit the shapes it states.

    """
    return _template().render(title=short_title(result), view=view(result))


def write_page(result: Result, path: Path) -> None:
    """Write the page of a result to ``path`` atomically."""
    write_bytes(path, page(result).encode("utf-8"))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
