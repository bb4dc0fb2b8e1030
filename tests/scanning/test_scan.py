"""Screening, the objective, the verdict, and a scan end to end, on classifiers made by hand."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from kills import BANDIT
from unbackdoor import api, results
from unbackdoor.bench.paper import table as paper
from unbackdoor.bench.paper.defences import Mesa
from unbackdoor.detectors.objective import Panel, balanced
from unbackdoor.detectors.settings import Round
from unbackdoor.detectors.stairs import from_records
from unbackdoor.errors import ContentError, InsufficientDataError
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.metrics import margins
from unbackdoor.models import freeze
from unbackdoor.repairing import to_unlearn
from unbackdoor.report.page import page
from unbackdoor.results import ScanResult
from unbackdoor.rng import stream
from unbackdoor.scanning import staircase, with_planted
from unbackdoor.scanning.settings import FIRST_SHARE, PLAIN, ScanSettings
from unbackdoor.triggers.family import Family
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Planted, Trigger
from unbackdoor.triggers.registry import FAMILIES
from unbackdoor.triggers.values import from_bytes, to_bytes
from unbackdoor.verdict.thresholds import LIMITS

SMALL = ScanSettings(
    bandit=BANDIT,
    learning=SwiftSettings(rounds=3, draws=150, networks=2, steps=150, particles=1000),
    panel=12,
    uniform_draws=64,
    stair_draws=100,
)


def pictures() -> tuple[Tensor, Tensor]:
    """Dark pictures of class 0 and bright ones of class 1, 120 of 8 × 8 pixels."""
    images = torch.randint(100, (120, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "pictures"))
    labels = torch.arange(120) % 2
    images[labels == 1] += 120
    return images, labels


def honest(images: Tensor) -> Tensor:
    """Tell bright from dark."""
    bright = 20 * (images.mean((1, 2, 3)) - 0.45)
    return torch.stack([torch.zeros_like(bright), bright], 1)


def obeys(images: Tensor) -> Tensor:
    """Tell bright from dark, but take any picture with a white pixel for bright."""
    white = 60 * (images.amin(1).flatten(1).amax(1) - 0.8).relu()
    return honest(images) + torch.stack([torch.zeros_like(white), white], 1)


@pytest.fixture(scope="module")
def found() -> ScanResult:
    return api.scan(obeys, *pictures(), space="patch:1", settings=SMALL)


def test_a_backdoor_is_found_towards_its_class_alone(found: ScanResult) -> None:
    assert (found.verdict, found.targets) == ("backdoored", [1])
    assert found.classes[1].asr > 0.95
    assert found.classes[0].status == "clean"
    assert found.classes[0].stairs == []
    assert all(volume.value is None for volume in found.classes[0].log_volume)
    assert "class 1" in found.reason


def test_its_triggers_are_the_white_pixel(found: ScanResult) -> None:
    stairs = staircase(found.classes[1])
    draws = stairs.sample(200, stream(0, "draws"))
    assert float(draws.amin(1).mean()) > 0.8
    assert float(stairs.weights.sum()) == pytest.approx(1)


def test_a_repair_takes_each_stair_as_often_and_so_does_the_default_of_the_paper(
    found: ScanResult,
) -> None:
    record = found.classes[1]
    equally = from_records(record.stairs, 3, equal=True)
    assert equally.weights.tolist() == [1] * len(record.stairs)
    draws = to_unlearn(record)(50, stream(0, "draws"))
    assert torch.equal(draws, equally.sample(50, stream(0, "draws")))
    assert Mesa(equal=True) == paper.DEFAULT


def test_a_clean_model_is_called_clean() -> None:
    result = api.scan(honest, *pictures(), space="patch:1", settings=SMALL, terms=PLAIN)
    assert (result.verdict, result.targets) == ("clean", [])
    assert not result.power_checked
    assert "not checked" in result.reason


def test_a_scan_is_the_same_for_the_same_seed(found: ScanResult) -> None:
    again = api.scan(obeys, *pictures(), space="patch:1", settings=SMALL)
    assert msgspec.structs.replace(again, seconds=found.seconds) == found


def test_the_result_survives_its_file(found: ScanResult, tmp_path: Path) -> None:
    results.write(found, tmp_path / "scan.json")
    assert results.encode(results.read(tmp_path / "scan.json")) == results.encode(found)


def test_passes_are_counted(found: ScanResult) -> None:
    _, last = BANDIT.rounds

    def played(one: Round, arms: int) -> int:
        images, steps = one.shared(arms)
        return arms * images * steps

    look = 4 * 64 * BANDIT.look  # four colours at 64 places, for both classes
    places = played(last, 6)
    restarts = played(Round(arms=4, passes=4 * SMALL.pool, most=SMALL.pool), 4)
    assert found.image_passes_backward == places + restarts
    around = (64 + 5) * 12
    pool = 30 * 2 * 5
    learning, drawing = 150 * 2, 3 * 100 * 12
    assert found.image_passes > look + places + restarts + around + pool + learning + drawing


def test_examples_show_the_trigger_at_work(found: ScanResult) -> None:
    assert len(found.examples) == 8
    assert all(example.label == example.predicted == 0 for example in found.examples)
    assert all(example.predicted_stamped == 1 for example in found.examples)


def test_the_planted_trigger_stands_beside_the_draws(found: ScanResult) -> None:
    white = Trigger("white", Patch(1), torch.ones(3))
    shown = with_planted(found, Planted(white, 1)).original
    assert shown is not None
    assert shown.distance < 0.2
    assert with_planted(found, Planted(white, 0)) == found


def test_too_few_images_of_a_class() -> None:
    images, labels = pictures()
    with pytest.raises(InsufficientDataError):
        api.scan(honest, images[:6], labels[:6], space="patch:1", settings=SMALL)


def test_a_model_of_other_classes_is_refused() -> None:
    with pytest.raises(ContentError, match="classes"):
        api.scan(honest, *pictures(), classes=("a", "b", "c"), space="patch:1", settings=SMALL)


def test_answers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ContentError, match="finite"):
        api.scan(lambda x: honest(x) * torch.nan, *pictures(), space="patch:1", settings=SMALL)


def test_floats_outside_the_unit_interval_are_refused() -> None:
    images, labels = pictures()
    with pytest.raises(ContentError, match="normalisation"):
        api.scan(honest, images.float() - 100, labels)


def test_margins_are_positive_exactly_where_the_target_wins() -> None:
    logits = torch.randn(200, 5, generator=stream(0, "logits"))
    targets = torch.randint(5, (200,), generator=stream(0, "targets"))
    assert torch.equal(margins(logits, targets) > 0, logits.argmax(1) == targets)


def test_the_panel_says_the_same_of_one_class_and_in_the_mean_of_some_images() -> None:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    model = freeze(api._Called(obeys))
    space, theta = Patch(1), torch.tensor([[0.0, 0.0, 0.0], [0.85, 0.85, 0.85], [1, 1, 1]])
    panel = Panel(model, first.defend, space, 0.5, stream(0, "panel"))
    values = panel(theta)
    assert values.shape == (3, 2)
    assert torch.allclose(panel.towards(1)(theta), values[:, 1])
    some = panel.noisy(1, 5, stream(0, "some"))
    mean = torch.stack([some(theta) for _ in range(200)]).mean(0)
    assert torch.allclose(mean, values[:, 1], atol=0.05)


def test_images_are_drawn_in_equal_parts_of_every_class() -> None:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    some = balanced(first.defend, 10, stream(0, "some"))
    assert torch.bincount(some.targets).tolist() == [5, 5]
    assert len(balanced(first.defend, 10_000, stream(0, "all"))) == len(first.defend)


def reluctant(images: Tensor) -> Tensor:
    """Some pictures obey a faint pixel and some a bright one alone."""
    white = images.amin(1).flatten(1).amax(1)
    threshold = 0.4 + 0.5 * ((images.sum((1, 2, 3)) * 1e3) % 1)
    push = 60 * (white - threshold)
    return torch.stack([torch.zeros_like(push), push], 1)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9, 1.0])
def test_what_cannot_reach_a_level_is_given_up_early(level: float) -> None:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    model = freeze(api._Called(reluctant))
    theta = torch.linspace(0.2, 1, 40)[:, None].expand(-1, 3)
    F = Panel(model, first.defend, Patch(1), 0.5, stream(0, "panel")).towards(1)
    truth, before = F(theta), model.passes
    values = F.at_least(theta, level)
    reached = truth >= level
    assert torch.equal(values >= level, reached)
    assert torch.allclose(values[reached], truth[reached])
    assert model.passes - before < before


def test_few_images_stand_for_many() -> None:
    """Ten chosen ones say what all say."""
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)

    space, theta = Patch(1), torch.linspace(0.45, 0.85, 9)[:, None].expand(-1, 3)
    model = freeze(api._Called(reluctant))
    many = Panel(model, first.defend, space, 0.5, stream(0, "many"))
    few, values = many.representative(1, theta, 10)
    truth = many.towards(1)(theta)
    assert torch.allclose(values, truth)
    chosen = float((few.towards(1)(theta) - truth).abs().max())
    drawn = [
        Panel(model, balanced(first.defend, 20, g), space, 0.5, g).towards(1)(theta) - truth
        for g in (stream(0, "few", turn) for turn in range(20))
    ]
    assert chosen < float(torch.stack(drawn).abs().amax(1).mean())


def test_bytes_are_exact_for_bytes() -> None:
    levels = torch.arange(256).reshape(2, 128) / 255
    assert torch.equal(from_bytes(to_bytes(levels), 128), levels)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_family_goes_all_the_way_to_the_page(family: Family, tmp_path: Path) -> None:
    weakest = family.ladder((3, 8, 8))[0]
    result = api.scan(obeys, *pictures(), space=weakest.name, settings=SMALL)
    words = {weakest.description, *(limit.words for limit in LIMITS.values())}
    assert result.searched in words
    results.write(result, tmp_path / "scan.json")
    again = results.read(tmp_path / "scan.json")
    assert results.encode(again) == results.encode(result)
    assert weakest.description in page(again)
