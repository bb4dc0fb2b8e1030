"""What ``bench reference`` and ``bench robust`` say of stairs that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unbackdoor.bench import robust
from unbackdoor.bench.reference import reference
from unbackdoor.bench.reference.patterns import by_mode, connected, patterns, shares
from unbackdoor.detectors.settings import ScreeningSettings
from unbackdoor.mesa import Stair
from unbackdoor.mesa.settings import FlowSettings, LearningSettings, SmcSettings
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.planted import parse_trigger

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
    return torch.stack([parse_trigger(f"bw:{number}").theta for number in numbers])


def test_the_pattern_of_a_trigger_is_its_nearest_in_black_and_white() -> None:
    theta = black_and_white([170, 341, 1])
    assert patterns(0.3 + 0.4 * theta).tolist() == [170, 341, 1]


def test_modes_are_counted_by_the_weights_of_stairs_and_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = black_and_white([170, 341, 341, 7])
    values = torch.tensor([1.0, 1.0, 1.0, 0.0])
    smc = Stair(beta=0.5, draws=draws, log_q=torch.zeros(4), values=values)
    log_q = torch.log(torch.tensor([1.0, 2.0, 2.0, 1.0]))
    flow = Stair(beta=0.5, draws=draws, log_q=log_q, values=values)
    monkeypatch.setattr(reference, "POPULATION", SmcSettings(repeats=1))
    found = reference._modes([smc], torch.ones(1), [flow], torch.ones(1))
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
    signs = reference.mirrors(500, stream(0, "mirrors")).reshape(-1, 3, 9)
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

    assert reference._judge(stair, exact, exact) == (pytest.approx(2 / 3), 1.0)
    assert reference._judge(stair, lambda theta: theta[:, 0] - 1, exact) == (0.0, None)


def test_a_run_on_a_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ScanSettings", lambda: TINY)
    monkeypatch.setattr(
        reference, "POPULATION", SmcSettings(particles=20, sweeps=1, repeats=1, survive=0.2)
    )
    monkeypatch.setattr(reference, "JUDGES", 20)
    rows = reference.measure(["shipped:bw170"], [0], tmp_path, "cpu", Silent())
    assert [row.beta for row in rows] == [0.5, None]
    assert rows[0].passes == 40 * 2 * 2 + 60 * 2 + 50 * 10
    assert rows[0].original == "bw:170"
    assert rows[0].value_of_original > 0.9
    assert reference.measure(["shipped:bw170"], [0], tmp_path, "cpu", Silent()) == rows
    assert len(reference.summary(rows)) == 2


def test_a_variant_is_measured_on_fewer_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"50 images": robust.Variant(settings=TINY, images=50)}
    monkeypatch.setattr(robust, "variants", lambda: few)
    monkeypatch.setattr(robust, "RepairSettings", lambda: RepairSettings(images_seen=100))
    rows = robust.measure(["shipped:bw170"], [0], tmp_path, "cpu", Silent())
    assert rows[0].asr_after is not None
    assert robust.measure(["shipped:bw170"], [0], tmp_path, "cpu", Silent()) == rows
    assert robust.summary(rows)[0]["variant"] == "50 images"
