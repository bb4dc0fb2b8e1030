"""θ = Φ(x): on x the uniform law on the cube is the standard normal, whatever the dimension."""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 1 / 512
"""A density is evaluated on [EDGE, 1 − EDGE] only: for θ = 0 and θ = 1 x would be infinite."""

TURNS = 10
PRIOR = 5.0
"""Prior of a cluster's width: it counts as so many additional rows with the average spread."""

NORMAL = torch.distributions.Normal(0.0, 1.0)


def probit(theta: Tensor) -> Tensor:
    """Return x = Φ⁻¹(θ), θ clipped to [EDGE, 1 − EDGE]."""
    return NORMAL.icdf(theta.clamp(EDGE, 1 - EDGE))


def clusters(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` centres of x ``(N, n)``, and the nearest of them to each row.

    They start as far from each other as can be, and move as k-means does.
    """
    centres = _spread(x, count)
    for _ in range(TURNS):
        near = torch.cdist(x, centres).argmin(1)
        counts = torch.bincount(near, minlength=count)
        sums = torch.zeros_like(centres).index_add(0, near, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, torch.cdist(x, centres).argmin(1)


def mixture(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the middles, log widths and log shares of ``count`` clusters of x ``(N, n)``."""
    centres, near = clusters(x, count)
    counts = torch.bincount(near, minlength=count)
    squares = (x - centres[near]).square()
    inside = torch.zeros_like(centres).index_add(0, near, squares)
    shrunk = (inside + PRIOR * squares.mean(0)) / (counts[:, None] + PRIOR)
    return centres, 0.5 * shrunk.clamp(min=1e-4).log(), (counts + 1.0).log()


def _spread(x: Tensor, count: int) -> Tensor:
    """Return ``count`` rows, each as far from those before it as can be."""
    chosen = [0]
    distance = torch.full((len(x),), torch.inf)
    for _ in range(count - 1):
        distance = distance.minimum((x - x[chosen[-1]]).square().sum(1))
        chosen.append(int(distance.argmax()))
    return x[chosen]
