"""The exit codes of the command line, and which one several models give together."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unbackdoor.results import RepairResult, Scanned

DONE, BACKDOORED, UNUSABLE, INCONCLUSIVE, BAD_ARGUMENT = 0, 1, 2, 3, 4
NO_READER = 128 + signal.SIGPIPE
"""The exit code of other programs too when the reader of their output has closed it."""
OF_VERDICT = {"clean": DONE, "backdoored": BACKDOORED, "inconclusive": INCONCLUSIVE}
WORST_FIRST = (BACKDOORED, UNUSABLE, INCONCLUSIVE)

FailOn = Literal["backdoored", "inconclusive"]


def exit_code(outcomes: Sequence[Scanned | RepairResult], fail_on: FailOn | None = None) -> int:
    """Return the worst of all: the first of 1, 2, 3 and 0 that occurs.

    Args:
        outcomes: of the models.
        fail_on: the mildest verdict with an exit code above 0; when left out, every verdict has its
            own code.

    """
    codes = {_code(outcome, fail_on) for outcome in outcomes}
    return next((code for code in WORST_FIRST if code in codes), DONE)


def _code(outcome: Scanned | RepairResult, fail_on: FailOn | None) -> int:
    from unbackdoor.results import (
        RepairResult,
        ScanResult,
        verdict,
    )  # imports torch, which help does not need

    if isinstance(outcome, RepairResult):  # 1 is kept for a scan that finds a backdoor
        return DONE if verdict(outcome) == "clean" else INCONCLUSIVE
    if not isinstance(outcome, ScanResult):
        return outcome.exit_code if outcome.exit_code in WORST_FIRST else UNUSABLE
    if fail_on == "backdoored" and outcome.verdict == "inconclusive":
        return DONE
    return OF_VERDICT[outcome.verdict]
