"""Several models at once: which are looked at, and the one exit code for all of them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from report import synthetic
from unbackdoor.app.gate import FailOn, exit_code, is_model, models_in
from unbackdoor.errors import ContentError
from unbackdoor.results import FileRecord, Scanned, Unscanned, Verdict


def unscanned(code: int) -> Unscanned:
    return Unscanned(model=FileRecord(path="x.pt", sha256=""), error="no", exit_code=code)


OUTCOMES: dict[str, Scanned] = {
    "clean": synthetic.scan("clean"),
    "backdoored": synthetic.scan(),
    "inconclusive": synthetic.scan("inconclusive"),
    "unusable": unscanned(2),
    "no such name": unscanned(4),
    "few images": unscanned(3),
}


@pytest.mark.parametrize(
    ("names", "fail_on", "code"),
    [
        (["clean"], None, 0),
        (["clean", "inconclusive"], None, 3),
        (["inconclusive", "unusable"], None, 2),
        (["clean", "no such name"], None, 2),
        (["clean", "few images"], None, 3),
        (["unusable", "clean", "backdoored"], None, 1),
        (["inconclusive"], "backdoored", 0),
        (["inconclusive"], "inconclusive", 3),
        (["backdoored"], "backdoored", 1),
        (["backdoored"], "inconclusive", 1),
        (["inconclusive", "unusable"], "backdoored", 2),
        (["few images"], "backdoored", 3),
    ],
)
def test_the_worst_decides(names: list[str], fail_on: FailOn | None, code: int) -> None:
    assert exit_code([OUTCOMES[name] for name in names], fail_on) == code
    assert exit_code([OUTCOMES[name] for name in reversed(names)], fail_on) == code


@pytest.mark.parametrize(
    ("after", "left", "code"),
    [("clean", 0.01, 0), ("clean", 0.5, 3), ("backdoored", 0.9, 3), ("inconclusive", 0.01, 3)],
)
def test_a_repair_is_done_where_nothing_is_left(after: Verdict, left: float, code: int) -> None:
    result = synthetic.repair(after)
    rows = [
        msgspec.structs.replace(row, recovered_asr=left) if row.name == "repaired" else row
        for row in result.rows
    ]
    assert exit_code([msgspec.structs.replace(result, rows=rows)]) == code


def test_what_might_be_a_model_is_listed_and_what_lies_beside_is_not(tmp_path: Path) -> None:
    for name in (
        "a.safetensors", "b.PT", "deep/c.onnx", "deep/weights", "strange.xyz",
        "README.md", "LICENSE", "deep/config.yaml", ".hidden.pt", ".git/objects/1234",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "deep")
    assert models_in(tmp_path) == [
        str(tmp_path / name)
        for name in (
            "a.safetensors", "b.PT", "deep/c.onnx", "deep/weights", "elsewhere", "strange.xyz"
        )
    ]  # fmt: skip


def test_a_folder_with_a_configuration_is_one_model(tmp_path: Path) -> None:
    inside = tmp_path / "resnet"
    inside.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (inside / name).write_bytes(b"")
    assert is_model(inside)
    assert not is_model(tmp_path)
    assert models_in(tmp_path) == [str(inside)]
    (inside / "pytorch_model.bin").write_bytes(b"")
    assert models_in(tmp_path) == [str(inside), str(inside / "pytorch_model.bin")]


def test_the_tensors_beside_a_graph_belong_to_it(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.onnx.data", "b.onnx", "b.onnx_data", "c.onnx.data", "look.bmp"):
        (tmp_path / name).write_bytes(b"")
    assert models_in(tmp_path) == [
        str(tmp_path / name) for name in ("a.onnx", "b.onnx", "c.onnx.data")
    ]


def test_a_configuration_hides_no_model(tmp_path: Path) -> None:
    names = ["config.json", "model.safetensors", "other.safetensors", "deep/b.safetensors"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert models_in(tmp_path) == [
        str(tmp_path),
        *sorted(str(tmp_path / name) for name in names[2:]),
    ]
    (tmp_path / "model.safetensors").unlink()
    assert not is_model(tmp_path)


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root may look into any, that the system refuses is made up here."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.pt").write_bytes(b"")
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert models_in(tmp_path) == [str(tmp_path / "a.pt"), str(tmp_path / "closed")]


def test_a_folder_without_a_model_is_no_clean_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ContentError, match="no file"):
        models_in(tmp_path)


def test_an_entry_survives_its_file() -> None:
    entry = unscanned(2)
    assert msgspec.json.decode(msgspec.json.encode(entry), type=Scanned) == entry
