"""The black-and-white patterns nearest to the draws of a stair, and which of them are modes.

The *pattern* of a draw is the nearest one, written as in ``bw:N``. A pattern belongs to a neighbour
that differs in one pixel and is more frequent; patterns without such a neighbour are the *modes*.
Whether a pattern lies in the same part of V_β as its mode is measured: a draw is moved in a
straight line to the mode's pattern, in the pixels where they differ, and F is evaluated on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from unbackdoor.mesa import Stair, TestingFunction

PIXELS = 9
WALKERS = 60
WAY = (0.25, 0.5, 0.75, 1.0)


def patterns(theta: Tensor) -> Tensor:
    """Return N of the nearest ``bw:N`` of each 3×3 patch ``(B, 27)``, ``(B,)`` int64."""
    bits = (theta.reshape(-1, 3, PIXELS).mean(1) > 0.5).long()
    return (bits * 2 ** torch.arange(PIXELS - 1, -1, -1)).sum(1)


def mode(pattern: int, shares: Mapping[int, float]) -> int:
    """Return the mode of a pattern: move to more frequent neighbours until there is none.

    Example:
        >>> mode(0b001, {0b001: 0.1, 0b011: 0.2, 0b111: 0.6, 0b000: 0.1})
        7

    """
    while True:
        around = [pattern, *(pattern ^ (1 << pixel) for pixel in range(PIXELS))]
        best = max(around, key=lambda other: shares.get(other, 0.0))
        if best == pattern:
            return pattern
        pattern = best


def shares(stairs: Sequence[Stair], weights: Tensor) -> dict[int, float]:
    """Return the share of each pattern in a mixture of stairs."""
    found: dict[int, float] = {}
    for stair, weight in zip(stairs, weights, strict=True):
        each = zip(_numbers(patterns(stair.draws)), weight * stair.shares, strict=True)
        for pattern, share in each:
            found[pattern] = found.get(pattern, 0.0) + float(share)
    return found


def by_mode(shares: Mapping[int, float], truth: Mapping[int, float]) -> dict[int, float]:
    """Return the share of each mode; the frequencies in ``truth`` assign patterns to modes."""
    summed: dict[int, float] = {}
    for pattern, share in shares.items():
        own = mode(pattern, truth)
        summed[own] = summed.get(own, 0.0) + share
    return summed


def _numbers(patterns: Tensor) -> list[int]:
    return cast("list[int]", patterns.tolist())


def connected(stair: Stair, F: TestingFunction) -> float | None:
    """Return the share of draws that are no modes and connect to one by a straight line in V_β."""
    draws = stair.draws[stair.valid]
    own = patterns(draws)
    counts: Mapping[int, float] = Counter(_numbers(own))
    goals = torch.tensor([mode(number, counts) for number in _numbers(own)], dtype=torch.int64)
    away = (goals != own).nonzero()[:, 0][:WALKERS]
    if not len(away):
        return None
    differs = (own ^ goals)[away, None] >> torch.arange(PIXELS - 1, -1, -1) & 1
    white = goals[away, None] >> torch.arange(PIXELS - 1, -1, -1) & 1
    begin = draws[away].reshape(-1, 3, PIXELS)
    end = torch.where(differs[:, None].bool(), white[:, None].float(), begin)
    inside = torch.ones(len(away), dtype=torch.bool)
    for part in WAY:
        inside &= F((begin + part * (end - begin)).flatten(1)) >= stair.beta
    return float(inside.double().mean())
