"""How well a score tells backdoored networks from clean ones: the ROC curve, and its area."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from unbackdoor.repairing.rivals.spectral import separation

CONFIDENT = 1.959964
"""Standard deviations of a normal law on either side that hold 95 % of it."""


@dataclass(frozen=True)
class Area:
    """The area under a ROC curve, and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def area(backdoored: Sequence[float], clean: Sequence[float]) -> Area | None:
    """Return the area under the ROC curve of a score; None without networks of either kind.

    The interval is Newcombe's fifth (*Confidence intervals for an effect size measure based on the
    Mann–Whitney statistic*, 2006): it solves for the areas from which the one that was measured
    lies 1.96 standard errors away, with the standard error of Hanley and McNeil (1982) there. So it
    has a width where no two networks stand in the wrong order too.

    Example:
        >>> found = area([3.0, 4.0, 5.0], [1.0, 2.0])
        >>> found.value, found.high, 0.3 < found.low < 0.7
        (1.0, 1.0, True)

    """
    if not backdoored or not clean:
        return None
    scores = torch.tensor([*backdoored, *clean], dtype=torch.float64)
    truth = torch.arange(len(scores)) < len(backdoored)
    value = separation(scores, truth)

    def away(other: float) -> float:
        more = (len(backdoored) + len(clean)) / 2 - 1
        spread = 1 + more * ((1 - other) / (2 - other) + other / (1 + other))
        error = math.sqrt(other * (1 - other) * spread / (len(backdoored) * len(clean)))
        return abs(value - other) - CONFIDENT * error

    return Area(value, _crossing(away, value, 0.0), _crossing(away, value, 1.0))


def _crossing(away: Callable[[float], float], inside: float, outside: float) -> float:
    """Return where the interval ends between the area and a bound."""
    if inside == outside:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if away(middle) <= 0 else (inside, middle)
    return (inside + outside) / 2


def curve(backdoored: Sequence[float], clean: Sequence[float]) -> list[tuple[float, float]]:
    """Return the ROC curve: shares of clean and of backdoored networks from each score on.

    Example:
        >>> curve([2.0, 3.0], [1.0, 2.0])
        [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]

    """
    levels = sorted({*backdoored, *clean}, reverse=True)
    points = [
        (
            sum(score >= level for score in clean) / len(clean),
            sum(score >= level for score in backdoored) / len(backdoored),
        )
        for level in levels
    ]
    return [(0.0, 0.0), *points]
