"""CIFAR as it is published: what the sentence says brings it in, when it is typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from test_fetch import packed, unpacked

from cifar_layouts import PER_FILE, WRITERS, Files
from unbackdoor import data
from unbackdoor.app.cli import main
from unbackdoor.errors import ContentError

ARCHIVES = {"cifar-10-batches-py": "python", "cifar-10-batches-bin": "binary"}


def said_of(path: Path) -> str:
    with pytest.raises(ContentError) as error:
        data.load(str(path))
    return str(error.value)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("what", ["folder", "around it", "batch", "archive"])
def test_the_command_brings_it_in(
    layout: str, what: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path / "store"))
    if what == "archive":
        if layout not in ARCHIVES:
            pytest.skip("a package of npm")
        name = f"cifar-10-{ARCHIVES[layout]}.tar.gz"
        path = packed(tmp_path / "my data", layout, files, name=name)
    else:
        path = unpacked(tmp_path / "my data", layout, files)
        path = path.parent if what == "around it" else path
        path = next(path.glob("data_batch_1*")) if what == "batch" else path
    command, name = (
        said_of(path).split("bring it in with ")[1].removesuffix(".").split(", and name ")
    )
    assert main(shlex.split(command)[1:]) == 0
    assert len(data.load_training(name).evaluate) == PER_FILE


def test_a_batch_alone_leads_to_the_whole(files: Files, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "cifar-10-batches-py", files)
    for name in ("data_batch_2", "test_batch"):
        (folder / name).unlink()
        said = said_of(folder / "data_batch_1")
        assert f"{name} is not there; fetch the whole with unbackdoor data get cifar10" in said


@pytest.mark.parametrize("end", ["", ".bin"])
def test_cifar100_is_known_too(end: str, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}{end}").write_bytes(b"")
    for path in (folder, folder / f"test{end}", tmp_path):
        assert "unbackdoor data get cifar100 --from" in said_of(path)


def test_other_files_of_these_names_are_none(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.txt").write_text("")
    (tmp_path / "train").mkdir()
    assert "data get" not in said_of(tmp_path)
