"""The commands that the documentation shows for models of others, as it shows them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import WritePictures
from kills import SMALL
from unbackdoor import data
from unbackdoor.app.cli import main
from unbackdoor.metrics import attack_success
from unbackdoor.models import freeze, load
from unbackdoor.rng import stream
from unbackdoor.scanning.settings import BUDGETS
from unbackdoor.triggers.notation import parse_trigger

DOCS = Path(__file__).parents[1] / "docs" / "models.md"
COMMANDS = re.findall(r"^unbackdoor (scan .+)$", DOCS.read_text(), re.MULTILINE)
BRIGHTNESS = {"dark": 40, "dim": 90, "light": 150, "white": 210}
TARGET = list(BRIGHTNESS).index("dim")
NETWORK = """
import timm


def network():
    return timm.create_model("test_resnet", num_classes=4)
"""


@pytest.mark.filterwarnings("ignore")
def test_models_that_were_made_elsewhere_are_scanned(
    tmp_path: Path,
    write_pictures: WritePictures,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BUDGETS, "standard", replace(SMALL, evaluate=50))
    write_pictures(Path("pictures"), classes=BRIGHTNESS, count=150, side=16)
    arch = ["--arch", "timm:test_resnet", "--data", "pictures"]
    planted = ["--trigger", "bw:170", "--target", str(TARGET), "--rate", "0.3"]
    assert main(["attack", *arch, *planted, "--epochs", "80", "-o", "weights.pt"]) == 0
    Path("weights.pt").rename("weights.pth")
    network = load("weights.pth", "timm:test_resnet").module
    image, axes = torch.rand(1, 3, 16, 16), {"x": {0: "n"}}
    torch.onnx.export(
        network, (image,), "export.onnx", dynamo=False, input_names=["x"], dynamic_axes=axes
    )
    Path("network.py").write_text(NETWORK)
    capsys.readouterr()
    assert len(COMMANDS) == 3
    for command in COMMANDS:  # how far so small a network was trained, and is repaired, is chance
        code = main([*shlex.split(command), "-f", "json"])
        result = json.loads(capsys.readouterr().out)
        assert code in {1, 3}, command
        assert not result["targets"] or TARGET in result["targets"], command
    export = ["export.onnx", "--data", "pictures"]
    code = main(["repair", *export, "-o", "fixed.onnx", "-f", "json"])
    result = json.loads(capsys.readouterr().out)
    if result["kind"] == "scan":
        assert not Path("fixed.onnx").exists()
        return
    good = result["guard"]["outcome"] == "kept" and result["rescan"]["verdict"] == "clean"
    assert code in ({0, 3} if good else {3})
    if not Path("fixed.onnx").exists():  # no state was good enough
        assert result["guard"]["outcome"] in {"lost", "stuck"}
        return
    images, trigger = data.load("pictures").evaluate, parse_trigger("bw:170", (3, 16, 16))

    def asr(path: str) -> float:
        model, generator = freeze(load(path).module), stream(0, "places")
        one = (trigger.space, trigger.theta[None], TARGET)
        return attack_success(model, images, *one, generator=generator, rounds=1)

    assert asr("export.onnx") > 0.5
    assert asr("fixed.onnx") <= asr("export.onnx")
