"""The recovered law of a class, read from a result."""

from __future__ import annotations

from unbackdoor.detectors.stairs import from_records
from unbackdoor.errors import ContentError
from unbackdoor.mesa import Staircase
from unbackdoor.results import ClassRecord


def staircase(record: ClassRecord, dimensions: int, *, equal: bool = False) -> Staircase:
    """Return the recovered law of a class that a result holds.

    Args:
        record: of the class.
        dimensions: n.
        equal: whether the stairs are mixed in equal parts rather than by γ, as in a repair.

    Raises:
        ContentError: the class has no stairs.

    """
    if not record.stairs:
        raise ContentError(
            f"the scan holds no triggers for class {record.name!r}; expected draws of its stairs, "
            f"scan again."
        )
    return from_records(record.stairs, dimensions, equal=equal)
