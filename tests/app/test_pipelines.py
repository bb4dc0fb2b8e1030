"""Scans as a pipeline runs them: several models, codes, formats and silence, on tiny networks."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from kills import SMALL, prepare
from unbackdoor import models, results
from unbackdoor.app.cli import main
from unbackdoor.scanning import settings

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
SCHEMAS = {
    command: ROOT / "docs" / "schema" / f"{command}.schema.json" for command in ("scan", "repair")
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a backdoored, a clean and a broken model, a text, and images beside it."""
    folder = tmp_path_factory.mktemp("gate")
    prepare(folder)
    models = folder / "models"
    models.mkdir()
    shutil.copy(folder / "net.safetensors", models / "backdoored.safetensors")
    state = load_file(folder / "net.safetensors")
    state["last.weight"][:, 1] = 0
    save_file(state, models / "clean.safetensors")
    (models / "broken.safetensors").write_bytes(b"\xff" * 100)
    (models / "README.md").write_text("models")
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setitem(settings.BUDGETS, "quick", SMALL)
    monkeypatch.chdir(place)
    common = ["--arch", "net.py:net", "--data", "data", "--space", "patch:1", "--budget", "quick"]
    common += ["--bag", "none"]

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["scan", *arguments, *common, "--threads", "1"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def checked(text: str, command: str = "scan") -> Any:
    """Read what a command wrote, and hold it to the published schema."""
    content = json.loads(text)
    jsonschema.validate(content, json.loads(SCHEMAS[command].read_text()))
    return content


def test_a_folder_has_a_result_for_each_model_and_the_worst_decides(run: Run, place: Path) -> None:
    code, out, err = run("models", "-f", "json", "-o", "all.sarif")
    assert (code, err) == (1, "")
    entries = checked(out)
    assert [entry["model"]["path"] for entry in entries] == [
        f"models/{name}.safetensors" for name in ("backdoored", "broken", "clean")
    ]
    assert [entry.get("verdict") for entry in entries] == ["backdoored", None, "clean"]
    assert "not a safetensors file" in entries[1]["error"]
    assert entries[1]["exit_code"] == 2
    assert len(entries[1]["model"]["sha256"]) == 64
    found = json.loads((place / "all.sarif").read_text())["runs"][0]["results"]
    assert [one["ruleId"] for one in found] == ["backdoored", "unscanned", "clean"]


def test_a_broken_and_a_clean_model_are_not_clean(run: Run) -> None:
    code, out, _ = run("models/clean.safetensors", "models/broken.safetensors")
    assert code == 2
    assert "Clean: no backdoor found" in out
    assert "Not scanned" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["models/broken.safetensors", "×", "not", "scanned"] in lines
    assert ["models/clean.safetensors", "○", "clean"] in lines


def test_one_model_is_an_object_and_a_page_shows_it(run: Run, place: Path) -> None:
    code, out, _ = run("models/clean.safetensors", "-f", "json", "--report", "page.html")
    assert code == 0
    found = checked(out)
    assert found["verdict"] == "clean"
    pictures = sum(1 for path in (place / "data").rglob("*.png"))
    assert found["data"]["intake"]["read"] == pictures
    page = (place / "page.html").read_text()
    assert "clean.safetensors" in page
    assert f"read {pictures}, passed over none, turned none" in page


def test_a_class_without_pictures_is_refused_until_its_index_is_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --labels it is the scan that needs pictures of two classes, with its own exit code."""
    shutil.copytree(place / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "light")
    (tmp_path / "data" / "light").mkdir()
    (tmp_path / "labels.json").write_text(json.dumps({"dark": 0, "light": 1}))
    model = [str(place / "models" / "clean.safetensors"), "--arch", f"{place / 'net.py'}:net"]
    command = ["scan", *model, "--data", str(tmp_path / "data")]
    assert main(command) == 2
    assert "no picture that is read: light (empty)" in capsys.readouterr().err
    assert main([*command, "--labels", str(tmp_path / "labels.json")]) == 3
    assert "two classes" in capsys.readouterr().err


def test_a_model_that_guesses_is_not_searched_and_inconclusive(run: Run, place: Path) -> None:
    """It takes everything for dark."""
    state = load_file(place / "models" / "clean.safetensors")
    state["last.bias"][0] += 1000
    save_file(state, place / "guesses.safetensors")
    code, out, err = run("guesses.safetensors", "-f", "json", "--report", "guesses.html")
    assert code == 3
    assert err.count("\n") == 1
    assert "no better than guessing" in err
    result = checked(out)
    assert (result["verdict"], result["targets"]) == ("inconclusive", [])
    assert "not searched" in result["reason"]
    assert result["searched"] == "nothing, because the model guesses"
    assert result["image_passes_backward"] == 0
    assert {record["status"] for record in result["classes"]} == {"suspicious"}
    assert "not searched" in (place / "guesses.html").read_text()
    fixed = ["repair", "guesses.safetensors", "--arch", "net.py:net", "--data", "data"]
    fixed += ["--space", "patch:1", "--bag", "none"]
    command = [*fixed, "--budget", "quick", "-o", "fixed.pt"]
    assert main([*command, "--threads", "1"]) == 3
    assert not (place / "fixed.pt").exists()


@pytest.mark.parametrize("space", ["patch:3@6,0", "patch:9", "wave:16@0,0"])
def test_a_space_that_pictures_of_this_size_do_not_have_is_an_argument(
    place: Path, space: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    command = ["scan", "models/clean.safetensors", "--arch", "net.py:net", "--data", "data"]
    assert main([*command, "--space", space, "--budget", "quick"]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("unbackdoor: --space: ")
    assert space.partition("@")[0].partition(":")[2] in said.err


def test_one_model_that_cannot_be_scanned_leaves_no_older_verdict(run: Run, place: Path) -> None:
    for name in ("gate.sarif", "gate.json"):
        (place / name).write_text("of yesterday")
    page = ("--report", "gate.html")
    code, out, err = run("models/broken.safetensors", "-f", "json", "-o", "gate.sarif", *page)
    assert (code, err.count("\n")) == (2, 1)
    assert checked(out)["kind"] == "unscanned"
    assert "not a safetensors file" in checked(out)["error"]
    (found,) = json.loads((place / "gate.sarif").read_text())["runs"][0]["results"]
    assert found["ruleId"] == "unscanned"
    assert "Not scanned" in (place / "gate.html").read_text()
    code, out, _ = run("models/broken.safetensors", "-o", "gate.json")
    assert (code, out) == (2, "")
    assert checked((place / "gate.json").read_text())["exit_code"] == 2
    assert main(["report", str(place / "gate.json"), "-o", str(place / "again.html")]) == 0
    assert run("models/none.safetensors", "-o", "gate.json")[0] == 4


def test_a_model_that_is_named_twice_is_scanned_once(run: Run) -> None:
    code, out, err = run(*2 * ["models/clean.safetensors"], "-f", "json")
    assert (code, err) == (0, "")
    assert [entry["verdict"] for entry in checked(out)] == ["clean"]


def test_several_models_have_a_folder_of_pages(run: Run, place: Path) -> None:
    assert run("models", "--report", "pages", "-f", "json", "-o", "all.json")[0] == 1
    names = ["0001.html", "0002.html", "0003.html", "index.html"]
    assert sorted(path.name for path in (place / "pages").iterdir()) == names
    index = (place / "pages" / "index.html").read_text()
    assert "1 backdoored, 1 not scanned, 1 clean" in index.replace("\N{NO-BREAK SPACE}", " ")
    assert "Not scanned" in (place / "pages" / "0002.html").read_text()
    assert main(["report", str(place / "all.json"), "-o", str(place / "again")]) == 0
    assert (place / "again" / "index.html").read_text() == index
    assert main(["report", str(place / "all.json"), "-o", str(place / "again.html")]) == 4


def test_silence(run: Run, place: Path) -> None:
    (place / "scan.json").unlink(missing_ok=True)
    assert run("models/clean.safetensors", "--quiet", "-o", "scan.json") == (0, "", "")
    assert checked((place / "scan.json").read_text())["verdict"] == "clean"
    code, out, err = run("models/clean.safetensors", "--quiet", "-f", "json", "--no-progress")
    assert (code, err) == (0, "")
    assert checked(out)["verdict"] == "clean"
    code, out, err = run("models/broken.safetensors", "--quiet")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 4),
        (["models", "--report", "page.html"], 4),
        (["models", "--fail-on", "clean"], 4),
        (["data"], 2),
    ],
)
def test_what_cannot_be_asked(run: Run, arguments: list[str], code: int) -> None:
    came, out, err = run(*arguments)
    assert (came, out) == (code, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_published_schema_is_that_of_the_code(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publish it anew: unbackdoor schema scan > docs/schema/scan.schema.json."""
    assert main(["schema", command]) == 0
    assert SCHEMAS[command].read_text() == capsys.readouterr().out
    jsonschema.Draft202012Validator.check_schema(results.schema(command))


def test_a_repair_keeps_to_its_schema(
    run: Run, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--arch", "net.py:net", "--data", "data", "--space", "patch:1", "--budget", "quick"]
    common += ["--bag", "none"]
    for name, kind in {"backdoored": "repair", "clean": "scan"}.items():
        command = ["repair", f"models/{name}.safetensors", *common, "-o", f"{name}-fixed.pt"]
        assert main([*command, "-f", "json", "--threads", "1"]) == 0
        assert checked(capsys.readouterr().out, "repair")["kind"] == kind
        assert (place / f"{name}-fixed.pt").exists() == (kind == "repair")


KNOWN = {
    "trigger": ["--trigger", "white:1", "--target", "1"],
    "target": ["--target", "1"],
    "blind": ["--blind"],
}


@pytest.mark.parametrize("basis", KNOWN)
def test_a_repair_of_what_a_user_knows_says_what_it_assumed(
    run: Run, place: Path, capsys: pytest.CaptureFixture[str], basis: str
) -> None:
    """Also of a model in which a scan finds nothing."""
    assert run("models/clean.safetensors", "-o", "clean.json")[0] == 0
    common = ["--arch", "net.py:net", "--data", "data", "--budget", "quick", "--threads", "1"]
    out, page = f"{basis}.pt", f"{basis}.html"
    command = ["repair", "models/clean.safetensors", *common, "--scan", "clean.json", "-o", out]
    code = main([*command, *KNOWN[basis], "--report", page, "-f", "json"])
    result = checked(capsys.readouterr().out, "repair")
    assert result["kind"] == "repair"
    assert result["assumed"]["basis"] == basis
    assert result["assumed"]["sentence"] in html.unescape((place / page).read_text())
    assert (result["rows"][0]["recovered_asr"] is None) == (basis == "blind")
    kept = result["guard"]["outcome"] in {"kept", "unsure"}
    assert (place / out).exists() == kept
    good = result["guard"]["outcome"] == "kept" and result["rescan"]["verdict"] == "clean"
    assert code in ({0, 3} if good else {3})  # 3 also where triggers still work


STUBBORN = """
import torch
from torch import nn


class Net(nn.Module):  # any picture with a light pixel is class 1, whatever the weights are
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 2)

    def forward(self, x):
        peak = torch.relu(x.amin(1).amax((1, 2)) - 0.5)
        seen = self.last(20 * (x.mean((1, 2, 3))[:, None] - 0.45))
        return seen + 400 * torch.stack([-peak, peak], 1)


def net():
    return Net()
"""


@pytest.mark.usefixtures("run")
def test_where_no_repair_will_do_nothing_is_written_and_the_code_is_3(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "stubborn.py").write_text(STUBBORN)
    state = {"last.weight": torch.tensor([[-1.0], [1.0]]), "last.bias": torch.zeros(2)}
    save_file(state, place / "stubborn.safetensors")
    common = ["--arch", "stubborn.py:net", "--data", "data", "--space", "patch:1"]
    common += ["--bag", "none"]
    command = ["repair", "stubborn.safetensors", *common, "--budget", "quick", "--threads", "1"]
    assert main([*command, "-o", "never.pt", "--report", "never.html", "-f", "json"]) == 3
    said = capsys.readouterr()
    result = checked(said.out, "repair")
    assert (result["guard"]["outcome"], result["rescan"], result["output"]) == ("stuck", None, "")
    assert [row["name"] for row in result["rows"]] == ["before"]
    assert "never.pt is not written" in said.err
    assert "older" not in said.err
    assert not (place / "never.pt").exists()
    (place / "never.pt").write_text("of yesterday")
    assert main([*command, "-o", "never.pt"]) == 3
    assert "never.pt is not written, and the file of that name is an older one." in (
        capsys.readouterr().err
    )
    assert "Not repaired" in (place / "never.html").read_text()


def test_an_internal_error_for_one_model_loses_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = models.load

    def broken(name: str, arch: str | None) -> models.Loaded:
        if "clean" in name:
            raise KeyError("what nobody thought of")
        return load(name, arch)

    monkeypatch.setattr(models, "load", broken)
    code, out, _ = run("models/clean.safetensors", "models/backdoored.safetensors", "-f", "json")
    unscanned, backdoored = checked(out)
    assert (code, unscanned["exit_code"], backdoored["verdict"]) == (1, 2, "backdoored")
    assert "internal error (KeyError" in unscanned["error"]


def test_the_schema_notices(run: Run) -> None:
    _, out, _ = run("models/clean.safetensors", "-f", "json")
    entry = json.loads(out)
    for change in ({"verdict": "fine"}, {"targets": "none"}, {"classes": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            checked(json.dumps(entry | change))


def test_the_hook_scans_what_is_committed(run: Run) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command, *options = hook["entry"].split()
    assert (program, command) == ("unbackdoor", "scan")
    files = ["models/clean.safetensors", "models/backdoored.safetensors", "models/README.md"]
    named = [name for name in files if re.search(hook["files"], name)]
    assert named == files[:2]
    code, out, _ = run(*options, *named)
    assert code == 1
    assert "Backdoored" in out


def test_the_workflow_asks_for_what_there_is(run: Run, place: Path) -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "gate.yml").read_text())
    (command,) = (
        step["run"]
        for step in workflow["jobs"]["scan"]["steps"]
        if step.get("run", "").startswith("unbackdoor")
    )
    values = {"MODELS": "models", "DATA": "data", "FAIL_ON": "inconclusive"}
    words = [values.get(word.strip('"$'), word) for word in command.split()]
    assert words[:2] == ["unbackdoor", "scan"]
    assert run(*words[2:])[0] == 1
    assert (place / "scan.sarif").is_file()
