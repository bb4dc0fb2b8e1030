"""The command line as a user meets it: sentences, exit codes, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from conftest import WritePictures
from unbackdoor.app.cli import main

SAMPLE = ["--data", "cifar10-sample"]


def folder_of(path: Path, per_class: int) -> Path:
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for index in range(per_class):
            Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(
                path / name / f"{index}.png"
            )
    return path


def network_of(path: Path, side: int, classes: int) -> Path:
    """Write an ONNX file that takes pictures of one size and sees nothing in them."""
    sizes = {"images": ["n", 3, side, side], "logits": ["n", classes]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name]) for name in sizes]
    weight = numpy_helper.from_array(np.zeros((3 * side * side, classes), np.float32), "weight")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "blind", ends[:1], ends[1:], [weight])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> dict[str, list[str]]:
    text = tmp_path / "notes.txt"
    text.write_text("not a model")
    fake = tmp_path / "fake.safetensors"
    fake.write_text("not a model either")
    (tmp_path / "empty").mkdir()
    few = folder_of(tmp_path / "few", 1)
    attack = ["attack", *SAMPLE, "--arch", "resnet20", "-o", str(tmp_path / "x.safetensors")]
    several = ["scan", "shipped:clean", "shipped:rgb7", *SAMPLE]
    repair = ["repair", "shipped:clean", *SAMPLE, "-o", str(tmp_path / "x.safetensors")]
    labels = tmp_path / "labels.json"
    labels.write_text('{"cat": 0, "dog": 0}')
    small = network_of(tmp_path / "small.onnx", side=16, classes=10)
    one = network_of(tmp_path / "one.onnx", side=32, classes=11)
    return {
        "no such file": ["scan", str(tmp_path / "none.safetensors"), *SAMPLE],
        "a text file": ["scan", str(text), *SAMPLE],
        "a text file by another name": ["scan", str(fake), *SAMPLE],
        "an unknown architecture": ["scan", "shipped:clean", "--arch", "resnet9", *SAMPLE],
        "another architecture": ["scan", "shipped:clean", "--arch", "resnet18", *SAMPLE],
        "an unknown data set": ["scan", "shipped:clean", "--data", "cifar11"],
        "an empty folder": ["scan", "shipped:clean", "--data", str(tmp_path / "empty")],
        "few images": ["scan", "shipped:clean", "--data", str(few)],
        "target out of range": [*attack, "--target", "10"],
        "trigger out of range": [*attack, "--trigger", "bw:512"],
        "no such folder": ["scan", "shipped:clean", *SAMPLE, "-o", str(tmp_path / "no" / "x.json")],
        "no such space": ["scan", "shipped:clean", *SAMPLE, "--space", "patch:99"],
        "no such shipped model": ["scan", "shipped:none", *SAMPLE],
        "no such device": ["scan", "shipped:clean", *SAMPLE, "--device", "abacus"],
        "no such command": ["scam"],
        "a missing argument": ["scan"],
        "no such benchmark": ["bench", "none"],
        "no seeds": ["bench", "shipped", "--seeds", "0"],
        "two attacks": ["bench", "paper-robust", "--only", "cifar10-bw:170,cifar10-rgb:0"],
        "attacks of toys": ["bench", "toys", "--only", "cifar10-bw:170"],
        "models of the paper": ["bench", "paper", "--models", "shipped:clean"],
        "no size": ["scan", "shipped:clean", *SAMPLE, "--size", "0"],
        "no deviation": ["scan", "shipped:clean", *SAMPLE, "--std", "1", "1", "0"],
        "no labels": ["scan", "shipped:clean", *SAMPLE, "--labels", str(tmp_path / "none.json")],
        "labels of no kind": ["scan", "shipped:clean", *SAMPLE, "--labels", str(text)],
        "labels twice": ["scan", "shipped:clean", "--data", str(few), "--labels", str(labels)],
        "an empty name": ["scan", "", *SAMPLE],
        "an endless name": ["scan", "x" * 300, *SAMPLE],
        "an endless data set": ["scan", "shipped:clean", "--data", "x" * 300],
        "the model as output": ["scan", str(fake), *SAMPLE, "-o", str(fake)],
        "one output twice": [*several, "-o", str(tmp_path / "x"), "--report", str(tmp_path / "x")],
        "endless threads": ["scan", "shipped:clean", *SAMPLE, "--threads", "1000000"],
        "the scan as output": ["report", str(text), "-o", str(text)],
        "the start as output": [*attack[:-1], str(fake), "--from", str(fake)],
        "a rate without a trigger": [*attack, "--rate", "0.5"],
        "no epochs": [*attack, "--epochs", "-1"],
        "no reference": [*repair, "--reference", "none.pt"],
        "a reference of another size": [*repair, "--reference", str(small)],
        "a reference of other classes": [*repair, "--reference", str(one)],
        "no scan": [*repair, "--scan", "none.json"],
    }


CODES = {
    "no such file": 4,
    "a text file": 2,
    "a text file by another name": 2,
    "an unknown architecture": 4,
    "another architecture": 2,
    "an unknown data set": 4,
    "an empty folder": 2,
    "few images": 3,
    "target out of range": 4,
    "trigger out of range": 4,
    "no such folder": 4,
    "no such space": 4,
    "no such shipped model": 4,
    "no such device": 4,
    "no such command": 4,
    "a missing argument": 4,
    "no such benchmark": 4,
    "no seeds": 4,
    "two attacks": 4,
    "attacks of toys": 4,
    "models of the paper": 4,
    "no size": 4,
    "no deviation": 4,
    "no labels": 4,
    "labels of no kind": 2,
    "labels twice": 2,
    "an empty name": 4,
    "an endless name": 4,
    "an endless data set": 4,
    "the model as output": 4,
    "one output twice": 4,
    "endless threads": 4,
    "the scan as output": 2,
    "the start as output": 4,
    "a rate without a trigger": 4,
    "no epochs": 4,
    "no reference": 4,
    "a reference of another size": 2,
    "a reference of other classes": 2,
    "no scan": 4,
}
NAMED = {
    "the start as output": "-o:",
    "a rate without a trigger": "--trigger:",
    "no epochs": "--epochs:",
    "no reference": "--reference:",
    "a reference of another size": "of shape (3, 16, 16), MODEL of (3, 32, 32)",
    "a reference of other classes": "--reference: expected 10 classes",
    "no scan": "--scan:",
    "an empty name": "MODEL:",
    "two attacks": "--only:",
    "attacks of toys": "--only:",
    "models of the paper": "--models:",
}
"""What a sentence has to say, such as the argument."""


@pytest.mark.parametrize("what", CODES)
def test_wrong_input(
    what: str, wrong: dict[str, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(wrong[what]) == CODES[what]
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    if what not in {"no such command", "a missing argument"}:
        assert said.err.startswith("unbackdoor: ")
        assert said.err.count("\n") == 1
        assert NAMED.get(what, "") in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unbackdoor {version('unbackdoor')}\n"


def test_help_starts_without_torch() -> None:
    script = (
        "import sys, unbackdoor.app.cli; code = unbackdoor.app.cli.main(['--help']); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "scan" in done.stdout


def test_the_shipped_models_say_their_truth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert models["shipped:clean"]["target"] is None
    assert (models["shipped:bw170"]["trigger"], models["shipped:bw170"]["target"]) == ("bw:170", 0)
    assert (models["shipped:rgb7"]["trigger"], models["shipped:rgb7"]["target"]) == ("rgb:7", 7)
    assert all(row["accuracy"] >= 0.89 for row in models.values())
    assert all(row["asr"] >= 0.97 for row in models.values() if row["target"] is not None)


@pytest.mark.usefixtures("_little_work")
def test_a_quick_scan_of_a_backdoored_model_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, page = tmp_path / "scan.json", tmp_path / "page.html"
    options = ["--budget", "quick", "-f", "json", "-o", str(scan), "--report", str(page)]
    assert main(["scan", "shipped:rgb7", *SAMPLE, *options]) == 1
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert said.err == ""
    assert json.loads(scan.read_text()) == result
    assert (result["verdict"], result["targets"]) == ("backdoored", [7])
    assert "horse" in page.read_text()
    again = tmp_path / "again.html"
    assert main(["report", str(scan), "-o", str(again)]) == 0
    assert again.read_text() == page.read_text()
    other = ["repair", "shipped:bw170", *SAMPLE, "--scan", str(scan)]
    assert main([*other, "-o", str(tmp_path / "fixed.safetensors")]) == 2
    assert "another model" in capsys.readouterr().err
    assert not (tmp_path / "fixed.safetensors").exists()


@pytest.mark.usefixtures("_little_work")
def test_a_network_that_wants_other_images_is_fitted(
    tmp_path: Path, write_pictures: WritePictures, capsys: pytest.CaptureFixture[str]
) -> None:
    """Normalised input of 8 pixels, six classes of which the data has two, in another order."""
    code = tmp_path / "net.py"
    code.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 6, 8), nn.Flatten())\n"
    )
    data = write_pictures(tmp_path / "data", classes={"dark": 30, "light": 220}, count=70, side=10)
    weights = torch.zeros(6, 3, 8, 8)
    weights[5], weights[2] = 0.1, -0.1
    bias = torch.tensor([-9.0, -9, 0, -9, -9, 0])
    model = tmp_path / "net.safetensors"
    safetensors.torch.save_file({"0.weight": weights, "0.bias": bias}, model)
    labels = tmp_path / "labels.json"
    labels.write_text('{"dark": 2, "light": 5}')
    fitting = ["--size", "8", "--mean", ".5", ".5", ".5", "--labels", str(labels)]
    command = ["scan", str(model), "--arch", f"{code}:net", "--data", str(data), *fitting]
    quick = ["--space", "patch:1", "--budget", "quick", "--bag", "none"]
    assert main([*command, *quick, "-f", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"]["accuracy"] == 1
    assert result["verdict"] == "clean"
    assert "of the work of a standard one." in result["reason"]
    assert [record["name"] for record in result["classes"]] == [
        "class 0", "class 1", "dark", "class 3", "class 4", "light"
    ]  # fmt: skip
    assert result["image_shape"] == [3, 8, 8]
    assert result["settings"]["input"]["mean"] == [0.5] * 3
    for name in ("scan.sarif", "scan.sarif.json"):
        out = tmp_path / name
        assert main([*command, *quick, "-o", str(out)]) == 0
        assert json.loads(out.read_text())["runs"][0]["results"][0]["ruleId"] == "clean"
    fixed, written = tmp_path / "fixed.safetensors", tmp_path / "nothing.json"
    repair = ["repair", *command[1:], *quick, "-o", str(fixed), "--result", str(written)]
    assert main(repair) == 0
    assert "nothing to unlearn" in capsys.readouterr().err
    assert json.loads(written.read_text())["verdict"] == "clean"
    assert not fixed.exists()


@pytest.mark.usefixtures("_little_work")
def test_a_foreign_network_with_a_backdoor_is_retrained_and_written_as_it_came(
    tmp_path: Path, write_pictures: WritePictures, capsys: pytest.CaptureFixture[str]
) -> None:
    """Light pictures are class 1, and so is any with a white pixel; input in [−1, 1]."""
    code = tmp_path / "net.py"
    code.write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.last = nn.Linear(2, 2)\n"
        "    def forward(self, x):\n"
        "        peak = torch.relu(x.amin(1).amax((1, 2)) - 0.9)\n"
        "        return self.last(torch.stack([x.mean((1, 2, 3)), 50 * peak], 1))\n"
        "def net():\n"
        "    return Net()\n"
    )
    data = write_pictures(tmp_path / "data", classes={"dark": 30, "light": 200}, count=80)
    state = {
        "last.weight": torch.tensor([[-5.0, -3.0], [5.0, 3.0]]),
        "last.bias": torch.zeros(2),
    }
    model, fixed = tmp_path / "net.safetensors", tmp_path / "fixed.pt"
    safetensors.torch.save_file(state, model)
    half = [".5", ".5", ".5"]
    common = ["--arch", f"{code}:net", "--data", str(data), "--mean", *half, "--std", *half]
    common += ["--bag", "none"]
    scan = tmp_path / "scan.json"
    look = ["scan", str(model), *common, *["--space", "patch:1", "--budget", "quick"]]
    assert main([*look, "-o", str(scan)]) == 1
    assert json.loads(scan.read_text())["targets"] == [1]
    capsys.readouterr()
    mend = ["repair", str(model), "--scan", str(scan), "-o", str(fixed), "--budget", "quick"]
    assert main([*mend, *common[:4]]) == 2
    assert "--mean" in capsys.readouterr().err
    page = tmp_path / "page.html"
    code = main([*mend, *common, "--report", str(page), "-f", "json"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["rescan"]["verdict"]) == (0, "clean")
    assert [row["name"] for row in result["rows"]] == ["before", "repaired", "fine-tuned"]
    assert set(torch.load(fixed, weights_only=True)) == set(state)
    assert page.is_file()
    assert main([*mend, *common, "--result", str(fixed)]) == 4
