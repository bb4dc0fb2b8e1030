"""Compare the planted trigger, where it is known, with the draws recovered without it."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from unbackdoor.results import Original, ScanResult
from unbackdoor.rng import stream
from unbackdoor.triggers.planted import Planted
from unbackdoor.triggers.values import from_bytes, to_bytes


def with_planted(result: ScanResult, planted: Planted) -> ScanResult:
    """Return ``result`` with the planted trigger and the draw nearest to it.

    The distance of that draw, and for comparison that of the nearest of as many uniform draws, are
    root mean squares over the parameters. If the class was not found, or the trigger is of another
    kind or size than those that were, the result is returned unchanged.
    """
    record = result.classes[planted.target]
    theta = planted.trigger.theta
    if not record.stairs or _size(planted.trigger.space.name) != _size(record.space):
        return result
    draws = torch.cat([from_bytes(stair.draws, record.dimensions) for stair in record.stairs])
    chance = torch.rand(draws.shape, generator=stream(result.seed, "scan", "chance"))
    nearest, distance = _nearest(draws, theta)
    return msgspec.structs.replace(
        result,
        original=Original(
            name=planted.trigger.name,
            target=planted.target,
            theta=to_bytes(theta),
            nearest=to_bytes(nearest),
            distance=distance,
            random_distance=_nearest(chance, theta)[1],
        ),
    )


def _size(space: str) -> str:
    """Return the name of a space without the place."""
    return space.partition("@")[0]


def _nearest(draws: Tensor, theta: Tensor) -> tuple[Tensor, float]:
    distances = (draws - theta).square().mean(1).sqrt()
    row = int(distances.argmin())
    return draws[row], float(distances[row])
