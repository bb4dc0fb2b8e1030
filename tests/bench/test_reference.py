"""What ``bench reference`` and ``bench robust`` say of stairs that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unbackdoor.bench import Request, robust
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Serial
from unbackdoor.bench.framework.models import backdoored, named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.reference import bench as reference
from unbackdoor.bench.reference import comparisons, panels
from unbackdoor.bench.reference.patterns import by_mode, connected, patterns, shares
from unbackdoor.bench.reference.populations import mirrors
from unbackdoor.detectors.settings import ScreeningSettings
from unbackdoor.errors import ContentError
from unbackdoor.mesa import Stair
from unbackdoor.mesa.settings import FlowSettings, LearningSettings, SmcSettings
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.notation import parse_trigger

TINY = ScanSettings(
    betas=(0.5,),
    screening=ScreeningSettings(restarts=2, steps=20, images_to_judge=16),
    learning=LearningSettings(rounds=1, draws=60, networks=2, steps=30, climbers=40, islands=2),
    flow=FlowSettings(steps=20, draws=16, components=2),
    panel=10,
    pool=40,
    uniform_draws=32,
    stair_draws=50,
    evaluate=60,
    survives=0.0,
)


def black_and_white(numbers: list[int]) -> torch.Tensor:
    return torch.stack([parse_trigger(f"bw:{number}", (3, 32, 32)).theta for number in numbers])


def test_the_pattern_of_a_trigger_is_its_nearest_in_black_and_white() -> None:
    theta = black_and_white([170, 341, 1])
    assert patterns(0.3 + 0.4 * theta).tolist() == [170, 341, 1]


def test_modes_are_counted_by_the_weights_of_stairs_and_draws() -> None:
    draws = black_and_white([170, 341, 341, 7])
    values = torch.tensor([1.0, 1.0, 1.0, 0.0])
    smc = Stair(beta=0.5, draws=draws, log_q=torch.zeros(4), values=values)
    log_q = torch.log(torch.tensor([1.0, 2.0, 2.0, 1.0]))
    flow = Stair(beta=0.5, draws=draws, log_q=log_q, values=values)
    one = torch.ones(1)
    found = comparisons.shared_modes(([smc], one), ([flow], one), 1)
    assert found["modes_smc"] == pytest.approx({"bw:341": 2 / 3, "bw:170": 1 / 3})
    assert found["modes_flow"]["bw:341"] == pytest.approx(0.5, abs=0.05)


def test_a_pattern_beside_a_more_frequent_one_belongs_to_it_where_a_line_leads_there() -> None:
    theta = black_and_white([170, 170, 170, 171, 341])
    stair = Stair(beta=0.5, draws=theta, log_q=None, values=torch.ones(5))
    found = shares([stair], torch.ones(1))
    assert by_mode(found, found) == pytest.approx({170: 0.8, 341: 0.2})
    assert connected(stair, lambda theta: torch.ones(len(theta))) == 1
    last = 8  # the pixel in which 170 and 171 differ

    def split(theta: torch.Tensor) -> torch.Tensor:
        return 2 * (theta.reshape(-1, 3, 9)[:, 0, last] - 0.5).abs()

    assert connected(stair, split) == 0


def test_mirrors_invert_all_pixels_or_one() -> None:
    signs = mirrors(500, stream(0, "mirrors")).reshape(-1, 3, 9)
    assert torch.equal(signs[:, 0], signs[:, 1])
    assert {int(count) for count in (signs[:, 0] < 0).sum(1)} == {1, 9}


def test_rejection_keeps_what_is_valid_by_a_margin() -> None:
    stair = Stair(
        beta=0.5,
        draws=torch.tensor([[0.1], [0.52], [0.7], [0.9]]),
        log_q=None,
        values=torch.tensor([0.1, 0.52, 0.7, 0.9]),
    )

    def exact(theta: torch.Tensor) -> torch.Tensor:
        return theta[:, 0]

    assert comparisons.judged(stair, exact, exact, 1000) == (pytest.approx(2 / 3), 1.0)
    assert comparisons.judged(stair, lambda theta: theta[:, 0] - 1, exact, 1000) == (0.0, None)


def asked(folder: Path, *models: str, reference: str = "shipped:clean") -> Request:
    return Request(models=models, reference=reference, store=folder, progress=Silent())


def run(wanted: list[Spec], folder: Path) -> list[Any]:
    return complete(wanted, Archive(folder), Serial(), Silent())


def test_a_run_on_a_shipped_model(tmp_path: Path) -> None:
    (model,) = backdoored(asked(tmp_path, "shipped:bw170", "shipped:clean"))
    long = SmcSettings(particles=20, sweeps=1, repeats=1, survive=0.2)
    wanted = comparisons.Compared(model=model, scanning=TINY, long=long, judges=20, seed=0)
    (result,) = run([wanted], tmp_path)
    rows = result.rows
    assert [row.beta for row in rows] == [0.5, None]
    assert rows[0].passes == 40 * 2 * 2 + 60 * 2 + 50 * 10
    assert rows[0].original == "bw:170"
    assert rows[0].value_of_original > 0.9
    assert run([wanted], tmp_path) == [result]
    assert wanted.populated in Archive(tmp_path)
    assert len(reference.table(rows)) == 2


def test_panels_are_held_against_the_triggers_of_other_seeds(tmp_path: Path) -> None:
    (model,) = backdoored(asked(tmp_path, "shipped:bw170"))
    (result,) = run([panels.Held(model=model, scanning=TINY, seeds=(0, 1))], tmp_path)
    assert [(row.seed, row.kind) for row in result.rows] == [
        (seed, kind) for seed in (0, 1) for kind in ("chosen", "random")
    ]
    assert all(0 <= row.shared <= row.difference < 1 for row in result.rows)
    assert [line["seeds"] for line in panels.table(result.rows)] == ["2", "2"]


def test_a_variant_is_measured_on_fewer_images(tmp_path: Path) -> None:
    (model,) = backdoored(asked(tmp_path, "shipped:bw170"))
    wanted = robust.Varied(
        model=model,
        title="50 images",
        variant=robust.Variant(settings=TINY, images=50),
        repair=RepairSettings(images_seen=100),
        seed=0,
    )
    (row,) = run([wanted], tmp_path)
    assert row.asr_after is not None
    assert run([wanted], tmp_path) == [row]
    assert robust.table([row])[0]["variant"] == "50 images"


def test_a_model_that_says_nothing_of_a_trigger_is_refused_before_any_work(
    tmp_path: Path,
) -> None:
    with pytest.raises(ContentError, match="shipped:clean does not say what was planted"):
        backdoored(asked(tmp_path, "shipped:clean", reference="shipped:bw170"))


def test_a_model_that_changed_since_the_work_was_planned_is_refused(tmp_path: Path) -> None:
    (model,) = named(asked(tmp_path, "shipped:bw170"))
    with pytest.raises(ContentError, match="has changed since the work was planned"):
        replace(model, sha256="0" * 64).opened("cpu")
