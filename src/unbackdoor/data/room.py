"""How much memory all pictures of a set may take."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from unbackdoor.errors import ContentError

MOST_KEPT = 1 << 33
"""Bytes of all pictures of a set together."""
SMALLER = ", or a smaller --size"


def room(shape: tuple[int, int, int, int], what: str) -> NDArray[np.uint8]:
    """Return room for pictures.

    Args:
        shape: ``(N, height, width, channels)``.
        what: where they come from, in sentences.

    Raises:
        ContentError: they take more memory than all pictures may, or than there is.

    """
    check_room(shape, what)
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        raise ContentError(_too_large(shape, what, math.prod(shape), SMALLER)) from error


def check_room(
    shape: tuple[int, int, int, int], what: str, deep: int = 0, remedy: str = SMALLER
) -> None:
    """Raise where pictures take more memory than all may.

    Args:
        shape: ``(N, height, width, channels)``, as bytes.
        what: where they come from, in sentences.
        deep: bytes of those with more than 8 bits, which are kept until their range is known.
        remedy: other than fewer pictures.

    Raises:
        ContentError: they do.

    """
    size = math.prod(shape) + deep
    if size > MOST_KEPT:
        bits = ", or write them with 8 bits" if deep else ""
        raise ContentError(_too_large(shape, what, size, f"{remedy}{bits}"))


def _too_large(shape: tuple[int, int, int, int], what: str, size: int, remedy: str) -> str:
    count, height, width, _ = shape
    return (
        f"--data: {count:,} pictures of {width}×{height} pixels from {what} take "
        f"{size / (1 << 30):.1f} GiB of memory; take fewer of each class (a few hundred are "
        f"enough){remedy}."
    )
