"""Data sets in several files: a folder of them, or a pattern, is read as if it were one file."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_user_files import LABELS, PIXELS, everything, png, same, tar_of

from unbackdoor import data
from unbackdoor.data import Intake
from unbackdoor.errors import ArgumentError, ContentError

HOW_MANY = 3
CLASSES = ["ape", "bat", "cat"]
CUT = [list(range(at * 8, at * 8 + 8)) for at in range(HOW_MANY)]


def tars(folder: Path, name: str = "set-{:05}.tar") -> Path:
    """Shards in which samples have the same names again."""
    for at, rows in enumerate(CUT):
        members: dict[str, bytes] = {}
        for number, row in enumerate(rows):
            members[f"{number}.png"] = png(PIXELS[row])
            members[f"{number}.cls"] = b"%d" % LABELS[row]
        tar_of(folder / name.format(at), members)
    return folder


def parquets(folder: Path, part: str = "test") -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(exist_ok=True)
    for at, rows in enumerate(CUT):
        pictures = [{"bytes": png(PIXELS[row]), "path": None} for row in rows]
        table = arrow.table({"image": pictures, "label": LABELS[rows].tolist()})
        parquet.write_table(table, folder / f"{part}-{at:05}-of-{HOW_MANY:05}.parquet")
    return folder


def named(folder: Path, *orders: list[str] | None) -> Path:
    """Parquet files whose classes have names, each in an order of its own, or none."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for at, (rows, order) in enumerate(zip(CUT, orders, strict=True)):
        pictures = [{"bytes": png(PIXELS[row]), "path": None} for row in rows]
        labels = [(order or CLASSES).index(CLASSES[LABELS[row]]) for row in rows]
        table = arrow.table({"image": pictures, "label": labels})
        if order:
            stated = {"info": {"features": {"label": {"names": order, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(stated)})
        parquet.write_table(table, folder / f"set-{at}.parquet")
    return folder


@pytest.mark.parametrize("make", [tars, parquets])
def test_a_folder_of_parts_is_one_data_set(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "README.md").write_text("What it is.")
    (folder / ".lock").write_text("")
    images = everything(folder)
    assert same(images)
    assert images.intake == Intake(read=24, passed_over={".md": 1, "hidden": 1})
    assert images.name in {"set", "test"}


def test_a_folder_of_the_hub_has_them_in_another(tmp_path: Path) -> None:
    parquets(tmp_path / "data")
    (tmp_path / "README.md").write_text("What it is.")
    assert same(everything(tmp_path))


@pytest.mark.parametrize(
    "pattern", ["set-{00000..00002}.tar", "set-*.tar", "set-0000{0,1,2}.tar", "set-0000[012].tar"]
)
def test_a_pattern_names_its_files(pattern: str, tmp_path: Path) -> None:
    images = everything(tars(tmp_path) / pattern)
    assert same(images)
    assert images.name == "set"
    two = everything(tmp_path / "set-{00000..00001}.tar")
    assert two.intake == Intake(read=16)


def test_of_several_data_sets_one_is_proposed_that_is_read(tmp_path: Path) -> None:
    parquets(tmp_path, "train")
    parquets(tmp_path, "test")
    with pytest.raises(ContentError, match="several data sets") as error:
        data.load(str(tmp_path))
    named = str(error.value).rsplit("--data ", 1)[1].removesuffix(".").strip("'")
    assert same(everything(Path(named)))


def test_a_part_that_is_missing_is_said(tmp_path: Path) -> None:
    (parquets(tmp_path) / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(ContentError, match="has 2 of 3 parts") as error:
        data.load(str(tmp_path))
    named = str(error.value).rsplit("--data ", 1)[1].removesuffix(".").strip("'")
    assert everything(Path(named)).intake == Intake(read=16)


def test_labels_of_each_part_are_read_by_its_own_names(tmp_path: Path) -> None:
    images = everything(named(tmp_path, CLASSES, CLASSES[::-1], ["bat", "cat", "ape"]))
    assert same(images)
    assert images.classes == tuple(CLASSES)


@pytest.mark.parametrize(
    "other", [["ape", "bat", "cat", "dog"], ["ape", "bat", "cat", "cat"], None]
)
def test_parts_that_name_different_classes_are_refused(
    other: list[str] | None, tmp_path: Path
) -> None:
    with pytest.raises(ContentError, match=r"set-0\.parquet states 3 names of classes and .*set-1"):
        data.load(str(named(tmp_path, CLASSES, other, CLASSES)))


def test_one_hot_rows_in_parts_are_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for at, rows in enumerate(CUT):
        pictures = [{"bytes": png(PIXELS[row]), "path": None} for row in rows]
        labels = [[int(label == LABELS[row]) for label in range(3)] for row in rows]
        table = arrow.table({"image": pictures, "label": labels})
        parquet.write_table(table, tmp_path / f"set-{at}.parquet")
    assert same(everything(tmp_path))


def test_names_beside_numbers_are_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for at, labels in enumerate([[0, 1], ["ape", "bat"]]):
        pictures = [{"bytes": png(PIXELS[0]), "path": None}] * 2
        table = arrow.table({"image": pictures, "label": labels})
        parquet.write_table(table, tmp_path / f"set-{at}.parquet")
    with pytest.raises(ContentError, match="the labels are names, in others numbers"):
        data.load(str(tmp_path))


def with_fingerprints(folder: Path) -> list[Path]:
    """Names of parts as the hub gave them until 2023, each with a fingerprint of its own."""
    made: list[Path] = []
    for at, path in enumerate(sorted(parquets(folder).iterdir())):
        made.append(path.with_stem(f"{path.stem}-{0xB42A775F407CEE40 + at:016x}"))
        path.rename(made[-1])
    return made


def test_parts_with_a_fingerprint_are_one_data_set(tmp_path: Path) -> None:
    (*_, last) = with_fingerprints(tmp_path)
    images = everything(tmp_path)
    assert same(images)
    assert images.name == "test"
    (tmp_path / last.name.replace("cee4", "cee5")).write_bytes(last.read_bytes())
    with pytest.raises(ContentError, match="has one part 2 times"):
        data.load(str(tmp_path))
    for path in tmp_path.glob("test-00002-*"):
        path.unlink()
    with pytest.raises(ContentError, match="has 2 of 3 parts") as error:
        data.load(str(tmp_path))
    named = str(error.value).rsplit("--data ", 1)[1].removesuffix(".").strip("'")
    assert everything(Path(named)).intake == Intake(read=16)


def test_what_a_pattern_does_not_find_is_said(tmp_path: Path) -> None:
    tars(tmp_path)
    with pytest.raises(ContentError, match=r"not there: .*set-00003\.tar"):
        data.load(str(tmp_path / "set-{00000..00003}.tar"))
    with pytest.raises(ContentError, match="more than 256"):
        data.load(str(tmp_path / "set-{00000..99999}{0..99999999999999999999}.tar"))
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(ContentError, match="several kinds"):
        data.load(str(tmp_path / "*"))
    with pytest.raises(ArgumentError, match=r"of \.parquet or \.tar"):
        data.load(str(tmp_path / "*.npz"))
    with pytest.raises(ArgumentError, match="neither a data set"):
        data.load(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("name", "named"), [("set", "set"), ("my set's", "my set's"), ("set", ".."), ("set", ".")]
)
def test_a_part_that_is_a_link_out_of_the_folder_is_refused_with_what_copies_it(
    name: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / name, tmp_path / "elsewhere.tar"
    (folder / ".inner").mkdir(parents=True)
    tars(folder)
    (folder / "set-00001.tar").rename(elsewhere)
    (folder / "set-00001.tar").symlink_to(elsewhere)
    monkeypatch.chdir({"..": folder / ".inner", ".": folder}.get(named, tmp_path))
    with pytest.raises(ContentError, match="link out of its folder") as error:
        data.load(named)
    command, made = str(error.value).split("with ")[1].removesuffix(".").split(", and name ")
    subprocess.run(command, shell=True, check=True)
    assert same(everything(Path(shlex.split(made)[0])))


def test_a_tar_beside_class_folders_is_passed_over(tmp_path: Path) -> None:
    tars(tmp_path)
    for row, label in enumerate(LABELS):
        (tmp_path / f"c{label}").mkdir(exist_ok=True)
        (tmp_path / f"c{label}" / f"{row}.png").write_bytes(png(PIXELS[row]))
    images = everything(tmp_path)
    assert images.intake == Intake(read=24, passed_over={"beside the classes": 3})


def test_labels_in_json_beside_the_pictures(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for row, label in enumerate(LABELS):
        members[f"{row:02}.png"] = png(PIXELS[row])
        members[f"{row:02}.json"] = json.dumps({"key": row, "label": int(label)}).encode()
    assert same(everything(tar_of(tmp_path / "a.tar", members)))
    del members["03.json"]
    with pytest.raises(ContentError, match=r"have no label: 03\.png"):
        data.load(str(tar_of(tmp_path / "b.tar", members)))
    bare = {name: content for name, content in members.items() if name.endswith("png")}
    with pytest.raises(ContentError, match=r"24 of 24 pictures in .* have no label"):
        data.load(str(tar_of(tmp_path / "c.tar", bare)))


@pytest.mark.parametrize("name", ["@eaDir/0.png", "__MACOSX/1/0.png", "1/.0.png", ".git/0.png"])
def test_what_is_hidden_in_a_folder_is_hidden_in_a_tar(name: str, tmp_path: Path) -> None:
    members = {f"{label}/{row}.png": png(PIXELS[row]) for row, label in enumerate(LABELS)}
    for shown, content in members.items():
        (tmp_path / "set" / shown).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / shown).write_bytes(content)
    (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "set" / name).write_bytes(png(PIXELS[0]))
    packed = everything(tar_of(tmp_path / "a.tar", {**members, name: png(PIXELS[0])}))
    assert packed.intake == everything(tmp_path / "set").intake
    assert packed.intake == Intake(read=24, passed_over={"hidden": 1})
    assert torch.equal(packed.labels.bincount(), torch.tensor([8, 8, 8]))
