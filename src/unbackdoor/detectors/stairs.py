"""Stairs in the form that evidence stores: draws as bytes, with their weights γ."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unbackdoor.detectors.evidence import StairRecord
from unbackdoor.mesa import Stair, Staircase, gammas
from unbackdoor.triggers.values import from_bytes, to_bytes


def to_records(stairs: Sequence[Stair]) -> list[StairRecord]:
    """Return stairs in the form that is stored, with their weights γ."""
    weights = gammas([stair.beta for stair in stairs], [stair.log_volume for stair in stairs])
    return [
        StairRecord(
            beta=stair.beta,
            gamma=gamma,
            draws=to_bytes(stair.draws),
            log_q=[] if stair.log_q is None else [float(value) for value in stair.log_q],
            values=[float(value) for value in stair.values],
            valid_fraction=stair.valid_fraction,
            entropy_bound=stair.entropy_bound,
            log_volume=stair.log_volume,
            effective_sample_size=stair.effective_sample_size,
        )
        for stair, gamma in zip(stairs, map(float, weights), strict=True)
    ]


def from_records(
    records: Sequence[StairRecord], dimensions: int, *, equal: bool = False
) -> Staircase:
    """Return the mixture of stored stairs; the draws have the precision of bytes.

    Args:
        records: at least one.
        dimensions: n.
        equal: whether the stairs are mixed in equal parts rather than by γ. If no γ is above 0,
            because all level sets are empty, they are mixed in equal parts in any case.

    """
    stairs = tuple(
        Stair(
            beta=record.beta,
            draws=from_bytes(record.draws, dimensions),
            log_q=torch.tensor(record.log_q) if record.log_q else None,
            values=torch.tensor(record.values),
        )
        for record in records
    )
    weights = torch.tensor([record.gamma for record in records], dtype=torch.float64)
    by_gamma = bool(weights.any()) and not equal
    return Staircase(stairs, weights if by_gamma else torch.ones(len(stairs)))
