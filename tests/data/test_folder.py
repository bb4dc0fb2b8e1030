from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbackdoor import data
from unbackdoor.data import Intake, folder
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


def test_the_size_that_is_proposed_is_not_that_of_an_odd_picture(pictures: Path) -> None:
    Image.new("RGB", (1, 1)).save(pictures / "cat" / "9.png")
    Image.new("RGB", (90, 80)).save(pictures / "ape" / "9.png")
    with pytest.raises(ContentError, match=r"--size 4\."):
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
    Image.new("RGB", (5, 5)).save(pictures / "cat" / "0.png")
    Image.new("RGB", (2, 2)).save(pictures / "cat" / "1.png")
    images = folder.read(pictures, size=5)
    assert images.shape == (3, 5, 5)
    assert images.pixels[0, :, 0, 0].tolist() == [1, 2, 3]
    assert images.intake == Intake(read=6, resized=5, cropped=4)


def test_every_picture_of_a_format_that_is_read_is_read_whatever_its_name(pictures: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    saved = {
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".gif": "GIF",
        ".webp": "WEBP",
        ".bmp": "BMP",
        ".ppm": "PPM",
        ".PNG": "PNG",
        ".dat": "PNG",
        "": "PNG",
        ".jpg": "PNG",
    }
    for number, (suffix, kind) in enumerate(saved.items()):
        options = {"lossless": True} if kind == "WEBP" else {}
        Image.fromarray(noise).save(pictures / "cat" / f"n{number}{suffix}", kind, **options)
    images = folder.read(pictures)
    assert len(images) == 6 + len(saved)
    for row in range(6, len(images)):
        if saved[list(saved)[row - 6]] != "GIF":
            assert (images.pixels[row].permute(1, 2, 0).numpy() == noise).all()
    assert images.intake == Intake(read=len(images))


@pytest.mark.parametrize(("suffix", "kind"), [(".jfif", "JPEG"), (".avif", "AVIF"), ("", "JPEG")])
def test_lossy_formats_are_recognised_by_content(pictures: Path, suffix: str, kind: str) -> None:
    Image.new("RGB", (6, 4), (90, 90, 90)).save(pictures / "cat" / f"9{suffix}", kind)
    images = folder.read(pictures)
    assert images.pixels[6].float().mean().item() == pytest.approx(90, abs=2)


def test_what_is_passed_over_is_counted_by_its_reason(pictures: Path) -> None:
    for add in (ignored_file, ignored_loose, ignored_hidden):
        add(pictures)
    (pictures / "__MACOSX" / "cat").mkdir(parents=True)
    (pictures / "cat" / "Thumbs.db").write_bytes(b"x")
    (pictures / "cat" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    os.mkfifo(pictures / "cat" / "pipe")
    images = folder.read(pictures)
    assert images.classes == ("ape", "cat")
    assert images.intake == Intake(
        read=6,
        passed_over={
            ".db": 1,
            ".heic": 1,
            ".txt": 1,
            "beside the classes": 1,
            "hidden": 3,
            "no file": 1,
        },
    )


def test_pictures_in_folders_of_a_class_are_read(pictures: Path) -> None:
    (pictures / "cat" / "images" / ".cache").mkdir(parents=True)
    (pictures / "cat" / "0.png").rename(pictures / "cat" / "images" / "0.png")
    (pictures / "cat" / "images" / ".cache" / "1.png").write_bytes(b"of some program")
    images = folder.read(pictures)
    assert images.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.intake == Intake(read=6, passed_over={"hidden": 1})


@pytest.mark.parametrize("left", ["", "0.heic"])
def test_a_class_without_pictures_is_an_error_that_names_it(pictures: Path, left: str) -> None:
    (pictures / "dog").mkdir()
    if left:
        (pictures / "dog" / left).write_bytes(b"of another format")
    with pytest.raises(ContentError, match=r"1 of the 3 class folders .* dog \((empty|1 .heic)\)"):
        data.load(str(pictures))
    images = data.load(str(pictures), absent=True).defend
    assert images.relabelled({"ape": 0, "cat": 2, "dog": 1}, 4).targets.unique().tolist() == [0, 2]


def test_all_damaged_pictures_are_named_at_once(pictures: Path) -> None:
    for name in ("ape", "cat"):
        for index in range(3):
            path = pictures / name / f"{index}.png"
            path.write_bytes(path.read_bytes()[: -35 if index else None])
    (pictures / "cat" / "3.png").write_text("not a picture")
    with pytest.raises(ContentError) as error:
        folder.read(pictures)
    assert "5 of 7 files" in str(error.value)
    for name in ("ape/1.png", "ape/2.png", "cat/1.png", "cat/2.png", "cat/3.png"):
        assert name in str(error.value)
    for index in range(3):
        (pictures / "cat" / f"bad{index}.png").write_bytes(b"")
    with pytest.raises(ContentError, match=r"8 of 10 files.* and 3 more; remove or replace them"):
        folder.read(pictures)


def test_names_match_the_labels_in_any_form_of_unicode(pictures: Path) -> None:
    (pictures / "cat").rename(pictures / unicodedata.normalize("NFD", "Käse"))
    images = folder.read(pictures)
    composed = {"ape": 1, unicodedata.normalize("NFC", "Käse"): 0}
    assert images.relabelled(composed, 2).targets.tolist() == [0, 0, 0, 1, 1, 1]
    (pictures / unicodedata.normalize("NFC", "Käse")).mkdir()
    with pytest.raises(ContentError, match=r"one name, .* two forms of Unicode"):
        folder.read(pictures)


@pytest.mark.parametrize(
    "parts", [("train", "val"), ("training_set", "test_set"), ("Test1", "dev")]
)
@pytest.mark.parametrize("beside", [None, "desktop.ini"])
def test_parts_of_a_data_set_are_no_classes(
    parts: tuple[str, str], beside: str | None, pictures: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "the whole"
    for part in parts:
        for name in COLOURS:
            shutil.copytree(pictures / name, whole / part / name)
        if beside:
            (whole / part / beside).touch()
    listed = ", ".join(sorted(parts))
    with pytest.raises(ContentError, match=rf"parts of a data set \({listed}\)") as error:
        folder.read(whole)
    (named,) = shlex.split(str(error.value).rsplit("--data ", 1)[1].rstrip("."))
    assert folder.read(Path(named)).classes == ("ape", "cat")
    assert not Path(named).name.startswith("train")
    assert folder.read(whole, absent=True).classes == tuple(sorted(parts))  # named in --labels


@pytest.mark.parametrize("names", [("train", "test"), ("images", "masks"), ("Train", "Meta")])
def test_parts_without_classes_in_them_are_none_either(
    names: tuple[str, str], pictures: Path
) -> None:
    for name, new in zip(COLOURS, names, strict=True):
        (pictures / name).rename(pictures / new)
    with pytest.raises(ContentError, match="no folder in them says a class"):
        folder.read(pictures)


def test_one_class_may_be_called_like_a_part(pictures: Path) -> None:
    (pictures / "cat").rename(pictures / "train")
    assert folder.read(pictures).classes == ("ape", "train")


def test_a_folder_around_the_classes_names_the_one_that_has_them(
    pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "a b" / "set")
    with pytest.raises(ContentError, match="has one folder, set, which has others") as error:
        folder.read(tmp_path / "a b")
    (named,) = shlex.split(str(error.value).rsplit("--data ", 1)[1].rstrip("."))
    assert folder.read(Path(named)).classes == ("ape", "cat")


def test_a_table_beside_one_folder_is_named(pictures: Path) -> None:
    shutil.rmtree(pictures / "cat")
    with pytest.raises(ContentError, match=r"of one class alone \(ape\); expected at least two"):
        data.load(str(pictures))
    (pictures / "labels.csv").touch()
    with pytest.raises(ContentError, match=r"a table beside it; .* --data .*labels\.csv\."):
        folder.read(pictures)


def test_the_remedy_for_links_works(pictures: Path, tmp_path: Path) -> None:
    linked = tmp_path / "the linked"
    linked.mkdir()
    for name in COLOURS:
        (linked / name).symlink_to(pictures / name)
    with pytest.raises(ContentError, match="link out of its folder") as error:
        folder.read(linked)
    command, named = str(error.value).split("themselves with ")[1].rstrip(".").split(", and name ")
    subprocess.run(shlex.split(command), check=True)
    assert len(folder.read(Path(shlex.split(named)[0]))) == 6


def test_a_folder_that_leads_into_itself_is_not_followed(pictures: Path) -> None:
    (pictures / "cat" / "again").symlink_to(pictures)
    with pytest.raises(ContentError, match="a folder that it lies in; remove it"):
        folder.read(pictures)


def test_the_size_that_the_sentence_names_works(pictures: Path) -> None:
    Image.new("RGB", (3, 9), (1, 2, 3)).save(pictures / "ape" / "0.png")
    with pytest.raises(ContentError, match="such as --size 4") as error:
        folder.read(pictures)
    size = int(str(error.value).rsplit("--size ", 1)[1].rstrip("."))
    assert folder.read(pictures, size).shape == (3, 4, 4)


def test_pixels_are_counted_before_they_are_scaled(pictures: Path) -> None:
    Image.new("L", (4096, 4096)).save(pictures / "cat" / "0.png")
    for index in range(10, 20):
        os.link(pictures / "cat" / "0.png", pictures / "cat" / f"{index}.png")
    with pytest.raises(ContentError, match=r"unpack to more than 128 MiB.* such as cat/"):
        folder.read(pictures, size=4)


def test_more_pictures_than_memory_are_refused_before_they_are_decoded(pictures: Path) -> None:
    with pytest.raises(ContentError, match=r"6 pictures of 40000×40000 .* take 26\.8 GiB"):
        folder.read(pictures, size=40_000)
