"""The recovered law of a class, read from a result."""

from __future__ import annotations

import torch

from unbackdoor.detectors.stairs import from_records
from unbackdoor.mesa import Stair, Staircase
from unbackdoor.results import ClassRecord
from unbackdoor.triggers.values import from_bytes


def staircase(record: ClassRecord, *, equal: bool = False) -> Staircase:
    """Return the recovered law of a class that a result holds.

    Where no law was recovered it is the one that always draws the best trigger.

    Args:
        record: of the class.
        equal: whether the stairs are mixed in equal parts rather than by γ, as in a repair.

    """
    if record.stairs:
        return from_records(record.stairs, record.dimensions, equal=equal)
    draws = from_bytes(record.best, record.dimensions)
    rate = torch.tensor([record.asr])
    best = Stair(beta=record.asr, draws=draws, log_q=None, values=rate)
    return Staircase((best,), torch.ones(1))
