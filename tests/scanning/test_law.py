"""The law of a class that a result holds."""

from __future__ import annotations

import msgspec
import pytest
import torch

from report.synthetic import scan
from unbackdoor.rng import stream
from unbackdoor.scanning.law import staircase
from unbackdoor.triggers.values import from_bytes


def test_stairs_are_mixed_by_their_weights_or_equally() -> None:
    record = scan().classes[0]
    assert staircase(record).weights.tolist() == [stair.gamma for stair in record.stairs]
    assert staircase(record, equal=True).weights.tolist() == [1, 1, 1]
    assert staircase(record).sample(5, stream(0, "draws")).shape == (5, 27)


def test_without_stairs_the_law_is_the_best_trigger() -> None:
    record = msgspec.structs.replace(scan().classes[0], stairs=[])
    law = staircase(record, equal=True)
    assert torch.equal(law.sample(4, stream(0, "draws")), from_bytes(record.best, 27).expand(4, -1))
    assert float(law.stairs[0].values) == pytest.approx(record.asr)
    assert law.stairs[0].log_volume is None
