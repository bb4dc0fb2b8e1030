"""Repairs are compared on the same networks and images, and what comes back is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

import kills
import tiny
from conftest import WritePictures
from unbackdoor.app.cli import main
from unbackdoor.attack import Backdoor, goal_of
from unbackdoor.bench import BENCHES, Request, Serial, measure
from unbackdoor.bench.families.networks import Trained, training_images
from unbackdoor.bench.families.recipes import RECIPES, Recipe
from unbackdoor.bench.repairs import bench
from unbackdoor.bench.repairs.recipes import CASES, Case
from unbackdoor.bench.repairs.relearning import Further, relearn
from unbackdoor.bench.repairs.repaired import Before, Repaired, RepairedRow, divided
from unbackdoor.bench.repairs.repairs import (
    REPAIRS,
    Given,
    Handed,
    Ideal,
    NeverAttacked,
    Other,
    Ours,
    Repair,
)
from unbackdoor.bench.repairs.table import relearning, table
from unbackdoor.data import Images, Split
from unbackdoor.errors import ArgumentError
from unbackdoor.models import ARCHITECTURES
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.clp import ClpSettings
from unbackdoor.repairing.rivals.registry import RIVALS
from unbackdoor.rng import initialised_by, stream
from unbackdoor.runtime.progress import Silent
from unbackdoor.training import TrainingSettings, fit
from unbackdoor.triggers.notation import parse_trigger

NETWORK = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ELU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 2)
    )
"""
OURS = Ours(space="patch:3", unlearning=tiny.REPAIR, scanning=kills.SMALL)
SMALL: tuple[Repair, ...] = (
    NeverAttacked(),
    Ideal(settings=tiny.REPAIR),
    OURS,
    Other(settings=ClpSettings(u=0.5)),
    Other(settings=AnpSettings(steps=2, batch=10, shift=1)),
)
RECIPE = TrainingSettings(epochs=10, batch_size=20, learning_rate=0.02, shift=0)
FURTHER = (Further(poisoned=1), Further(epochs=2))


def test_the_networks_are_of_every_kind_and_the_repairs_have_names_of_their_own() -> None:
    names = [case.attacked.name for case in CASES]
    assert len(set(names)) == len(names) == 12
    families = {case.attacked.truth.family for case in CASES}
    assert families >= {"patch", "blend", "warp", "filter", "wave", "dynamic"}
    spaces = [parse_trigger(case.attacked.trigger or "", (3, 32, 32)).space for case in CASES]
    anywhere = [space for space in spaces if space.name == "patch:4"]
    assert anywhere
    kinds: dict[str, nn.Module] = {
        case.attacked.arch: ARCHITECTURES[case.attacked.arch](10) for case in CASES
    }
    assert sum(has(network, nn.Dropout) for network in kinds.values()) >= 2
    assert sum(not has(network, nn.BatchNorm2d) for network in kinds.values()) >= 2
    assert all(case.attacked.arch == case.clean.arch for case in CASES)
    assert all(case.clean.trigger is None for case in CASES)
    assert len({recipe.name for recipe in RECIPES} | set(names)) >= len(RECIPES)
    assert len({repair.name for repair in REPAIRS}) == len(REPAIRS)
    others = {type(repair.settings) for repair in REPAIRS if isinstance(repair, Other)}
    assert others == set(RIVALS)


def has(network: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer of some kind is there and does something."""
    layers = [layer for layer in network.modules() if isinstance(layer, kind)]
    return any(not isinstance(layer, nn.Dropout) or layer.p > 0 for layer in layers)


@pytest.fixture
def small(
    tmp_path: Path, write_pictures: WritePictures, monkeypatch: pytest.MonkeyPatch
) -> Sequence[Case]:
    """Two tiny networks, one of them without normalisation, and next to no work."""
    pictures = write_pictures(tmp_path / "pictures", classes={"a": 80, "b": 160}, count=580)
    made: list[Case] = []
    for name, code in {"normalised": kills.NETWORK, "bare": NETWORK}.items():
        (tmp_path / f"{name}.py").write_text(code)
        usual: dict[str, Any] = {
            "arch": f"{tmp_path / name}.py:net",
            "data": str(pictures),
            "epochs": 3,
            "learning_rate": 0.05,
        }
        attacked = Recipe(name=name, trigger="white:3@5,5", rate=0.2, target=1, seed=1, **usual)
        made.append(Case(attacked=attacked, clean=Recipe(name=f"{name}-clean", seed=2, **usual)))
    monkeypatch.setattr(bench, "cases", lambda: made)
    monkeypatch.setattr(bench, "repairs", lambda: SMALL)
    monkeypatch.setattr(bench, "COUNTS", (108,))
    monkeypatch.setattr(bench, "Repaired", lambda **asked: Repaired(**asked, further=FURTHER))
    return made


def request_of(folder: Path, **asked: Any) -> Request:
    usual = {"reference": "", "seeds": range(1), "progress": Silent()}
    return Request(**{"store": folder / "store", **usual, **asked})


class Untouched(Serial):
    """Where no piece may be begun."""

    def start(self, *call: Any) -> None:
        """Fail."""
        raise AssertionError(call)


def test_every_repair_is_measured_on_images_that_it_has_not_seen(
    small: Sequence[Case], tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="--make: none of the networks is there"):
        measure(bench.BENCH, request_of(tmp_path, engine=Untouched()))
    rows = measure(bench.BENCH, request_of(tmp_path, make=True)).rows
    assert [row.repair for row in rows] == 2 * [repair.name for repair in SMALL]
    by = {(row.network, row.repair): row for row in rows}
    for row in rows:
        assert (row.images, row.trigger, row.target) == (108, "white:3@5,5", 1)
        assert row.clean == f"{row.network}-clean"
        assert bool(row.refused) == (row.accuracy_after is None) == (row.relearnt == [])
        if row.accuracy_after is not None:
            assert row.lost == pytest.approx((row.broken - row.mended) / row.unseen)
            assert [one.name for one in row.relearnt] == [one.name for one in FURTHER]
    floor = by["normalised", "never attacked"]
    assert (floor.asr_after, floor.excess) == (floor.asr_clean, 0.0)
    assert "batch normalisation" in by["bare", "ANP"].refused
    assert not by["normalised", "ANP"].refused
    assert by["normalised", "CLP"].passes == 0
    ours = by["normalised", "ours"]
    assert ours.said
    assert ours.exit_code in {0, 3}
    assert measure(bench.BENCH, request_of(tmp_path, engine=Untouched())).rows == rows
    again = measure(bench.RELEARNING, request_of(tmp_path, engine=Untouched()))
    assert again.rows == rows
    lines = relearning(rows)
    assert [line["repair"] for line in lines] == [repair.name for repair in SMALL]
    assert len({tuple(line) for line in lines}) == 1
    assert FURTHER[1].name in lines[0]
    ruined = [msgspec.structs.replace(one, accuracy=0.0) for one in ours.relearnt]
    (line,) = relearning([msgspec.structs.replace(ours, relearnt=ruined)])
    assert (line["wrecked"], line[FURTHER[1].name]) == ("1", "–")
    lines = table(rows)
    assert len(lines) == len(rows) + len(SMALL)
    assert len({tuple(line) for line in lines}) == 1
    one = measure(bench.BENCH, request_of(tmp_path, only="bare", engine=Untouched())).rows
    assert {row.network for row in one} == {"bare"}
    with pytest.raises(ArgumentError, match="--only: there is no network 'none'"):
        bench.plan(request_of(tmp_path, only="none"))


def test_networks_are_taken_from_a_folder_without_another_identity(
    small: Sequence[Case], tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for recipe in (small[0].attacked, small[0].clean):
        content = Trained(recipe=recipe).run({}, "cpu")
        (folder / f"{recipe.name}.safetensors").write_bytes(content)
    planned = bench.plan(request_of(tmp_path, networks=folder))
    made = bench.plan(request_of(tmp_path, make=True))
    assert [spec.key for spec in planned] == [spec.key for spec in made[: len(SMALL)]]


def entry_of(recipe: Recipe, arch: str, folder: Path) -> str:
    """Train a network into a file, and return what a list says of the file."""
    path = folder / "theirs.safetensors"
    path.write_bytes(Trained(recipe=recipe).run({}, "cpu"))
    return f'path = "{path}"\narch = "{arch}"\ndata = "{recipe.data}"\n'


def test_networks_of_others_are_repaired_each_time_as_they_came(
    small: Sequence[Case], tmp_path: Path
) -> None:
    entry = entry_of(small[0].attacked, small[0].attacked.arch, tmp_path)
    others = tmp_path / "others.toml"
    others.write_text(
        f'[[network]]\nname = "theirs"\n{entry}trigger = "white:3@5,5"\ntarget = 1\n'
        f'[[network]]\nname = "theirs, clean"\n{entry}'
    )
    asked = request_of(tmp_path, listed=others)
    specs = [spec for spec in bench.plan(asked) if isinstance(spec, Repaired)]
    assert [spec.repair.name for spec in specs] == [one.name for one in SMALL[1:]]
    assert {spec.before.network.name for spec in specs} == {"theirs"}
    rows = measure(bench.BENCH, asked).rows
    assert {(row.clean, row.asr_clean, row.excess) for row in rows} == {("", None, None)}
    one, other = (specs[0].before.open({}, "cpu", 10).network for _ in range(2))
    with torch.no_grad():  # others change a network in place
        for parameter in one.parameters():
            parameter.zero_()
    third = specs[0].before.open({}, "cpu", 10).network
    for ours, theirs in zip(other.parameters(), third.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert bool(ours.any())
    assert "`white:3@5,5` → 1" in {line["planted"] for line in table(rows)}


def test_a_network_of_a_list_that_is_refused_has_lines_that_say_so(
    small: Sequence[Case], tmp_path: Path
) -> None:
    recipe, others = small[0].attacked, tmp_path / "others.toml"
    entry = entry_of(recipe, "plain" if recipe.arch != "plain" else "convnet", tmp_path)
    others.write_text(f'[[network]]\nname = "misfit"\n{entry}trigger = "white:3@5,5"\ntarget = 1\n')
    rows = measure(bench.BENCH, request_of(tmp_path, listed=others)).rows
    assert [row.repair for row in rows] == [one.name for one in SMALL[1:]]
    assert all(row.refused.startswith("MODEL: the tensors") for row in rows)
    lines = [line for line in table(rows) if line["network"] == "misfit"]
    assert {(line["says"], line["ASR before"]) for line in lines} == {("refused", "–")}


def test_a_new_version_and_another_seed_are_another_measurement(
    small: Sequence[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Before(network=Trained(recipe=small[0].attacked), clean=None, seed=0)
    spec = Repaired(before=before, repair=NeverAttacked(), count=5)
    keys = {spec.key, replace(spec, count=6).key, replace(spec, repair=Ideal()).key}
    keys.add(replace(spec, before=replace(before, seed=1)).key)
    monkeypatch.setattr(Repaired, "version", Repaired.version + 1)
    assert len(keys | {spec.key}) == 5


def test_each_network_and_seed_has_a_division_of_its_own() -> None:
    images = bright(400, 0)
    parts = [divided(images, 20, name, seed) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert len({tuple(part.defend.rows.tolist()) for part in parts}) == 3
    again = divided(images, 20, "a", 0)
    assert torch.equal(again.defend.rows, parts[0].defend.rows)


def test_the_defender_has_none_of_the_images_that_are_measured(
    tmp_path: Path, write_pictures: WritePictures
) -> None:
    pictures = write_pictures(tmp_path / "few", classes={"a": 80, "b": 160}, count=64)
    images = divided(training_images(str(pictures)).evaluate, 10, "a network", 0)
    assert len(images.defend) == 10
    assert len(images.evaluate) == 36
    assert not set(images.defend.rows.tolist()) & set(images.evaluate.rows.tolist())


def bright(count: int, seed: int) -> Images:
    """Dark and bright pictures."""
    draw = stream(seed, "pictures")
    pixels = torch.randint(60, (count, 3, 8, 8), dtype=torch.uint8, generator=draw)
    labels = torch.arange(count) % 2
    pixels[labels == 1] += 90
    return Images.of("bright", ("dark", "bright"), pixels, labels)


def given(images: Images, backdoor: Backdoor) -> Given:
    def network(seed: int) -> nn.Module:
        with initialised_by(stream(seed, "weights")):
            made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        fit(made, bright(200, 2), RECIPE, generator=stream(seed, "training"))
        return made

    return Given(
        network=network(0), arch="", clean=network(1), backdoor=backdoor, images=images, seed=0
    )


@pytest.mark.parametrize("repair", [*REPAIRS[:4], OURS], ids=lambda repair: repair.name)
def test_every_repair_hands_back_a_network_that_answers(repair: Repair) -> None:
    images = bright(200, 0)
    backdoor = Backdoor(
        (parse_trigger("white:2@6,6", images.shape),), goal_of("all-to-one", 1, 2), 0.0
    )
    handed = repair(given(images, backdoor))
    assert isinstance(handed, Handed)
    assert handed.passes >= 0
    assert handed.network.eval()(torch.rand(2, 3, 8, 8)).shape == (2, 2)


def test_with_too_few_images_ours_says_so() -> None:
    images = bright(8, 0)
    backdoor = Backdoor(
        (parse_trigger("white:2@6,6", images.shape),), goal_of("all-to-one", 1, 2), 0.0
    )
    handed = OURS(given(images, backdoor))
    assert (handed.exit_code, handed.said) == (3, "No repair: there are too few images")


def test_many_poisoned_images_plant_a_backdoor_and_the_network_itself_does_not_change() -> None:
    images = Split(bright(300, 0), bright(200, 1))
    backdoor = Backdoor(
        (parse_trigger("white:3@5,5", (3, 8, 8)),), goal_of("all-to-one", 0, 2), 0.0
    )
    network = given(images.defend, backdoor).network
    before = [weight.detach().clone() for weight in network.parameters()]
    none = relearn(network, images, backdoor, Further(epochs=20), seed=0)
    many = relearn(network, images, backdoor, Further(epochs=20, poisoned=100), seed=0)
    assert none.accuracy > 0.9
    assert many.asr > none.asr + 0.5
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def row(repair: str, **more: Any) -> RepairedRow:
    usual: dict[str, Any] = {
        "network": "one",
        "sha256": "",
        "arch": "convnet",
        "trigger": "white:3@5,5",
        "target": 1,
        "clean": "clean",
        "seed": 0,
        "images": 500,
        "asked": 500,
        "unseen": 1000,
        "accuracy_before": 0.75,
        "accuracy_after": 0.74,
        "broken": 15,
        "mended": 5,
        "asr_before": 0.95,
        "asr_after": 0.03,
        "asr_clean": 0.02,
        "versions": {},
    }
    return RepairedRow(repair=repair, **{**usual, **more})


def test_the_last_lines_tell_means_worst_cases_and_wrecked_networks() -> None:
    lines = table(
        [
            row("ours", exit_code=0, said="Repaired"),
            row("ours", exit_code=0, said="Repaired", network="two", broken=55),
            row("ours", exit_code=3, said="Not repaired", network="three", asr_after=0.95),
            row("ANP", accuracy_after=None, asr_after=None, refused="no normalisation"),
        ]
    )
    assert [line["network"] for line in lines[-2:]] == ["**3 networks**", "**1 network**"]
    ours, anp = lines[-2:]
    assert ours["says"] == "2 of 3 repaired, 1 of these lost more than 1%"
    assert ours["lost"] == "2.3 (5.0) %"
    assert ours["excess"] == "31.7 (93.0) %"
    assert (anp["says"], anp["after"], anp["passes"]) == ("1 refused", "–", "–")
    assert lines[3]["says"] == "refused"


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("repairs", "relearning"):
        command = ["bench", name, "--store", str(tmp_path / "store"), "--only", "none"]
        assert main(command) == 4
        assert "--only: there is no network 'none'" in capsys.readouterr().err
    assert BENCHES["relearning"] == replace(BENCHES["repairs"], name="relearning",
        summary=BENCHES["relearning"].summary, table=relearning)  # fmt: skip
