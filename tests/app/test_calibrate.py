"""A bag of one's own: written by calibrate, and what a scan says with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kills import SMALL, prepare
from unbackdoor.app.cli import main
from unbackdoor.scanning import settings
from unbackdoor.verdict.bag import read_bag

COMMON = [
    "--arch",
    "net.py:net",
    "--data",
    "data",
    "--space",
    "patch:1",
    "--budget",
    "quick",
    "--threads",
    "1",
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bag of two clean networks and a backdoored one, and images beside it."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(settings.BUDGETS, "quick", SMALL)
    for kind in ("clean", "backdoored"):
        (tmp_path / "bag" / kind).mkdir(parents=True)
    shutil.copy("net.safetensors", "bag/backdoored/obeys.safetensors")
    state = load_file("net.safetensors")
    state["last.weight"][:, 1] = 0
    for number in range(2):
        state["last.bias"] = torch.tensor([0.0, number / 10])
        save_file(state, f"bag/clean/{number}.safetensors")
    return tmp_path


def test_a_bag_of_ones_own_gives_a_verdict_in_its_field(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--bag", "bag", "-o", "own.json", *COMMON]) == 0
    assert "2 clean and 1 backdoored" in " ".join(capsys.readouterr().out.split())
    bag = read_bag(place / "own.json")
    assert {(one.name, one.backdoor) for one in bag.networks} == {
        ("0", ""),
        ("1", ""),
        ("obeys", "unknown"),
    }
    assert all((one.classes, one.side) == (2, 8) for one in bag.networks)
    assert max(one.score for one in bag.clean) < 1 <= bag.backdoored[0].score
    clean = ["scan", "bag/clean/0.safetensors", *COMMON, "-f", "json"]
    assert main([*clean, "--bag", "own.json"]) == 0
    standing = json.loads(capsys.readouterr().out)["standing"]
    assert (standing["bag"], standing["outside"]) == ("own", [])
    assert main(clean) == 3  # pictures of 8 pixels and two classes are unlike those of the package
    assert "2 classes" in json.loads(capsys.readouterr().out)["reason"]
    assert main([*clean, "--bag", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["standing"] is None
    found = ["scan", "bag/backdoored/obeys.safetensors", *COMMON, "--bag", "own.json"]
    assert main(found) == 1
    assert "higher than any of 2 clean" in " ".join(capsys.readouterr().out.split())


def test_time_that_is_up_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["scan", "bag/clean/0.safetensors", *COMMON, "--space", "patch:1,patch:2"]
    code = main([*model, "--bag", "none", "--max-seconds", "1e-6", "-f", "json"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["verdict"]) == (3, "inconclusive")
    assert "patch:1, patch:2" in result["reason"]
    assert result["not_searched"].startswith("patch:1; patch:2;")
    assert result["searched"] == "nothing, because the time was up"
    assert {record["space"].partition("@")[0] for record in result["classes"]} == {"patch:1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "net.safetensors", *COMMON, "--bag", "nowhere.json"], "--bag"),
        (["scan", "net.safetensors", *COMMON, "--max-seconds", "0"], "--max-seconds: expected"),
        (["scan", "net.safetensors", *COMMON, "--max-seconds", "nan"], "--max-seconds: expected"),
        (["calibrate", "--bag", "data", "-o", "own.json", *COMMON], "mkdir -p data/clean"),
        (["calibrate", "--bag", "nowhere", "-o", "own.json", *COMMON], "mkdir -p nowhere/clean"),
        (["calibrate", "--bag", "bag", "-o", "no/own.json", *COMMON], "-o: the folder"),
        (
            ["calibrate", "--bag", "bag", "-o", "bag/clean/0.safetensors", *COMMON],
            "is also named by --bag",
        ),
    ],
)
def test_wrong_arguments_are_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 4
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not (place / "own.json").exists()
