"""Which β: the levels whose staircase comes nearest to an unknown density, given their number.

With F = g∘f and t = g⁻¹(F) the unnormalised density, the staircase gives every θ between two levels
the height of the lower one. Half the integral of the difference, both normalised, is the total
variation. For a fixed ratio of the two normalisers this is a sum over the steps, so dynamic
programming over a fine grid finds the best levels, as in the optimal quantisation of a scalar
(Lloyd, 1957; Bruce, 1965). The ratio itself is found by trying several values. The grid and its
masses come from a population that climbs until the mass above it is negligible.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.mesa.smc import climb
from unbackdoor.mesa.testing import TestingFunction
from unbackdoor.rng import stream

GRID = 400
NEGLIGIBLE = 1e-3
SCALES, LARGEST_SCALE = 15, 4.0


def choose_betas(
    F: TestingFunction,
    count: int,
    dimensions: int,
    *,
    inverse: Callable[[Tensor], Tensor] = lambda values: values,
    settings: SmcSettings | None = None,
    seed: int,
) -> tuple[float, ...]:
    """Return up to ``count`` rising levels whose staircase is nearest to f in total variation.

    Args:
        F: g∘f.
        count: how many stairs.
        dimensions: n.
        inverse: g⁻¹ of values ``(B,)``, up to a factor; the identity when left out.
        settings: of the population.
        seed: of every draw.

    Example:
        >>> cone = lambda theta: 1 - theta[:, 0]
        >>> [round(beta, 1) for beta in choose_betas(cone, 2, 1, seed=0)]
        [0.2, 0.5]

    """
    values, volumes = _profile(F, dimensions, inverse, settings or SmcSettings(), seed)
    heights = inverse(values)
    levels = _quantise(heights, volumes, count)
    nearest = torch.searchsorted(heights, levels).clamp(max=len(values) - 1)
    return tuple(float(value) for value in values[nearest])


def _profile(
    F: TestingFunction,
    dimensions: int,
    inverse: Callable[[Tensor], Tensor],
    settings: SmcSettings,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return rising values of F over the cube, and for each the volume that it represents."""
    values: list[Tensor] = []
    volumes: list[Tensor] = []
    mass = 0.0
    before: tuple[Tensor, float] | None = None
    for rung in climb(F, (), dimensions, settings, stream(seed, "levels")):
        if before is not None:
            population, log_volume = before
            below = population[population < rung.level].double()
            weight = math.exp(log_volume) / len(population)
            values.append(below)
            volumes.append(torch.full_like(below, weight))
            mass += weight * float(inverse(below).sum())
        before = rung.values, rung.log_volume
        highest = float(inverse(rung.values.max().double()[None]))
        if mass and math.exp(rung.log_volume) * highest < NEGLIGIBLE * mass:
            break
    assert before is not None
    population, log_volume = before
    values.append(population.double())
    volumes.append(torch.full_like(values[-1], math.exp(log_volume) / len(population)))
    ranked, order = torch.cat(values).sort()
    return ranked, torch.cat(volumes)[order]


def _quantise(heights: Tensor, volumes: Tensor, count: int) -> Tensor:
    """Return the lower ends of the ``count`` steps of least total variation, rising."""
    mass = (heights * volumes).cumsum(0)
    cells = torch.searchsorted(mass, mass[-1] * torch.arange(1, GRID) / GRID)
    edges = torch.searchsorted(heights, heights[torch.cat([cells.new_zeros(1), cells])])
    edges = edges[edges.diff(prepend=edges.new_full((1,), -1)) > 0]  # values that differ
    group = torch.bucketize(torch.arange(len(heights)), edges, right=True) - 1
    size = torch.zeros(len(edges), dtype=torch.float64).index_add(0, group, volumes)
    middle = torch.zeros_like(size).index_add(0, group, heights * volumes) / size
    lower = heights[edges]
    truth = heights * volumes / mass[-1]
    best, least = lower[-1:], math.inf
    for turn in range(SCALES):
        scale = LARGEST_SCALE ** (turn / (SCALES - 1))
        levels = lower[_steps(lower, middle, size, scale, count)]
        under = torch.bucketize(heights, levels, right=True)
        staircase = torch.cat([levels.new_zeros(1), levels])[under] * volumes
        distance = float((staircase / staircase.sum() - truth).abs().sum())
        if distance < least:
            best, least = levels, distance
    return best


def _steps(lower: Tensor, middle: Tensor, size: Tensor, scale: float, count: int) -> Tensor:
    """Return where each step begins, found by dynamic programming.

    The height of a step is ``scale`` times the density at its lower end.
    """
    cells = len(lower)
    error = ((middle[None] - scale * lower[:, None]).abs() * size).triu()
    # cost[i, j] is that of a step over the cells i … j − 1
    cost = torch.cat([torch.zeros(cells, 1, dtype=torch.float64), error.cumsum(1)], 1)
    cost[torch.tril_indices(cells, cells + 1).unbind()] = torch.inf
    cost[lower <= 0] = torch.inf  # a step needs a height above 0
    ground = torch.cat([torch.zeros(1, dtype=torch.float64), (middle * size).cumsum(0)])
    total = ground[:cells].clone()  # no step yet: all cells before i count in full
    choices: list[Tensor] = []
    for _ in range(min(count, cells) - 1):
        through = total[:, None] + cost[:, :cells]
        total, choice = through.min(0)
        choices.append(choice)
    at = (total + cost[:, cells]).argmin()
    begins = [at]
    for choice in reversed(choices):
        begins.append(choice[begins[-1]])
    return torch.stack(begins).flip(0)
