"""The benchmark measures what it says, stores it, and does not measure it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unbackdoor.bench import Request, measure
from unbackdoor.bench.toys import bench as toys
from unbackdoor.bench.toys.problems import Corners, HalfSpace, ring
from unbackdoor.bench.toys.staircases import count_modes, distance
from unbackdoor.mesa import Smc
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.runtime.progress import Silent


def test_rows_are_measured_once_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "ESTIMATORS", {"smc": Smc(SmcSettings(particles=500, repeats=2))})
    monkeypatch.setattr(
        toys, "level_sets", lambda: [HalfSpace(2, 1.5), Corners(9, (0.75, 0.25), "two modes")]
    )
    monkeypatch.setattr(toys, "densities", lambda: [ring()])
    request = Request(reference="shipped:clean", seeds=[0, 1], store=tmp_path, progress=Silent())
    rows = measure(toys.BENCH, request).rows
    assert len(rows) == 2 * (2 * 2 + 6)
    kept = (tmp_path / "toys.jsonl").read_bytes()
    assert measure(toys.BENCH, request).rows == rows
    assert (tmp_path / "toys.jsonl").read_bytes() == kept
    for row in rows:
        assert row.calls > 0
        assert abs(row.mmd - row.mmd_exact) < 0.05
        if row.beta is not None:
            assert abs(row.error or 0) < 0.5
            assert row.valid == 1
        else:
            assert row.distance is not None
            assert row.distance < (0.25 if (row.stairs or 0) > 1 else 1)
            assert (row.modes, row.modes_of) == (8, 8)
    by_count = {row.stairs: row.distance for row in rows if row.stairs}
    assert (by_count[8] or 1) < (by_count[2] or 0)
    lines = toys.table(rows)
    assert [line["problem"] for line in lines] == ["half-space", "two modes", *["8-ring"] * 6]


def test_the_distance_of_laws_is_exact() -> None:
    """One stair of half the square's area against the uniform law: half of the mass is amiss."""

    def F(theta: torch.Tensor) -> torch.Tensor:
        return theta[:, 0].double()

    found = distance(lambda theta: torch.ones(len(theta)), F, [0.5], torch.ones(1))
    assert found == pytest.approx(0.5, abs=1e-6)


def test_modes_are_counted_by_their_shares() -> None:
    found = torch.tensor([0] * 90 + [1] * 10)
    weights = torch.tensor([0.5, 0.3, 0.2]).double()
    assert count_modes(found, weights) == (2 - 1 + 1, 3, pytest.approx(0.4))
