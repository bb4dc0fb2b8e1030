"""Which value of a picture is white, where it has other values than bytes, and the bytes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITES = (1.0, *(float(2**bits - 1) for bits in (8, 10, 12, 14, 16)))
OVERSHOOT = 0.25
"""Resampling and rounding lead so far beyond a range of floats, as a share of it."""
FAINT = 16.0
"""Floats up to here are too faint to be pictures of 0 to 255, so their range is not known."""
MOST_BEYOND = 0.2
"""Of all values, the share that resampling leads beyond their range; of pictures that have their
mean subtracted, more lie there."""
AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Spread:
    """Between which values pictures lie.

    Args:
        least: the smallest value.
        most: the largest value.
        whole: whether they are integers, or floats that are all whole numbers and exceed 16.

    """

    least: float
    most: float
    whole: bool = True

    @classmethod
    def of(cls, values: NDArray[Any]) -> Spread:
        """Return the spread of an array of finite numbers."""
        least, most = float(values.min()), float(values.max())
        whole = values.dtype.kind in "bui" or (most > FAINT and _whole(values))
        return cls(least, most, whole)

    @classmethod
    def over(cls, parts: Sequence[Spread]) -> Spread:
        """Return the spread of the values of several together."""
        return cls(
            min(one.least for one in parts),
            max(one.most for one in parts),
            all(one.whole for one in parts),
        )

    @property
    def faint(self) -> bool:
        """Whether they are floats of 0 to 1, which would be black in a range that ends later."""
        return not self.whole and 0 < self.most <= 1 + OVERSHOOT

    def exceeds(self, white: float) -> bool:
        """Return whether some become bytes below 0 or above 255, so that they have to be clipped.

        Example:
            >>> Spread(0, 1.0000001).exceeds(1), Spread(0, 1.004).exceeds(1)
            (False, True)

        """
        return bool(beyond(np.array([self.least, self.most]), white).any())


def white_of(spread: Spread) -> float:
    """Return the value that is white, by the range of the values of all pictures of a set.

    It is 1 for values up to 1, else the end of the range of the fewest bits that hold them: 255,
    or that of 10, 12, 14 or 16 bits. Floats may lie beyond their range by a quarter of it.

    Raises:
        ValueError: it has values below 0 or above 65,535, or floats too faint for 0 to 255.

    Example:
        >>> white_of(Spread(0, 4000)), white_of(Spread(0, 65535))
        (4095.0, 65535.0)
        >>> white_of(Spread(-0.05, 1.004, whole=False)), white_of(Spread(-9, 261.5, whole=False))
        (1.0, 255.0)

    """
    for white in WHITES:
        margin = 0 if spread.whole else OVERSHOOT * white
        if spread.most <= white + margin:
            faint = not spread.whole and white > 1 and spread.most <= FAINT
            if faint or spread.least < -margin:
                break
            return white
    raise ValueError(
        f"values from {spread.least:g} to {spread.most:g}, expected 0 to 1, 0 to 255 or 0 to 65,535"
    )


def as_bytes(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Return values of 0 … white, of any shape, as 0 … 255; what lies beyond is clipped."""
    scaled = values if white == 255 else values.astype(np.float32) * np.float32(255 / white)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def beyond(values: NDArray[Any], white: float) -> NDArray[np.bool_]:
    """Return for each value whether it becomes a byte below 0 or above 255.

    Example:
        >>> beyond(np.array([-0.1, 0.2, 1.001, 1.01]), 1).tolist()
        [True, False, False, True]

    """
    step = white / 510
    return (values < -step) | (values > white + step)


def _whole(values: NDArray[Any]) -> bool:
    flat = values.reshape(-1)
    parts = (flat[at : at + AT_ONCE] for at in range(0, len(flat), AT_ONCE))
    return all(bool((part == np.rint(part)).all()) for part in parts)
