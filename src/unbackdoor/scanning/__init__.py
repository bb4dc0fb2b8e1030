"""Scanning: F from a model and images, a screening of every class, stairs, a verdict."""

from unbackdoor.scanning.scan import (
    FEWEST_PER_CLASS,
    Described,
    data_hash,
    from_records,
    scan,
    staircase,
    to_records,
)
from unbackdoor.scanning.truth import with_planted

__all__ = [
    "FEWEST_PER_CLASS",
    "Described",
    "data_hash",
    "from_records",
    "scan",
    "staircase",
    "to_records",
    "with_planted",
]
