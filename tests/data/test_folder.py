from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbackdoor.data import folder
from unbackdoor.errors import ContentError

COLOURS = {"cat": (255, 0, 0), "ape": (0, 255, 10)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (6, 4), colour).save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_a_folder_per_class_in_alphabetical_order(pictures: Path) -> None:
    images = folder.read(pictures)
    assert images.classes == ("ape", "cat")
    assert images.name == pictures.name
    assert images.shape == (3, 4, 6)
    assert images.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.pixels[0, :, 0, 0].tolist() == [0, 255, 10]
    assert images.pixels[5, :, 3, 5].tolist() == [255, 0, 0]


def test_grey_transparent_and_palette_pictures_become_rgb(pictures: Path) -> None:
    Image.new("L", (6, 4), 7).save(pictures / "cat" / "0.png")
    Image.new("RGBA", (6, 4), (1, 2, 3, 255)).save(pictures / "cat" / "1.png")
    Image.new("RGB", (6, 4), (9, 8, 7)).quantize(2).save(pictures / "cat" / "2.png")
    images = folder.read(pictures)
    assert images.pixels[3:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3], [9, 8, 7]]


def ignored_file(folder: Path) -> None:
    (folder / "cat" / "notes.txt").write_text("no picture")


def ignored_loose(folder: Path) -> None:
    (folder / "readme.png").write_text("beside the classes")


def ignored_hidden(folder: Path) -> None:
    (folder / ".trash").mkdir()
    (folder / "cat" / "._0.png").write_text("left by another system")


@pytest.mark.parametrize("add", [ignored_file, ignored_loose, ignored_hidden])
def test_what_is_no_picture_of_a_class_is_passed_over(
    pictures: Path, add: Callable[[Path], None]
) -> None:
    before = folder.read(pictures).sha256
    add(pictures)
    after = folder.read(pictures)
    assert after.sha256 == before
    assert after.classes == ("ape", "cat")


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ContentError, match="folder per class"):
        folder.read(tmp_path)


def test_pictures_of_several_sizes_are_refused_with_the_sizes(pictures: Path) -> None:
    Image.new("RGB", (8, 8)).save(pictures / "cat" / "9.png")
    with pytest.raises(ContentError, match="6×4 to 8×8"):
        folder.read(pictures)


def test_a_corrupt_picture_is_named(pictures: Path) -> None:
    bad = pictures / "ape" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(bad)
    whole = bad.read_bytes()
    for damaged in (b"", b"not a picture", whole[: len(whole) // 2], whole[:20] + whole[30:]):
        bad.write_bytes(damaged)
        with pytest.raises(ContentError, match=r"ape/1\.png"):
            folder.read(pictures)


def test_pictures_of_several_sizes_become_squares_of_one(pictures: Path) -> None:
    Image.new("RGB", (3, 9), (1, 2, 3)).save(pictures / "ape" / "0.png")
    with pytest.raises(ContentError, match="--size"):
        folder.read(pictures)
    images = folder.read(pictures, size=5)
    assert images.shape == (3, 5, 5)
    assert images.pixels[0, :, 0, 0].tolist() == [1, 2, 3]
