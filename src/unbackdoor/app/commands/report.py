"""``unbackdoor report``: make a page from the JSON of a scan or a repair."""

from __future__ import annotations

from unbackdoor import results
from unbackdoor.app import options
from unbackdoor.app.exit_codes import DONE
from unbackdoor.app.outputs import PAGE, check_outputs, write_page
from unbackdoor.results import RepairResult, Result, Scanned, Unscanned


def report(typed: options.Report) -> int:
    """Read the result, and write its page, or a folder of pages for several models."""
    result = results.read_any(typed.result)
    check_outputs(
        {"-o": typed.output},
        {"RESULT": [typed.result, *_models(result)]},
        folder="-o" if isinstance(result, list) else None,
        forms={"-o": PAGE},
    )
    write_page(result, typed.output)
    return DONE


def _models(result: Result | Unscanned | list[Scanned]) -> list[str]:
    """Return the models that a result is about, as it names them."""
    if isinstance(result, RepairResult):
        return [name for name in (result.scan.model.path, result.output) if name]
    return [one.model.path for one in (result if isinstance(result, list) else [result])]
