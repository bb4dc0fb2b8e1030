"""Tables beside folders: where they say other classes, nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_user_files import everything, run, tar_of

from unbackdoor import data
from unbackdoor.errors import ContentError

COUNT = 8
PICTURES = np.random.default_rng(1).integers(0, 256, (COUNT, 5, 4, 3), dtype=np.uint8)
CLASSES = ["cat", "dog"]


def pieces(root: Path, *names: str) -> list[Path]:
    """Two folders of pictures, with each class in both; return their paths in the folder."""
    paths: list[Path] = []
    for at, pixels in enumerate(PICTURES):
        path = root / names[at // 2 % 2] / f"p{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        paths.append(path.relative_to(root))
    return paths


def table(path: Path, head: str, rows: list[tuple[str, str]]) -> Path:
    path.write_text("\n".join([head, *map(",".join, rows)]))
    return path


def labels() -> list[str]:
    return [CLASSES[at % 2] for at in range(COUNT)]


def named(error: pytest.ExceptionInfo[ContentError]) -> str:
    return str(error.value).split("--data ", 1)[1].split(";")[0]


@pytest.mark.parametrize("names", [("s_part_1", "s_part_2"), ("images_001", "images_002")])
@pytest.mark.parametrize("beside", ["s.csv", "s.jsonl"])
def test_numbered_pieces_beside_a_table_are_no_classes(
    names: tuple[str, str], beside: str, tmp_path: Path
) -> None:
    pieces(tmp_path, *names)
    (tmp_path / beside).write_text("image_id,dx\np0,nv")
    with pytest.raises(ContentError, match=rf"numbered pieces of one set \({names[0]}") as error:
        data.load(str(tmp_path))
    assert named(error) == str(tmp_path / beside)
    assert data.load(str(tmp_path), absent=True).defend.classes == names  # named in --labels
    (tmp_path / beside).unlink()
    assert everything(tmp_path).classes == names


@pytest.mark.parametrize("alone", [False, True])
def test_the_table_wins_by_its_name_where_it_contradicts_the_folders(
    alone: bool, tmp_path: Path
) -> None:
    paths = pieces(tmp_path, "east", "west")
    told = [path.name if alone else str(path) for path in paths]
    csv = table(tmp_path / "t.csv", "path,label", list(zip(told, labels(), strict=True)))
    with pytest.raises(
        ContentError, match=r"pictures of east several labels \(cat, dog\)"
    ) as error:
        everything(tmp_path)
    assert named(error) == str(csv)
    if alone:
        with pytest.raises(ContentError, match=r"8 of 8 pictures .* are names alone") as error:
            everything(csv)
        command = str(error.value).split("write whole paths with ")[1].rsplit(", and name ", 1)[0]
        run(command, tmp_path)
        csv = tmp_path / "t-paths.csv"
    images = everything(csv)
    assert images.classes == ("cat", "dog")
    assert images.targets.tolist() == [0, 1] * (COUNT // 2)


def test_folders_that_share_a_label_are_not_the_classes_of_the_table(tmp_path: Path) -> None:
    paths = pieces(tmp_path, "patient a", "patient b")
    table(tmp_path / "t.csv", "file,target", [(str(path), "ill") for path in paths])
    with pytest.raises(ContentError, match=r"patient a and of patient b one label \(ill\)"):
        everything(tmp_path)


@pytest.mark.parametrize(
    ("head", "said"),
    [("path,label", ["0", "1"]), ("path,label", CLASSES), ("size,mean", ["3", "4"])],
)
@pytest.mark.parametrize("names", [("cat", "dog"), ("set_1", "set_2")])
def test_a_table_that_agrees_or_says_nothing_is_passed_over(
    head: str, said: list[str], names: tuple[str, str], tmp_path: Path
) -> None:
    paths = pieces(tmp_path, *names)
    rows = [
        (path.as_posix().replace("/", "\\"), said[at // 2 % 2]) for at, path in enumerate(paths)
    ]
    table(tmp_path / "t.csv", head, rows)
    (tmp_path / "u.csv").write_bytes(b"\xff\xfe\xff")
    if head == "size,mean" and names[0] == "set_1":
        with pytest.raises(ContentError, match="numbered pieces"):
            everything(tmp_path)
        return
    images = everything(tmp_path)
    assert images.classes == names
    assert images.intake is not None
    assert images.intake.passed_over == {"beside the classes": 2}


def test_a_table_of_columns_for_each_class_is_compared_too(tmp_path: Path) -> None:
    paths = pieces(tmp_path, "east", "west")
    rows = [(str(path), f"{at % 2},{1 - at % 2}") for at, path in enumerate(paths)]
    table(tmp_path / "t.csv", "image,dog,cat", rows)
    with pytest.raises(ContentError, match=r"pictures of east several labels \(cat, dog\)"):
        everything(tmp_path)


def test_the_same_in_a_tar(tmp_path: Path) -> None:
    paths = pieces(tmp_path / "set", "east", "west")
    members = {f"set/{path}": (tmp_path / "set" / path).read_bytes() for path in paths}
    rows = list(zip(map(str, paths), labels(), strict=True))
    content = table(tmp_path / "t.csv", "path,label", rows).read_bytes()
    tar = tar_of(tmp_path / "s.tar", {"set/t.csv": content, **members})
    with pytest.raises(ContentError, match="several labels") as error:
        everything(tar)
    run(str(error.value).split("unpack it with ")[1].split(", and name the table")[0], tmp_path)
    assert everything(Path(named(error))).targets.tolist() == [0, 1] * (COUNT // 2)
    again = {
        name.replace("east", "part-1").replace("west", "part-2"): one
        for name, one in members.items()
    }
    lines = "\n".join(json.dumps({"id": at}) for at in range(COUNT)).encode()
    with pytest.raises(ContentError, match="numbered pieces of one set"):
        everything(tar_of(tmp_path / "s.tar", {"t.jsonl": lines, **again}))
    assert everything(tar_of(tmp_path / "s.tar", again)).classes == ("part-1", "part-2")
