"""What can be refused is refused before any work: images are not even loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from unbackdoor import data
from unbackdoor.app.cli import main

SCAN = ["--data", "cifar10-sample"]
REPAIR = ["repair", "shipped:clean", *SCAN, "-o", "fixed.safetensors"]
ATTACK = ["attack", *SCAN, "-o", "attacked.safetensors"]
REFUSED = {
    "a missing model": (["scan", "none.pt", *SCAN], 4, "MODEL: there is no file or folder none.pt"),
    "one of several": (
        ["scan", "shipped:clean", "none.pt", "broken.safetensors", *SCAN],
        4,
        "MODEL: there is no file or folder none.pt",
    ),
    "one beside a folder": (["scan", "models", "none.pt", *SCAN], 4, "MODEL: there is no file"),
    "no shipped model": (["scan", "shipped:clean", "shipped:x", *SCAN], 4, "MODEL: no shipped"),
    "a broken model": (["scan", "broken.safetensors", *SCAN], 2, "MODEL:"),
    "a format of others": (["scan", "model.h5", *SCAN], 2, "not a checkpoint this tool reads"),
    "no code": (["scan", "a.pt", "--arch", "none.py:net", *SCAN], 4, "--arch: there is no file"),
    "no graph": (["scan", "a.pt", "--arch", "none.onnx", *SCAN], 4, "--arch: there is no file"),
    "no architecture": (["scan", "a.pt", "b.pt", "--arch", "resnet9", *SCAN], 4, "--arch: unknown"),
    "two channels": (
        ["scan", "shipped:clean", "--mean", ".5", ".5", *SCAN],
        4,
        "--mean: expected one number for grey pictures or three for red, green and blue, came 2",
    ),
    "a mean of one and deviations of three": (
        ["scan", "shipped:clean", "--mean", ".5", "--std", "1", "1", "1", *SCAN],
        4,
        "--std: expected as many numbers as --mean, 1, came 3",
    ),
    **{
        f"{flag} {value}": (
            ["scan", "shipped:clean", flag, ".5", value, ".5", *SCAN],
            4,
            f"{flag}: expected finite numbers",
        )
        for flag, value in (
            *(("--mean", "nan"), ("--mean", "inf"), ("--std", "nan"), ("--std", "inf")),
            *(("--std", "0"), ("--std", "-1")),
        )
    },
    "no labels": (["scan", "shipped:clean", "--labels", "none.json", *SCAN], 4, "--labels:"),
    **{
        f"the space {spec!r}": (
            ["scan", "shipped:clean", "--space", spec, *SCAN],
            4,
            f"--space: expected {expected}",
        )
        for spec, expected in {
            "patch:99": "auto, a family",
            "": "auto, a family",
            "patches": "auto, a family",
            "auto,patch:3": "auto, a family",
            "patch:3,warp:99": "auto, a family",
            "patch:3@": "two numbers after @",
            "patch:3@28": "two numbers after @",
            "patch:3@28,28@0,0": "two numbers after @",
            "warp:2@0,0": "two numbers after @ for a patch or a wave",
        }.items()
    },
    "no space to scan again": ([*REPAIR, "--space", "patch:0"], 4, "--space: expected"),
    "no budget": (["scan", "shipped:clean", "--budget", "endless", *SCAN], 4, "--budget"),
    "a page named like a PDF": (
        ["scan", "shipped:clean", *SCAN, "--report", "page.pdf"],
        4,
        "--report: expected a name that ends in .html or .htm, came page.pdf",
    ),
    "a result named like a page": (
        ["scan", "shipped:clean", *SCAN, "-o", "r.html"],
        4,
        "so name r.json; a page is written by --report r.html.",
    ),
    "a result named like a text": (
        ["scan", "shipped:clean", *SCAN, "-o", "r.txt"],
        4,
        "-o: expected a name that ends in .json or .sarif, came r.txt",
    ),
    "a repair in SARIF": (
        [*REPAIR, "--result", "r.sarif"],
        4,
        "--result: expected a name that ends in .json",
    ),
    "no model to repair": (["repair", "none.pt", *REPAIR[2:]], 4, "MODEL: there is no file"),
    "no reference": ([*REPAIR, "--reference", "none.pt"], 4, "--reference: there is no file"),
    "a broken reference": ([*REPAIR, "--reference", "broken.safetensors"], 2, "--reference:"),
    "no scan": ([*REPAIR, "--scan", "none.json"], 4, "--scan: there is no file"),
    "a broken scan": ([*REPAIR, "--scan", "broken.safetensors"], 2, "--scan:"),
    "no such trigger": ([*REPAIR, "--trigger", "x:1", "--target", "0"], 4, "--trigger: expected"),
    "a trigger without its class": ([*REPAIR, "--trigger", "bw:170"], 4, "add --target"),
    "blind with a class": ([*REPAIR, "--blind", "--target", "1"], 4, "--blind: it uses no trigger"),
    "no accuracy": ([*REPAIR, "--max-accuracy-loss", "101"], 4, "--max-accuracy-loss: expected"),
    "accuracy below 0": ([*REPAIR, "--max-accuracy-loss", "-1"], 4, "--max-accuracy-loss"),
    "no suffix": ([*REPAIR[:-1], "fixed"], 4, "-o: expected a name that ends in"),
    "no graph to write": ([*REPAIR[:-1], "fixed.onnx"], 4, "would need a graph"),
    "no code to repair with": ([*REPAIR, "--arch", "none.py:net"], 4, "--arch: there is no file"),
    "no start": ([*ATTACK, "--from", "none.pt"], 4, "--from: there is no file or folder none.pt"),
    "no beginning": (ATTACK, 4, "--arch: name an architecture"),
    "no code to attack": ([*ATTACK, "--arch", "none.py:net"], 4, "--arch: there is no file"),
    "no such network": ([*ATTACK, "--arch", "resnet9"], 4, "--arch: unknown architecture"),
    "no rate": ([*ATTACK, "--arch", "resnet20", "--trigger", "bw:1", "--rate", "2"], 4, "--rate:"),
    "no cover": (
        [*ATTACK, "--arch", "resnet20", "--trigger", "bw:1", "--cover", "2"],
        4,
        "--cover:",
    ),
    "no mode": ([*ATTACK, "--arch", "resnet20", "--trigger", "bw:1", "--mode", "x"], 4, "--mode:"),
    "no form": (
        [*ATTACK, "--arch", "resnet20", "--trigger", "bw:1", "--trigger", "x:1"],
        4,
        "try bw:170",
    ),
    "no place": (
        [*ATTACK, "--arch", "resnet20", "--trigger", "warp:1@0,0"],
        4,
        "only a patch has a place",
    ),
    **{
        f"the trigger {spec!r}": (
            [*ATTACK, "--arch", "resnet20", "--trigger", spec],
            4,
            "--trigger: expected",
        )
        for spec in (
            *("bw:512", "rgb:1x17", "white:0", "pixel:fff", "additive:sin:2", "blend:1@2"),
            *("warp:1@0", "filter:1@91", "dynamic:1@65", "mask:", "wave:16", "bw:1@0"),
        )
    },
    "no picture to blend": (
        [*ATTACK, "--arch", "resnet20", "--trigger", "blend:none.jpg@0.1"],
        4,
        "there is no file none.jpg",
    ),
    "a target beside those of all": (
        [
            *ATTACK,
            "--arch",
            "resnet20",
            "--trigger",
            "bw:1",
            "--mode",
            "all-to-all",
            "--target",
            "1",
        ],
        4,
        "--target: with --mode all-to-all",
    ),
    "a mode without a trigger": (
        [*ATTACK, "--arch", "resnet20", "--mode", "source:1"],
        4,
        "--trigger: --target, --rate, --mode and --cover need a trigger",
    ),
    "no picture": ([*ATTACK, "--arch", "resnet20", "--trigger", "none.png"], 4, "none.png"),
    "no model to show": (["demo", "--model", "none.pt"], 4, "MODEL: there is no file"),
}


@pytest.fixture(autouse=True)
def _no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("images were loaded")

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(data, "load_training", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("models/a.pt", "a.pt", "b.pt", "model.h5", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_without_images(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, code, sentence = REFUSED[what]
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    if what != "no budget":  # the parser's own sentence is a frame of several lines
        assert said.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (["scan", "shipped:clean", "a.pt", *SCAN], "MODEL"),
        ([*REPAIR, "--reference", "a.pt"], "--reference"),
        ([*ATTACK, "--from", "a.pt"], "--from"),
    ],
)
def test_a_file_that_may_not_be_read_is_refused(
    arguments: list[str],
    argument: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As root may read any, that the system refuses is made up here."""
    open_path = Path.open

    def refused(path: Path, *rest: str) -> object:
        if path.name == "a.pt":
            raise PermissionError(13, "Permission denied", str(path))
        return open_path(path, *rest)

    monkeypatch.setattr(Path, "open", refused)
    assert main(arguments) == 4
    said = capsys.readouterr()
    assert f"{argument}: a.pt cannot be read (Permission denied)" in said.err
    assert "images were loaded" not in said.err
