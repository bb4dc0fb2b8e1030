"""Files that a data set is read from are known, so that no result is written over them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_user_files import tar_of

from unbackdoor.app.cli import main
from unbackdoor.data.reach import reads

FILES = (
    *("set/cat/0.png", "set/dog/notes", "set/.git/x", "hub/data/0.parquet", "shards/a-0.tar"),
    *("x.npy", "y.npy", "a.npz", "im/1.dat", "p-0.parquet"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"mine")
    Path("t.csv").write_text("path,label\nim/1.dat,3\n")
    Path("wide.tsv").write_text("path\tlabel\nim\\1.dat\t3\n", encoding="utf-16")
    Path("link").symlink_to("set")
    tar_of(Path("a-0.tar"), {})
    return tmp_path


HARMED = [
    *[("set", name) for name in ("set/cat/0.png", "set/dog/notes", "set/cat/scan.json")],
    *[("set", name) for name in ("link/cat/0.png", "set/0.png", "set/set.tar")],
    *[("link", "set/cat/0.png"), (".", "set/scan.json"), ("hub", "hub/data/scan.json")],
    *[("shards", "shards/a-0.tar"), ("shards", "shards/a-1.tar")],
    *[("x.npy", "y.npy"), ("a.npz", "a.npz"), ("p-0.parquet", "p-1.parquet")],
    *[("a-{0..1}.tar", "a-0.tar"), ("a-*.tar", "a-9.tar")],
    *[("t.csv", "im/1.dat"), ("wide.tsv", "im/1.dat"), ("t.csv", "t.csv")],
]
HARMLESS = [
    *[("set", name) for name in ("set/scan.json", "set/page.html", "scan.json", "set/.git/x")],
    *[("x.npy", "scan.json"), ("a-*.tar", "scan.json"), ("t.csv", "im/scan.json")],
    *[
        ("cifar10-sample", "0.png"),
        ("none", "scan.json"),
        ("", "set/x"),
        ("{0..9}{0..9}{0..9}", "scan.json"),
    ],
]


@pytest.mark.parametrize(("spec", "path"), HARMED)
def test_a_file_of_the_data_is_known_as_one(spec: str, path: str) -> None:
    assert reads(spec, Path(path))


@pytest.mark.parametrize(("spec", "path"), HARMLESS)
def test_another_file_is_none(spec: str, path: str) -> None:
    assert not reads(spec, Path(path))


def test_the_store_is_data_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBACKDOOR_DATA", str(folder / "store"))
    assert reads("cifar10", Path("store/cifar10/test_batch"))
    assert not reads("cifar10", Path("scan.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "shipped:clean", "-o", "set/cat/0.png"],
        ["scan", "shipped:clean", "--report", "set/cat/0.png"],
        ["scan", "shipped:clean", "shipped:bw170", "--report", "set/pages"],
        ["repair", "shipped:clean", "-o", "fixed.pt", "--result", "set/cat/0.png"],
        ["attack", "--arch", "resnet20", "-o", "set/cat/net.pt"],
    ],
)
def test_no_command_writes_over_the_data(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--data", "set"]) == 4
    said = capsys.readouterr().err
    assert "is among the files that --data set is read from" in said
    assert said.count("\n") == 1
    assert Path("set/cat/0.png").read_bytes() == b"mine"
