"""The draws of a stair: read, chosen, sorted, and projected on the axes they differ most along."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unbackdoor.errors import ContentError
from unbackdoor.results import ScanResult, StairRecord

Theta = NDArray[np.uint8]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Draws:
    """What was drawn from one stair.

    Args:
        theta: ``(B, n)``, 0 … 255.
        values: ``(B,)``, F of each draw.
        valid: ``(B,)``, whether F ≥ β.

    """

    theta: Theta
    values: Floats
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Axes:
    """The plane through a cloud of points in which they differ most.

    Args:
        centre: ``(n,)``, their mean.
        directions: ``(2, n)``, orthonormal; a second that does not exist is zero.
        share: of their variance, held by the plane, in [0, 1].

    """

    centre: Floats
    directions: Floats
    share: float

    def project(self, theta: Theta) -> Floats:
        """Return where the rows of ``theta`` ``(B, n)`` lie in the plane, ``(B, 2)``."""
        return (theta - self.centre) @ self.directions.T


def check_shapes(scan: ScanResult) -> None:
    """Check what the pictures of a scan are cut by.

    Raises:
        ContentError: the shape of its images, or of a trigger, is none.

    """
    shape = scan.image_shape
    if len(shape) != 3 or min(shape) < 1:
        raise ContentError(
            f"image_shape: expected channels, height and width of at least 1, came {shape}; "
            f"the result is damaged, scan again."
        )
    for record in scan.classes:
        own = record.trigger_shape
        if len(own) != 3 or min(own) < 1 or math.prod(own) != len(record.best):
            raise ContentError(
                f"trigger_shape: expected a picture of the {len(record.best)} values of a trigger, "
                f"came {own}; the result is damaged, scan again."
            )


def read_draws(stair: StairRecord, dimensions: int) -> Draws:
    """Return the draws of a stair.

    Raises:
        ContentError: the number of bytes or of values does not fit.

    """
    if len(stair.draws) != dimensions * len(stair.values):
        raise ContentError(
            f"expected {dimensions} bytes for each of {len(stair.values)} draws at β = "
            f"{stair.beta}, came {len(stair.draws)}; the result is damaged, scan again."
        )
    theta = np.frombuffer(stair.draws, dtype=np.uint8).reshape(-1, dimensions)
    values = np.array(stair.values, dtype=np.float64)
    return Draws(theta, values, values >= stair.beta)


def principal_axes(theta: Theta) -> Axes:
    """Return the plane in which the rows of ``theta`` ``(B, n)`` differ most, B ≥ 1."""
    centre = theta.mean(axis=0)
    centred = theta - centre
    directions = np.zeros((2, theta.shape[1]))
    if len(theta) < theta.shape[1]:
        _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
        spread = lengths**2
    else:
        # Of the n × n scatter matrix, not of the far taller matrix of draws: seconds less.
        columns, spread, _ = np.linalg.svd(centred.T @ centred, hermitian=True)
        rows = columns.T
    directions[: min(2, len(rows))] = rows[:2]
    # A singular vector has no sign of its own; fixed, the same result makes the same page.
    strongest = np.abs(directions).argmax(axis=1)[:, None]
    directions *= np.where(np.take_along_axis(directions, strongest, axis=1) < 0, -1.0, 1.0)
    total = float(spread.sum())
    return Axes(centre, directions, float(spread[:2].sum()) / total if total else 1.0)


def choose(draws: Draws, count: int) -> Indices:
    """Return the indices of ``count`` draws at most: valid ones first, then those of highest F."""
    valid = np.flatnonzero(draws.valid)[:count]
    others = np.flatnonzero(~draws.valid)
    others = others[np.argsort(-draws.values[others], kind="stable")]
    return np.concatenate([valid, others[: count - len(valid)]])


def neighbours(theta: Theta) -> Indices:
    """Return an order of the rows of ``theta`` ``(B, n)`` that puts similar ones side by side."""
    if len(theta) < 2:
        return np.arange(len(theta))
    return np.argsort(principal_axes(theta).project(theta)[:, 0], kind="stable")
