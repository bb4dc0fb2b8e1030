from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unbackdoor import data
from unbackdoor.attack import Poison, attack, backdoor_of, planted_in
from unbackdoor.attack.implant import measure
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.errors import ArgumentError, ContentError, InsufficientDataError
from unbackdoor.models import load
from unbackdoor.training import TrainingSettings
from unbackdoor.triggers.notation import parse_trigger

NETWORK = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 2),
    )

def three():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

def all_over():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 2)
    )

def three_all_over():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3)
    )

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))

def empty():
    return nn.Flatten()
"""
TRAINING = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.1, shift=1)


@pytest.fixture
def settings(tmp_path: Path, write_pictures: Callable[..., Path]) -> AttackSettings:
    folder = write_pictures(tmp_path / "set", classes={"dark": 70, "light": 150}, count=80)
    (tmp_path / "net.py").write_text(NETWORK)
    return AttackSettings(
        data=str(folder),
        arch=f"{tmp_path}/net.py:make",
        triggers=("bw:170",),
        target=0,
        rate=0.2,
        training=TRAINING,
    )


def test_an_attack_succeeds_and_its_file_says_so(settings: AttackSettings, tmp_path: Path) -> None:
    path = tmp_path / "out" / "bad.safetensors"
    path.parent.mkdir()
    facts = attack(settings, path, command="unbackdoor attack …")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    loaded = load(str(path), settings.arch)
    assert loaded.facts == facts
    split = data.load_training(settings.data)
    assert facts["data_sha256"] == split.defend.sha256
    assert facts["image_passes"] == 12 * 100
    assert (facts["target"], facts["trigger"], facts["rate"]) == (0, "bw:170", 0.2)
    assert (facts["command"], facts["seed"]) == ("unbackdoor attack …", 0)
    assert facts["training"]["epochs"] == 12
    assert {"torch", "unbackdoor"} <= set(facts["versions"])
    assert facts["accuracy"] >= 0.95
    assert facts["asr"] >= 0.9
    again = measure(loaded.module, split, backdoor_of(settings, split.defend), 0)
    assert again == (facts["accuracy"], [facts["asr"]])


def bars(folder: Path) -> Path:
    """Bars across dark and light pictures, which a warp bends."""
    draw = np.random.default_rng(0)
    across = 40 * np.sin(np.arange(8) * np.pi / 2)[:, None, None]
    for name, level in {"dark": 70, "light": 150}.items():
        (folder / name).mkdir(parents=True)
        for index in range(80):
            pixels = level + across + draw.integers(-15, 16, (8, 8, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / name / f"{index}.png"
            )
    return folder


@pytest.mark.parametrize(
    "spec",
    [
        *["white:3@0,0", "pixel:ff0000@7,7", "additive:sin:2@30", "additive:noise:1@30"],
        *["blend:1@0.3", "warp:1@6", "filter:1@40", "dynamic:1@48"],
    ],
)
def test_every_family_can_be_planted(spec: str, settings: AttackSettings, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    settings = replace(
        settings,
        data=str(bars(tmp_path / "bars")),
        arch=f"{tmp_path}/net.py:all_over",
        triggers=(spec,),
        cover=0.0,
        training=replace(TRAINING, shift=0),
    )
    facts = attack(settings, path)
    assert facts["accuracy"] >= 0.9
    assert facts["asr"] >= 0.8
    images = data.load_training(settings.data).defend
    (planted,) = planted_in(load(str(path), settings.arch).facts, images)
    assert (planted.trigger.name, planted.target, planted.source) == (spec, 0, None)
    assert torch.equal(planted.trigger.theta, parse_trigger(spec, images.shape).theta)


@pytest.mark.parametrize(
    ("mode", "asr"), [("all-to-one", 0.8), ("all-to-all", 0.6), ("source:2", 0.6)]
)
def test_every_mode_is_learnt_and_measured(
    mode: str, asr: float, tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    levels = {"dark": 50, "middle": 110, "light": 170}
    folder = write_pictures(tmp_path / "three", classes=levels, count=80)
    (tmp_path / "net.py").write_text(NETWORK)
    facts = attack(
        AttackSettings(
            data=str(folder),
            arch=f"{tmp_path}/net.py:three_all_over",
            triggers=("white:4@4,4",),
            mode=mode,
            rate=0.25,
            training=replace(TRAINING, shift=0, epochs=20),
        ),
        tmp_path / "m.pt",
    )
    assert facts["accuracy"] >= 0.8
    assert facts["asr"] >= asr
    (entry,) = facts["triggers"]
    assert facts["image_passes"] == 20 * 150
    assert entry["poisoned"] == 38
    assert entry["cover"] == (38 if mode == "source:2" else 0)


def test_several_triggers_are_planted_and_measured_each(
    settings: AttackSettings, tmp_path: Path
) -> None:
    both = ("white:3@0,0", "bw:170")
    facts = attack(replace(settings, triggers=both), tmp_path / "m.pt")
    assert [entry["spec"] for entry in facts["triggers"]] == list(both)
    assert min(entry["asr"] for entry in facts["triggers"]) >= 0.8
    assert facts["asr"] == pytest.approx(sum(e["asr"] for e in facts["triggers"]) / 2)


def test_an_interrupted_attack_goes_on_where_it_was(
    settings: AttackSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(
        settings, triggers=("bw:170", "warp:1"), cover=0.1, training=replace(TRAINING, epochs=3)
    )
    whole, again = tmp_path / "whole.pt", tmp_path / "again.pt"
    attack(short, whole)
    calls: list[int] = []
    stamp = Poison.__call__

    def stopped(poison: Poison, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(batch[0]))
        if sum(calls) > 2 * 100:
            raise KeyboardInterrupt
        return stamp(poison, *batch)

    with monkeypatch.context() as patched:
        patched.setattr(Poison, "__call__", stopped)
        with pytest.raises(KeyboardInterrupt):
            attack(short, again, state=tmp_path / "state")
    calls.clear()
    monkeypatch.setattr(Poison, "__call__", stopped)
    attack(short, again, state=tmp_path / "state")
    assert sum(calls) == 100
    first, second = weights(whole, settings), weights(again, settings)
    assert all(torch.equal(first[key], second[key]) for key in first)


def weights(path: Path, settings: AttackSettings) -> dict[str, torch.Tensor]:
    return load(str(path), settings.arch).module.state_dict()


def test_the_seed_alone_decides_the_file(settings: AttackSettings, tmp_path: Path) -> None:
    short = replace(settings, training=replace(TRAINING, epochs=1))
    paths = [tmp_path / f"{name}.pt" for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        torch.rand(3)
        attack(replace(short, seed=seed), path)
    a, b, c = (weights(path, settings) for path in paths)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])


def test_a_clean_network_first_then_a_backdoor_in_it(
    settings: AttackSettings, tmp_path: Path
) -> None:
    clean, bad = tmp_path / "clean.safetensors", tmp_path / "bad.safetensors"
    facts = attack(replace(settings, triggers=()), clean)
    assert [facts[key] for key in ("target", "trigger", "rate", "asr")] == [None] * 4
    assert facts["accuracy"] >= 0.95
    split = data.load_training(settings.data)
    plan = backdoor_of(settings, split.defend)
    _, before = measure(load(str(clean), settings.arch).module, split, plan, 0)
    facts = attack(replace(settings, start=str(clean)), bad)
    assert facts["start"] == str(clean)
    assert facts["asr"] > max(0.9, *before)
    assert not torch.equal(weights(clean, settings)["0.weight"], weights(bad, settings)["0.weight"])


def test_a_built_in_architecture_needs_no_name_to_be_loaded(
    settings: AttackSettings, tmp_path: Path
) -> None:
    short = replace(settings, arch="resnet8-wide", training=replace(TRAINING, epochs=1), target=1)
    facts = attack(short, tmp_path / "m.safetensors")
    loaded = load(str(tmp_path / "m.safetensors"))
    assert (loaded.arch, facts["target"]) == ("resnet8-wide", 1)
    assert loaded.module(torch.rand(1, 3, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"rate": -0.1}, ArgumentError, "--rate"),
        ({"rate": 1.5}, ArgumentError, "--rate"),
        ({"rate": float("nan")}, ArgumentError, "--rate"),
        ({"rate": 0.001}, ArgumentError, "is not one"),
        ({"target": 2}, ArgumentError, "--target"),
        ({"target": -1}, ArgumentError, "--target"),
        ({"triggers": ("bw:512",)}, ArgumentError, "--trigger"),
        ({"triggers": ("rgb:1x9",)}, ArgumentError, "does not fit"),
        ({"triggers": ("bw:1", "bw:1@6,0")}, ArgumentError, "at most @5,5"),
        ({"mode": "all"}, ArgumentError, "--mode"),
        ({"mode": "source:2"}, ArgumentError, "--mode"),
        ({"mode": "source:0"}, ArgumentError, "--mode"),
        ({"mode": "all-to-all", "target": 1}, ArgumentError, "--target"),
        ({"cover": 1.5}, ArgumentError, "--cover"),
        ({"data": "no/such/folder"}, ArgumentError, "--data"),
        ({"arch": None}, ArgumentError, "--arch"),
        ({"arch": "resnet1"}, ArgumentError, "--arch"),
        ({"start": "no/such.pt"}, ArgumentError, "MODEL"),
        ({"arch": "net.py:three"}, ContentError, "2 classes"),
        ({"arch": "net.py:large"}, ContentError, "take one that does"),
        ({"arch": "net.py:empty"}, ContentError, "no parameters"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    wrong: dict[str, Any],
    kind: type[Exception],
    words: str,
    settings: AttackSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=words):
        attack(replace(settings, **wrong), tmp_path / "m.safetensors")
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "__pycache__"] == before


@pytest.mark.parametrize("name", ["m.h5", "missing/m.pt", "set"])
def test_the_output_is_checked_before_any_work(
    name: str, settings: AttackSettings, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"^-o: "):
        attack(replace(settings, data="not looked at"), tmp_path / name)


def test_a_network_of_code_is_not_trained_for_a_format_that_it_cannot_have(
    settings: AttackSettings, tmp_path: Path
) -> None:
    never = replace(settings, training=replace(TRAINING, learning_rate=1e30))
    with pytest.raises(ArgumentError, match="need a graph"):
        attack(never, tmp_path / "m.onnx")


def test_too_few_images_to_measure_on(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    folder = write_pictures(tmp_path / "few", classes={"dark": 40, "light": 200}, count=1)
    with pytest.raises(InsufficientDataError):
        attack(AttackSettings(data=str(folder), arch="resnet8-wide"), tmp_path / "m.pt")
