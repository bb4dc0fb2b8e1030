"""Which models lie in a folder, and which names mean none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unbackdoor.app.discovery import find_models, models_in, weights_of
from unbackdoor.errors import ArgumentError, ContentError


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
    assert weights_of(inside)
    assert weights_of(tmp_path) is None
    assert models_in(tmp_path) == [str(inside)]
    assert find_models([f"{inside}/"]) == ([str(inside)], False)
    (inside / "pytorch_model.bin").write_bytes(b"")  # other weights: loading the folder compares
    assert models_in(tmp_path) == [str(inside)]


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
    assert weights_of(tmp_path) is None


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


def test_a_name_that_is_no_model_is_refused_beside_others(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"")
    assert find_models([str(tmp_path / "a.pt")] * 2) == ([str(tmp_path / "a.pt")], True)
    assert find_models([str(tmp_path)]) == ([str(tmp_path / "a.pt")], True)
    with pytest.raises(ArgumentError, match=r"MODEL: there is no file or folder .*none\.pt"):
        find_models([str(tmp_path), str(tmp_path / "none.pt")])
    with pytest.raises(ArgumentError, match="no shipped model"):
        find_models(["shipped:none"])
