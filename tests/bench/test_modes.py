"""Generators that learn from samples, and MESA beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unbackdoor.bench import Request, measure
from unbackdoor.bench.modes import bench as modes
from unbackdoor.bench.modes.gans import GANS, GanSettings
from unbackdoor.bench.toys.problems import Gaussians, ring, stacked
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Silent

SHORT = GanSettings(steps=500, hidden=64, learning_rate=3e-4)


@pytest.mark.parametrize("name", GANS)
def test_every_rival_learns_a_single_mode(name: str) -> None:
    """A Gaussian in the middle: in the mean of three, since each swings around its optimum."""
    one = Gaussians("one", torch.tensor([[0.6, 0.3]]).double(), 0.1, torch.ones(1).double())
    samples = one.sample(5000, stream(0, "samples"))
    draws = torch.stack(
        [GANS[name](samples, SHORT, stream(seed, name))(4000, stream(9, name)) for seed in range(3)]
    )
    assert draws.shape == (3, 4000, 2)
    assert not draws.requires_grad
    assert torch.allclose(draws.mean((0, 1)), samples.mean(0), atol=0.15)
    assert 0.03 < float(draws.std(1).mean()) < 0.2
    few = replace(SHORT, steps=30)
    once, again = (GANS[name](samples, few, stream(0, name))(99, stream(1)) for _ in range(2))
    assert torch.equal(once, again)


def test_the_stacked_density_has_its_modes_apart() -> None:
    density = stacked()
    assert density.centres.shape == (125, 6)
    apart = torch.cdist(density.centres, density.centres).fill_diagonal_(1)
    assert float(apart.min()) > 8 * density.deviation
    draws = density.sample(5000, stream(0, "draws"))
    assert 0.985 < modes.close_to_modes(density, draws) < 0.995


def test_the_benchmark_measures_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "POPULATION", SmcSettings(particles=500, repeats=2))
    monkeypatch.setattr(modes, "GanSettings", lambda: GanSettings(steps=5))
    monkeypatch.setattr(modes, "ring", ring)
    monkeypatch.setattr(modes, "grid", ring)
    monkeypatch.setattr(modes, "stacked", ring)
    request = Request(reference="shipped:clean", store=tmp_path, progress=Silent())
    rows = measure(modes.BENCH, request).rows
    assert [row.method for row in rows[:4]] == ["MESA", "GAN", "GWN", "DoPaNet"]
    mesa, gan = rows[0], rows[1]
    assert (mesa.samples, mesa.modes, mesa.modes_of) == (0, 8, 8)
    assert mesa.mode_distance < 0.1
    assert mesa.close > 0.95
    assert (gan.samples, gan.calls) == (50_000, 0)
    assert measure(modes.BENCH, request).rows == rows
    assert [line["method"] for line in modes.table(rows)] == ["MESA", "GAN", "GWN", "DoPaNet"]
