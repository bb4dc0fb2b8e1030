"""Volumes from uniform draws: crude, but with an exact upper bound even where nothing is found."""

from __future__ import annotations

import math


def log_volume_upper_bound(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the one-sided Clopper–Pearson upper bound of a volume, in nats of the cube.

    Args:
        hits: uniform draws inside the set.
        draws: all uniform draws.
        confidence: probability that the true volume is below the bound.

    Example:
        >>> round(math.exp(log_volume_upper_bound(0, 100)), 4)  # the rule of three
        0.0295

    """
    return math.log(share_upper_bound(hits, draws, confidence))


def share_upper_bound(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the one-sided Clopper–Pearson upper bound of the share that hits have of all draws.

    Example:
        >>> round(share_upper_bound(0, 100), 4)  # the rule of three
        0.0295

    """
    if hits >= draws:
        return 1.0
    low, high = hits / draws, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _at_most(hits, draws, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, draws: int, probability: float) -> float:
    """P(Binomial(draws, probability) ≤ hits)."""
    hit, miss = math.log(probability), math.log1p(-probability)
    return math.fsum(
        math.exp(
            math.lgamma(draws + 1)
            - math.lgamma(count + 1)
            - math.lgamma(draws - count + 1)
            + count * hit
            + (draws - count) * miss
        )
        for count in range(hits + 1)
    )
