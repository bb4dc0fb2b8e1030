"""The staircase: an unknown density approximated by a mixture of uniform laws on its level sets.

For an unknown f with F = g∘f, g increasing, the mixture Σ γ_i U(V_{β_i}) with
γ_i ∝ e^{h_i} · (g⁻¹(β_i) − g⁻¹(β_{i−1})) and h_i = log|V_{β_i}| tends to f as stairs are added. For
a backdoor g is unknown and declared to be the identity, with β_0 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import check_betas


@dataclass(frozen=True)
class Staircase:
    """A mixture of stairs.

    Args:
        stairs: in the order of rising β, at least one.
        weights: ``(len(stairs),)``, the share of each in a draw; sums to 1.

    """

    stairs: tuple[Stair, ...]
    weights: Tensor

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw θ ``(count, n)`` from the mixture."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        draws = torch.empty(count, self.stairs[0].draws.shape[1])
        for index, stair in enumerate(self.stairs):
            rows = (which == index).nonzero()[:, 0]
            draws[rows] = stair.sample(len(rows), generator)
        return draws


def gammas(betas: Sequence[float], log_volumes: Sequence[float | None]) -> Tensor:
    """Return the weights γ of the stairs; an empty level set weighs nothing.

    Args:
        betas: rising levels, g⁻¹(β) where g is not the identity.
        log_volumes: h_i = log|V_{β_i}| in nats, None where the level set is empty.

    Returns:
        ``(len(betas),)`` float64 that sums to 1; all zero where every level set is empty.

    Example:
        >>> gammas([0.5, 1.0], [0.0, 0.0]).tolist()
        [0.5, 0.5]

    """
    check_betas(betas, math.inf)
    levels = torch.tensor([0.0, *betas], dtype=torch.float64)
    heights = torch.tensor(
        [float("-inf") if volume is None else volume for volume in log_volumes],
        dtype=torch.float64,
    )
    if bool(heights.isneginf().all()):
        return torch.zeros(len(betas), dtype=torch.float64)
    return torch.softmax(heights + levels.diff().log(), 0)
