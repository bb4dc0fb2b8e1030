"""Folders that are no classes, or need not be, are told from those that are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_user_files import everything, run, tar_of

from unbackdoor import data
from unbackdoor.data import Intake
from unbackdoor.errors import ContentError


def pictures(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(values).save(root / name)
    return root


def each(*folders: str, count: int = 2) -> list[str]:
    return [f"{folder}/{at}.png" for folder in folders for at in range(count)]


def packed(folder: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in files}
    return tar_of(folder.parent / "the set.tar", members)


def named(error: pytest.ExceptionInfo[ContentError]) -> str:
    return shlex.split(re.split(r"--data (?=[^:])", str(error.value))[1].split(";")[0].rstrip("."))[
        0
    ]


@pytest.mark.parametrize("outer", [("fold1", "fold2"), ("32", "64"), ("augmented", "original")])
def test_folders_with_the_same_folders_in_them_need_not_be_classes(
    outer: tuple[str, str], tmp_path: Path
) -> None:
    inner = each(*(f"{one}/{name}" for one in outer for name in ("cat", "dog")))
    folder = pictures(tmp_path / "set", *inner, f"{outer[0]}/eel/0.png")
    with pytest.raises(ContentError, match=r"the same folders in them \(cat, dog\)") as error:
        data.load(str(folder))
    assert everything(Path(named(error))).classes == ("cat", "dog", "eel")
    assert data.load(str(folder), absent=True).defend.classes == outer  # named in --labels
    tar = packed(folder)
    with pytest.raises(ContentError, match=r"the same folders in them \(cat, dog\)") as error:
        data.load(str(tar))
    run(str(error.value).split("unpack it with ")[1].split("; where")[0], tmp_path)
    assert everything(Path(named(error))).classes == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    "names",
    [
        each("cat/train", "cat/test", "dog/train", "dog/test"),
        each("cat/day1", "cat/day2", "dog/day2", "dog/day3"),
        each("cat/left", "dog/left"),
        [*each("cat/a", "cat/b", "dog/a", "dog/b"), "cat/0.png"],
    ],
)
def test_other_folders_in_classes_are_read(names: list[str], tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", *names)
    for spec in (folder, packed(folder)):
        images = everything(spec)
        assert images.classes == ("cat", "dog")
        assert len(images) == len(names)


def test_masks_beside_the_pictures_of_a_class_are_passed_over(tmp_path: Path) -> None:
    names = each(*(f"{name}/{one}" for name in ("ill", "well") for one in ("images", "Masks")))
    folder = pictures(tmp_path / "set", *names)
    for spec in (folder, packed(folder)):
        assert everything(spec).intake == Intake(read=4, passed_over={"masks": 4})
    pictures(tmp_path / "other", *each("ill/masks", "well/masks"))
    assert len(everything(tmp_path / "other")) == 4  # there is nothing else in them


def test_of_parts_the_one_with_classes_or_its_table_is_proposed(tmp_path: Path) -> None:
    """As the German traffic signs are published: the test set is a folder with a table."""
    folder = pictures(tmp_path / "signs", *each("Train/0", "Train/1", "Test", count=4))
    for name, head in (("Meta", "Path,Shape"), ("Test", "Path,ClassId"), ("Train", "Path,ClassId")):
        rows = [f"{name}/{at}.png,{at % 2}" for at in range(4)]
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]))
    with pytest.raises(ContentError, match=r"parts of a data set .* with a table beside") as error:
        data.load(str(folder))
    assert Path(named(error)).name == "Test.csv"
    assert everything(Path(named(error))).labels.tolist() == [0, 1, 0, 1]
    (folder / "Test.csv").unlink()
    with pytest.raises(ContentError, match="some with a folder per class; name one part") as error:
        data.load(str(folder))
    assert everything(Path(named(error))).classes == ("0", "1")


def test_annotations_are_no_part_with_classes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pets", *each("images", "annotations/trimaps"))
    with pytest.raises(
        ContentError, match=r"parts of a data set .* no folder in them says a class"
    ):
        data.load(str(folder))


def test_folders_around_the_classes_and_tables_in_them_are_named(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", *each("data/data/cat", "data/data/dog"))
    with pytest.raises(ContentError, match="has one folder, data, which has others in it") as error:
        data.load(str(folder))
    assert everything(Path(named(error))).classes == ("cat", "dog")
    other = pictures(tmp_path / "hub", *each("train", count=4))
    (other / "train" / "metadata.csv").write_text(
        "\n".join(["file_name,label", *(f"{at}.png,{at % 2}" for at in range(4))])
    )
    with pytest.raises(ContentError, match="one folder, train, and a table in it") as error:
        data.load(str(other))
    assert everything(Path(named(error))).labels.tolist() == [0, 1, 0, 1]
