"""``unbackdoor report``: make a page from the JSON of a scan or a repair."""

from __future__ import annotations

from unbackdoor import results
from unbackdoor.app import options
from unbackdoor.app.exit_codes import DONE
from unbackdoor.app.outputs import check_outputs, write_page


def report(typed: options.Report) -> int:
    """Read the result, and write its page, or a folder of pages for several models."""
    result = results.read_any(typed.result)
    check_outputs(
        {"-o": typed.output},
        {"RESULT": [typed.result]},
        folder="-o" if isinstance(result, list) else None,
    )
    write_page(result, typed.output)
    return DONE
