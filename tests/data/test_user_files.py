"""Files of pictures with labels: each format gives the same images, or a command that makes one."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unbackdoor import data
from unbackdoor.data import Images, Intake, catalogue
from unbackdoor.data.tensors import main as convert
from unbackdoor.errors import ArgumentError, ContentError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(24) % 3


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def everything(path: Path, size: int | None = None) -> Images:
    """The images of a file before they are divided."""
    split = data.load(str(path), size)
    both = torch.cat([split.defend.rows, split.evaluate.rows]).sort().values
    return Images.of(
        split.defend.name,
        split.defend.classes,
        split.defend.pixels[both],
        split.defend.labels[both],
        split.defend.intake,
    )


def same(images: Images) -> bool:
    pixels = images.pixels.permute(0, 2, 3, 1).numpy()
    return bool((pixels == PIXELS).all()) and images.labels.tolist() == LABELS.tolist()


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def as_npz(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS, y=LABELS)
    return folder / "set.npz"


def as_npz_of_keras(folder: Path) -> Path:
    other = np.zeros((7, 5, 4, 3), np.uint8)
    zeros = np.zeros(7, int)
    one_hot = np.eye(3)[LABELS]
    np.savez_compressed(
        folder / "set.npz", x_train=other, y_train=zeros, x_test=PIXELS, y_test=one_hot
    )
    return folder / "set.npz"


def as_npz_of_floats(folder: Path) -> Path:
    pixels = (PIXELS / 255).astype(np.float32).transpose(0, 3, 1, 2)
    np.savez(folder / "set.npz", images=pixels, labels=LABELS[:, None])
    return folder / "set.npz"


def as_npy(folder: Path) -> Path:
    np.save(folder / "my_images.npy", np.asfortranarray(PIXELS))
    np.save(folder / "my_labels.npy", LABELS)
    return folder / "my_images.npy"


def as_csv(folder: Path) -> Path:
    (folder / "all").mkdir()
    lines = ["label;path"]
    for number, pixels in enumerate(PIXELS):
        (folder / "all" / f"{number}.png").write_bytes(png(pixels))
        lines.append(f"{LABELS[number]};all/{number}.png")
    (folder / "set.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return folder / "set.csv"


def as_csv_without_a_head(folder: Path) -> Path:
    table = as_csv(folder).read_text(encoding="utf-8-sig").splitlines()[1:]
    rows = [line.split(";")[::-1] for line in table]
    (folder / "set.tsv").write_text("\n".join("\t".join(row) for row in rows))
    return folder / "set.tsv"


def as_tar(folder: Path) -> Path:
    members: dict[str, bytes] = {}
    for number, pixels in enumerate(PIXELS):
        members |= {f"{number:03}.png": png(pixels), f"{number:03}.cls": b"%d\n" % LABELS[number]}
    return tar_of(folder / "set.tar", members)


def as_tensors(folder: Path) -> Path:
    torch.save((torch.from_numpy(PIXELS), torch.from_numpy(LABELS)), folder / "set.pt")
    return folder / "set.pt"


def as_dictionary_of_tensors(folder: Path) -> Path:
    pixels = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    torch.save({"targets": torch.from_numpy(LABELS), "data": pixels}, folder / "set.pth")
    return folder / "set.pth"


def tensors(save: Callable[[torch.Tensor, torch.Tensor], object]) -> Callable[[Path], Path]:
    """A file of what people save of pictures and labels."""

    def make(folder: Path) -> Path:
        torch.save(save(torch.from_numpy(PIXELS), torch.from_numpy(LABELS)), folder / "set.pt")
        return folder / "set.pt"

    return make


TENSORS = {
    "labels first": tensors(lambda x, y: (y, x)),
    "a list of labels": tensors(lambda x, y: {"data": x, "targets": y.tolist()}),
    "lists": tensors(lambda x, y: {"images": [*x], "labels": [*y]}),
    "pairs": tensors(lambda x, y: [*zip([*x], y.tolist(), strict=True)]),
    "names of classes": tensors(
        lambda x, y: {"images": x, "labels": y, "classes": ["a", "b", "c"]}
    ),
    "bfloat16": tensors(lambda x, y: {"x": (x / 255).bfloat16() * 0 + x, "y": y}),
    "a data set": tensors(torch.utils.data.TensorDataset),
    "two parts": tensors(
        lambda x, y: {"x_train": x.flip(0), "y_train": y, "x_test": x, "y_test": y}
    ),
}
NOT_TENSORS = {
    "a picture alone": tensors(lambda x, y: x),
    "nothing to tell them apart": tensors(lambda x, y: {"a": x, "b": x, "c": y}),
    "shapes that differ": tensors(lambda x, y: {"x": [x[0], x[0, :2]], "y": y[:2]}),
    "a program": tensors(lambda x, y: {"x": x, "y": y, "z": Path()}),
}


def as_packed_tar(folder: Path) -> Path:
    subprocess.run(["gzip", str(as_tar(folder))], check=True)
    return folder / "set.tar.gz"


def as_zipped_folder(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for number, pixels in enumerate(PIXELS):
            archive.writestr(f"{LABELS[number]}/{number:02}.png", png(pixels))
    return folder / "set.zip"


READ = [as_npz, as_npz_of_keras, as_npz_of_floats, as_npy, as_csv, as_csv_without_a_head, as_tar]
CONVERTED = [as_tensors, as_dictionary_of_tensors, as_packed_tar]


@pytest.mark.parametrize("make", READ)
def test_each_format_gives_the_same_images(make: Callable[[Path], Path], tmp_path: Path) -> None:
    images = everything(make(tmp_path))
    assert same(images)
    assert images.classes == ("0", "1", "2")
    assert images.intake is not None
    assert images.intake.read == 24
    assert everything(tmp_path / images_file(tmp_path), 3).shape == (3, 3, 3)


def images_file(folder: Path) -> str:
    suffixes = {*catalogue.FILES, *catalogue.SHARDS}
    return next(path.name for path in sorted(folder.iterdir()) if path.suffix in suffixes)


def typed(error: ContentError) -> tuple[str, Path]:
    """The command in a sentence, and what it makes."""
    said = re.search(r" with ((?:python|gunzip) .*), and name (.*)\.$", str(error))
    assert said is not None
    command, made = said.groups()
    return command, Path(shlex.split(made)[0])


def run(command: str, folder: Path) -> None:
    """Type a command; ``python`` is the one that runs the tests."""
    names = folder / "bin"
    names.mkdir()
    (names / "python").symlink_to(sys.executable)
    path = f"{names}:{Path(sys.executable).parent}:/usr/bin:/bin"
    source = os.pathsep.join(sys.path)
    environment = {**os.environ, "PATH": path, "PYTHONPATH": source}
    subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)


@pytest.mark.parametrize("make", CONVERTED)
def test_the_command_in_the_sentence_makes_what_is_read(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    spaced = tmp_path / "my data"
    spaced.mkdir()
    with pytest.raises(ContentError, match="convert it with") as error:
        everything(make(spaced))
    command, made = typed(error.value)
    run(command, tmp_path)
    assert same(everything(made))


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_are_taken_as_people_save_them(what: str, tmp_path: Path) -> None:
    old, new = TENSORS[what](tmp_path), tmp_path / "new.npz"
    assert convert([str(old), str(new)]) == 0
    images = everything(new)
    assert same(images)
    assert images.classes == (tuple("abc") if "names" in what else tuple("012"))


@pytest.mark.parametrize("what", NOT_TENSORS)
def test_of_other_tensors_nothing_is_guessed(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = NOT_TENSORS[what](tmp_path), tmp_path / "new.npz"
    assert convert([str(old), str(new)]) == 2
    said = capsys.readouterr().err
    assert 'torch.save({"x": pictures, "y": labels}, FILE).' in said
    assert said.count("\n") == 1
    assert not new.exists()


def test_a_zipped_folder_is_unpacked_by_the_command(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="convert it with") as error:
        everything(as_zipped_folder(tmp_path))
    command, made = typed(error.value)
    run(command, tmp_path)
    images = everything(made)
    assert images.labels.tolist() == sorted(LABELS.tolist())


def test_other_arrays_are_counted(tmp_path: Path) -> None:
    assert everything(as_npz_of_keras(tmp_path)).intake == Intake(
        read=24, passed_over={"x_train": 7}
    )
    assert everything(as_npz_of_floats(tmp_path)).intake == Intake(read=24, scaled=24, white=1.0)


def test_which_arrays_are_meant_is_chosen_by_the_command(tmp_path: Path) -> None:
    named = {"left": PIXELS, "right": PIXELS[::-1], "a": LABELS, "b": LABELS}
    np.savez(tmp_path / "set.npz", **named)
    with pytest.raises(ContentError, match="choose two with") as error:
        everything(tmp_path / "set.npz")
    command = str(error.value).split("choose two with ")[1].rsplit(", and name ", 1)[0]
    run(command, tmp_path)
    assert same(everything(tmp_path / "chosen.npz"))


OTHERS = np.full_like(PIXELS, 7)


@pytest.mark.parametrize(
    "named",
    [
        {"images": PIXELS, "label": LABELS, "fold": LABELS[::-1]},
        {"images": PIXELS, "id": np.arange(24), "target": LABELS},
        {"x": PIXELS, "ids": np.arange(24), "labels": LABELS},
        {"photos": PIXELS, "id": np.arange(24), "class_id": LABELS},
        {"x_train": OTHERS, "x_val": PIXELS, "y_val": LABELS},
        {"x_train": OTHERS, "x_eval": PIXELS, "y_valid": LABELS},
        {"trainX": OTHERS, "testX": PIXELS, "testY": LABELS, "trainY": LABELS[::-1]},
    ],
)
def test_labels_are_found_by_their_names(named: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **named)
    assert same(everything(tmp_path / "set.npz"))


def test_the_command_chooses_labels_of_the_same_part(tmp_path: Path) -> None:
    other = {"x_train": OTHERS, "y_train": LABELS[::-1]}
    np.savez(tmp_path / "set.npz", **other, id=LABELS, y_val=LABELS, x_val=PIXELS)
    with pytest.raises(ContentError, match="choose two with") as error:
        everything(tmp_path / "set.npz")
    command = str(error.value).split("choose two with ")[1].rsplit(", and name ", 1)[0]
    run(command, tmp_path)
    assert same(everything(tmp_path / "chosen.npz"))


@pytest.mark.parametrize("named", [{"ids": np.arange(24)}, {"fold": LABELS, "image_id": LABELS}])
def test_numbers_that_are_no_labels_are_not_taken_for_them(
    named: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS, **named)
    with pytest.raises(ContentError, match=r"expected labels of images .* save the class of each"):
        everything(tmp_path / "set.npz")


def test_one_array_of_another_name_is_not_taken_for_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS, quality=LABELS)
    with pytest.raises(ContentError, match="choose two with"):
        everything(tmp_path / "set.npz")


def test_labels_of_another_part_are_not_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=PIXELS, y_val=LABELS)
    with pytest.raises(ContentError, match="choose two with"):
        everything(tmp_path / "set.npz")


def test_names_of_the_classes_are_taken_from_the_archive(tmp_path: Path) -> None:
    names = np.array(["ape", "bat", "cat", "dog"])
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS, classes=names)
    assert everything(tmp_path / "set.npz").classes == ("ape", "bat", "cat", "dog")
    np.savez(tmp_path / "set.npz", x=PIXELS, y=names[LABELS])
    assert everything(tmp_path / "set.npz").classes == ("ape", "bat", "cat")


@pytest.mark.parametrize("as_bytes", [False, True])
def test_labels_that_are_names_have_the_order_of_the_classes(
    as_bytes: bool, tmp_path: Path
) -> None:
    names = np.array(["öst", "bat", "ape", "dog"])
    given = np.array(["o\u0308st", "bat", "ape"])[LABELS]
    if as_bytes:
        names, given = np.char.encode(names), np.char.encode(given)
    np.savez(tmp_path / "set.npz", x=PIXELS, y=given, classes=names)
    images = everything(tmp_path / "set.npz")
    assert same(images)
    assert images.classes == ("öst", "bat", "ape", "dog")


def test_names_of_the_pictures_are_not_those_of_the_classes(tmp_path: Path) -> None:
    files = np.array([f"{number}.png" for number in range(24)])
    np.savez(tmp_path / "set.npz", x=PIXELS, y=np.array(list("abc"))[LABELS], names=files)
    assert everything(tmp_path / "set.npz").classes == ("a", "b", "c")


def test_labels_of_digits_beside_other_names_are_indices(tmp_path: Path) -> None:
    names = np.array(["dog", "bat", "ape"])
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS.astype(str), class_names=names)
    assert same(everything(tmp_path / "set.npz"))
    assert everything(tmp_path / "set.npz").classes == ("dog", "bat", "ape")


def test_deep_arrays_are_scaled_and_transparency_is_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=PIXELS[..., 0].astype(np.uint16) * 257, y=LABELS)
    images = everything(tmp_path / "set.npz")
    assert (images.pixels.numpy() == PIXELS[..., :1].transpose(0, 3, 1, 2)).all()
    assert images.intake == Intake(read=24, scaled=24, white=65535)
    alpha = np.full((24, 5, 4, 1), 255, np.uint8)
    alpha[3, 0, 0] = 0
    np.savez(tmp_path / "set.npz", x=np.concatenate([PIXELS, alpha], 3), y=LABELS)
    images = everything(tmp_path / "set.npz")
    assert same(images)
    assert images.intake == Intake(read=24, transparent=1)


@pytest.mark.parametrize(
    ("end", "alpha", "transparent"), [(255, 128, 24), (255, 255, 0), (1, 0.5, 24), (65535, 255, 24)]
)
def test_the_same_transparency_throughout_is_counted_too(
    end: float, alpha: float, transparent: int, tmp_path: Path
) -> None:
    kind = {255: np.uint8, 1: np.float64, 65535: np.uint16}[end]
    pixels = (PIXELS * (end / 255)).astype(kind)
    layer = np.full((24, 5, 4, 1), alpha, kind)
    np.savez(tmp_path / "set.npz", x=np.concatenate([pixels, layer], 3), y=LABELS)
    images = everything(tmp_path / "set.npz")
    assert same(images)
    assert images.intake is not None
    assert images.intake.transparent == transparent


@pytest.mark.parametrize("end", [1.0, 255.0])
def test_floats_a_little_beyond_their_range_are_clipped_and_counted(
    end: float, tmp_path: Path
) -> None:
    pixels = (PIXELS / 255 * end).astype(np.float32)
    pixels[PIXELS == 255] *= np.float32(1.0000001)
    np.savez(tmp_path / "set.npz", x=pixels, y=LABELS)
    images = everything(tmp_path / "set.npz")
    scaled = 24 if end == 1 else 0
    assert same(images)
    assert images.intake == Intake(read=24, scaled=scaled, white=end)
    pixels[3, 0, 0], pixels[5, 0, 0] = 1.05 * end, -0.05 * end
    np.savez(tmp_path / "set.npz", x=pixels, y=LABELS)
    images = everything(tmp_path / "set.npz")
    assert images.pixels[[3, 5], :, 0, 0].tolist() == [[255] * 3, [0] * 3]
    assert images.intake == Intake(read=24, scaled=scaled, white=end, clipped=2)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.bool_])
def test_zeros_and_ones_are_black_and_white(kind: type[np.generic], tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=(PIXELS > 127).astype(kind), y=LABELS)
    images = everything(tmp_path / "set.npz")
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == 255 * (PIXELS > 127)).all()
    assert images.intake == Intake(read=24, scaled=24, white=1.0)


def normalised(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=(PIXELS / 255 - 0.5) / 0.25, y=LABELS)
    return folder / "set.npz"


def without_their_mean(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS / 255 * 0.4 - 0.2, y=LABELS)
    return folder / "set.npz"


def faint(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=np.floor(PIXELS / 15.9), y=LABELS)
    return folder / "set.npz"


def holes(folder: Path) -> Path:
    pixels = PIXELS / 255
    pixels[7, 0, :2], pixels[9, 0, 0, 0] = np.nan, np.inf
    np.savez(folder / "set.npz", x=pixels, y=LABELS)
    return folder / "set.npz"


def flat(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS.reshape(24, -1), y=LABELS)
    return folder / "set.npz"


def few_labels(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS, y=LABELS[:5])
    return folder / "set.npz"


def odd_channels(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=np.zeros((24, 5, 4, 2), np.uint8), y=LABELS)
    return folder / "set.npz"


def objects(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=np.array([print, len], dtype=object), y=LABELS[:2])
    return folder / "set.npz"


def half_labels(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS, y=LABELS + 0.5)
    return folder / "set.npz"


def unknown_names(folder: Path) -> Path:
    names = np.array(["cat", "dog", "eel"])
    np.savez(folder / "set.npz", x=PIXELS, y=names[LABELS], classes=names[:2])
    return folder / "set.npz"


def huge_labels(folder: Path) -> Path:
    np.savez(folder / "set.npz", x=PIXELS, y=LABELS + 10**9)
    return folder / "set.npz"


def no_zip(folder: Path) -> Path:
    (folder / "set.npz").write_bytes(b"PK\3\4 nothing")
    return folder / "set.npz"


def cut_npy(folder: Path) -> Path:
    path = as_npy(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def alone_npy(folder: Path) -> Path:
    np.save(folder / "x.npy", PIXELS)
    return folder / "x.npy"


def csv_upwards(folder: Path) -> Path:
    (folder / "set.csv").write_text("path,label\n../secret.png,a\n")
    return folder / "set.csv"


def csv_through_a_link(folder: Path) -> Path:
    (folder / "a.png").symlink_to("/etc/passwd")
    (folder / "set.csv").write_text("path,label\na.png,a\n")
    return folder / "set.csv"


def csv_without_files(folder: Path) -> Path:
    rows = "".join(f"{number}.png,a\n" for number in range(9))
    (folder / "set.csv").write_text(f"path,label\n{rows}")
    return folder / "set.csv"


def csv_without_columns(folder: Path) -> Path:
    (folder / "set.csv").write_text("a,b,c\n1,2,3\n")
    return folder / "set.csv"


def csv_with_a_short_row(folder: Path) -> Path:
    path = as_csv(folder)
    path.write_text(path.read_text(encoding="utf-8-sig") + "\n1\n")
    return path


def tar_without_labels(folder: Path) -> Path:
    return tar_of(folder / "set.tar", {"1.png": png(PIXELS[0]), "2.png": b"", "1.cls": b"0"})


def tar_without_pictures(folder: Path) -> Path:
    return tar_of(folder / "set.tar", {"1.cls": b"0"})


def tar_that_is_cut(folder: Path) -> Path:
    path = as_tar(folder)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def tar_with_a_damaged_picture(folder: Path) -> Path:
    return tar_of(folder / "set.tar", {"1.png": png(PIXELS[0])[:60], "1.cls": b"0"})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (normalised, "before they are normalised"),
        (without_their_mean, "outside 0 to 1; .* before they are normalised"),
        (faint, "values from 0 to 16, expected"),
        (holes, "7 values of 2 of 24 pictures .* are NaN or infinite, the first in picture 7"),
        (flat, "expected pictures of shape"),
        (few_labels, "expected as many labels as pictures"),
        (odd_channels, r"came \(24, 5, 4, 2\)"),
        (objects, "Python objects, which could execute code"),
        (half_labels, "number the classes from 0"),
        (unknown_names, r"eel are labels and not in classes of .* \(cat, dog\); save the name"),
        (huge_labels, r"labels from 1e\+09"),
        (no_zip, "save the arrays anew"),
        (cut_npy, "it declares 1,440 bytes and has 1,340"),
        (alone_npy, r"save them as y\.npy"),
        (csv_upwards, "outside its folder"),
        (csv_through_a_link, "outside its folder"),
        (csv_without_files, r"9 of 9 pictures .* and 4 more"),
        (csv_without_columns, "came a, b, c; name them so"),
        (csv_with_a_short_row, "1 rows of .* lack a path or a label, the first is line 26;"),
        (tar_without_labels, r"1 of 2 pictures .* no label: 2\.png"),
        (tar_without_pictures, "has no pictures"),
        (tar_that_is_cut, "fetch or pack it anew"),
        (tar_with_a_damaged_picture, r"1 of 1 files .* 1\.png"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence_with_its_cause(
    make: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ContentError, match=says):
        data.load(str(make(tmp_path)))


def test_nothing_in_a_tar_leaves_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(f"../{number}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
        for name, content in {"../a/9.png": png(PIXELS[0]), "../b/8.png": png(PIXELS[1])}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(ContentError, match="has no pictures"):
        everything(tmp_path / "set.tar")
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_tar_of_a_folder_per_class(tmp_path: Path) -> None:
    members = {f"set/{'ab'[n % 2]}/{n}.png": png(PIXELS[n]) for n in range(8)}
    members |= {"set/readme.txt": b"x", "set/.DS_Store": b"x"}
    images = everything(tar_of(tmp_path / "set.tar", members))
    assert images.classes == ("a", "b")
    assert images.intake == Intake(read=8, passed_over={"beside the classes": 1, "hidden": 1})


def test_a_tar_has_the_classes_of_the_folder_that_it_was_made_of(tmp_path: Path) -> None:
    """The outermost folders are the classes, in alphabetical order, and content counts."""
    names = ["10/day1/a.png", "2/day1/b", "9/day2/c.dat", "9/d.png"]
    members = {name: png(PIXELS[at]) for at, name in enumerate(names)}
    for name, content in members.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packed = {f"./set/{name}": content for name, content in members.items()}
    for images in (everything(tmp_path / "set"), everything(tar_of(tmp_path / "s.tar", packed))):
        assert images.classes == ("10", "2", "9")
        assert images.labels.tolist() == [0, 1, 2, 2]
    packed["set/west/a.heic"] = b"x"
    with pytest.raises(ContentError, match=r"1 of the 4 class folders .* no picture .*: west;"):
        everything(tar_of(tmp_path / "s.tar", packed))


def test_what_a_tar_has_twice_is_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, at in (("a/1.png", 0), ("b/1.png", 1), ("a/1.png", 2)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content := png(PIXELS[at]))
            tar.addfile(entry, io.BytesIO(content))
    images = everything(tmp_path / "set.tar")
    assert images.intake == Intake(read=2, passed_over={"another of the same name": 1})


def test_parts_in_a_tar_are_no_classes(tmp_path: Path) -> None:
    members = {
        f"set/{part}/{name}/1.png": png(PIXELS[0]) for part in ("test", "train") for name in "ab"
    }
    tar = tar_of(tmp_path / "the set.tar", members)
    with pytest.raises(ContentError, match=r"parts of a data set \(test, train\)") as error:
        data.load(str(tar))
    command, _, named = re.split(" with |, and name|--data ", str(error.value).rstrip("."))[1:4]
    subprocess.run(["sh", "-c", command], check=True)
    assert everything(Path(shlex.split(named)[0])).classes == ("a", "b")


def test_a_sample_with_several_pictures_is_refused(tmp_path: Path) -> None:
    """A mask is no picture of the class."""
    members: dict[str, bytes] = {}
    for at in range(8):
        members |= {f"{at}.png": png(PIXELS[at]), f"{at}.mask.png": png(PIXELS[9])}
        members |= {f"{at}.cls": b"%d" % (at % 2)}
    tar = tar_of(tmp_path / "the set.tar", members)
    with pytest.raises(ContentError, match=r"8 samples .* \(mask\.png, png\)") as error:
        data.load(str(tar))
    command, named = re.split(r"such as \.png with |, and name ", str(error.value).rstrip("."))[1:]
    subprocess.run(["sh", "-c", command], check=True)
    images = everything(Path(shlex.split(named)[0]))
    read = zip(images.pixels.permute(0, 2, 3, 1).numpy(), images.labels.tolist(), strict=True)
    labels = {pixels.tobytes(): label for pixels, label in read}
    assert labels == {PIXELS[at].tobytes(): at % 2 for at in range(8)}


@pytest.mark.parametrize("silent", ["", "nan", "-1", "None", "-2.0"])
def test_a_label_that_says_no_class_makes_none(silent: str, tmp_path: Path) -> None:
    path = as_csv(tmp_path)
    for at in range(3, len(LABELS), 3):
        text = path.read_text(encoding="utf-8-sig").replace(
            f"0;all/{at}.png", f"{silent};all/{at}.png"
        )
        path.write_text(text)
    with pytest.raises(ContentError, match=r"7 (of 24 labels|rows) .*fill"):
        data.load(str(path))


def test_whole_numbers_are_indices_however_they_are_written(tmp_path: Path) -> None:
    """Programs for tables write 10.0 where a cell of the column is empty."""
    path = as_csv(tmp_path)
    rows = path.read_text(encoding="utf-8-sig").splitlines()[1:]
    more = [f"{at}.0;{row.split(';')[1]}" for at, row in enumerate(rows)]
    path.write_text("\n".join(["label;path", *more]))
    assert everything(path).labels.tolist() == [*range(24)]


def rewritten(path: Path, head: str, row: Callable[[int], str]) -> Path:
    """A table of the same pictures with other columns."""
    as_csv(path.parent)
    path.write_text("\n".join([head, *map(row, range(len(LABELS)))]))
    return path


def test_a_column_for_each_class_says_the_class(tmp_path: Path) -> None:
    ones = ("1.0,0.0,0.0", "0.0,1.0,0.0", "0.0,0.0,1.0")
    path = rewritten(
        tmp_path / "a.csv", "image,MEL,NV,BCC", lambda at: f"all/{at}.png,{ones[LABELS[at]]}"
    )
    images = everything(path)
    assert same(images)
    assert images.classes == ("MEL", "NV", "BCC")


def test_a_class_column_of_traffic_signs_is_known(tmp_path: Path) -> None:
    path = rewritten(
        tmp_path / "a.csv", "Filename;Roi.X1;ClassId", lambda at: f"all/{at}.png;1;{LABELS[at]}"
    )
    assert same(everything(path))


def test_a_table_without_a_head_may_have_the_paths_of_windows(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.csv", "", lambda at: f"all\\{at}.png,{LABELS[at]}")
    assert same(everything(path))
    path.write_text(path.read_text().replace(".png,", ".png,1,"))
    with pytest.raises(ContentError, match="first line names a picture, so put a line with"):
        data.load(str(path))


def test_rows_that_say_the_same_again_are_counted(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.csv", "path,label", lambda at: f"all/{at}.png,{LABELS[at]}")
    path.write_text(path.read_text() + "\nall/3.png,0\nall/3.png,0")
    images = everything(path)
    assert same(images)
    assert images.intake == Intake(read=24, passed_over={"named again": 2})


def test_a_picture_of_several_classes_is_refused(tmp_path: Path) -> None:
    """As in a table of boxes."""
    path = rewritten(
        tmp_path / "a.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        lambda at: f"all/{at}.png,4,5,{'abc'[LABELS[at]]},0,0,2,2",
    )
    path.write_text(path.read_text() + "\nall/3.png,4,5,c,1,1,4,4")
    with pytest.raises(ContentError, match=r"1 of 24 pictures several labels, .*3\.png \(a, c\)"):
        data.load(str(path))


def test_parts_in_a_column_are_not_put_together(tmp_path: Path) -> None:
    (folder := tmp_path / "a b").mkdir()
    path = rewritten(
        folder / "set.csv",
        "path,label, Split",
        lambda at: f"all/{at}.png,{LABELS[at]},{'train' if at < 12 else 'test'}",
    )
    with pytest.raises(ContentError, match=r"its column Split \(test, train\)") as error:
        data.load(str(path))
    command, named = re.split("such as test, with |, and name ", str(error.value).rstrip("."))[1:]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    images = everything(Path(shlex.split(named)[0]))
    assert images.labels.tolist() == LABELS[12:].tolist()
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == PIXELS[12:]).all()
    path.write_text(path.read_text().replace("train", "test"))
    assert same(everything(path))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/1.png", "dog/2"], ("cat", "dog")),  # without a suffix
        (["preview.png", "set/cat/1.png", "set/dog/2.png"], ("cat", "dog")),
        (["set/cat/1.png", "set/dog/2.png", "set/docs/readme.txt"], ("cat", "dog")),
        (["label_0/1.png", "label_1/2.png"], ("label_0", "label_1")),
        (["/abs/cat/1.png", "/abs/dog/2.png"], ("cat", "dog")),
    ],
)
def test_the_classes_of_a_tar_are_its_folders_with_pictures(
    names: list[str], classes: tuple[str, str], tmp_path: Path
) -> None:
    members = {name: b"x" if ".txt" in name else png(PIXELS[at]) for at, name in enumerate(names)}
    images = everything(tar_of(tmp_path / "set.tar", members))
    assert images.classes == classes
    assert images.labels.tolist() == [0, 1]


def test_shards_may_have_a_folder_each_around_the_classes(tmp_path: Path) -> None:
    for shard in range(2):
        members = {f"shard{shard}/{name}/{shard}.png": png(PIXELS[shard]) for name in ("a", "b")}
        tar_of(tmp_path / f"shard{shard}.tar", members)
    images = everything(tmp_path / "shard{0..1}.tar")
    assert images.classes == ("a", "b")
    for name in ("cat", "dog"):
        tar_of(tmp_path / f"of_{name}.tar", {f"{name}/1.png": png(PIXELS[0])})
    assert everything(tmp_path / "of_*.tar").classes == ("cat", "dog")


def test_a_tar_without_pictures_or_with_odd_names_is_no_internal_error(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="has no pictures"):
        data.load(str(tar_of(tmp_path / "a.tar", {"README": b"x", "a.txt": b"x"})))
    with tarfile.open(tmp_path / "b.tar", "w", encoding="latin-1") as tar:
        for name in ("c\xff/1.png", "d/1.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content := png(PIXELS[0]))
            tar.addfile(entry, io.BytesIO(content))
    for name in everything(tmp_path / "b.tar").classes:
        assert name.encode()


def test_parts_of_samples_are_not_put_together(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for part, at in (
        ("train", 0),
        ("train", 1),
        ("test", 2),
        ("test", 3),
        ("test", 4),
        ("test", 5),
    ):
        members |= {f"{part}/{at}.png": png(PIXELS[at]), f"{part}/{at}.cls": b"%d" % (at % 2)}
    with pytest.raises(ContentError, match=r"parts of a data set \(test, train\)") as error:
        data.load(str(tar_of(tmp_path / "set.tar", members)))
    command, _, named = re.split(" with |, and name|--data ", str(error.value).rstrip("."))[1:4]
    subprocess.run(["sh", "-c", command], check=True)
    assert sorted(everything(Path(shlex.split(named)[0])).labels.tolist()) == [0, 0, 1, 1]


def test_signs_for_two_classes_are_told_from_missing_labels(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.csv", "path,label", lambda at: f"all/{at}.png,{at % 2 * 2 - 1}")
    np.savez(tmp_path / "a.npz", x=PIXELS, y=LABELS % 2 * 2 - 1)
    np.savez(tmp_path / "b.npz", x=PIXELS, y=LABELS - 1)
    for one, said in ((path, "0 for -1"), (tmp_path / "a.npz", "0 for -1")):
        with pytest.raises(ContentError, match=said):
            data.load(str(one))
    with pytest.raises(ContentError, match="where -1 says no class, leave out those pictures"):
        data.load(str(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("path,label,Usage", lambda at: ("Training", "PublicTest")[at % 2], "PublicTest"),
        ("path,label,split", lambda at: str(at % 3), "2"),
        ("path,label,set", lambda at: ("train", "ship")[at % 2], None),
        ("path,label,set", lambda at: str(at % 2), None),
    ],
)
def test_which_columns_say_parts(
    head: str, row: Callable[[int], str], said: str | None, tmp_path: Path
) -> None:
    path = rewritten(tmp_path / "a.csv", head, lambda at: f"all/{at}.png,{LABELS[at]},{row(at)}")
    if said is None:
        assert same(everything(path))
    else:
        with pytest.raises(ContentError, match=rf"not trained on, such as {said}, with"):
            data.load(str(path))


def test_columns_that_are_no_classes_and_cells_that_are_no_paths(tmp_path: Path) -> None:
    path = rewritten(
        tmp_path / "a.csv",
        "path,is_train,is_test",
        lambda at: f"all/{at}.png,{at % 2},{1 - at % 2}",
    )
    with pytest.raises(ContentError, match="the columns path and label"):
        data.load(str(path))
    long = " ".join(["255"] * 500)
    for text, said in (
        (f'0,"{long}"\n1,"{long}"', "columns path and label"),
        (f"image,label\n{long},1\n{long},0", "are not there"),
    ):
        path.write_text(text)
        with pytest.raises(ContentError, match=said):
            data.load(str(path))


@pytest.mark.parametrize("other", ["y_pos", "label_weight", "id"])
def test_numbers_of_pictures_are_no_labels(other: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, digit=LABELS, **{other: np.arange(24) / 2})
    with pytest.raises(ContentError, match="choose two"):
        data.load(str(tmp_path / "a.npz"))


def test_sparse_and_lying_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    sparse = tar_of(tmp_path / "set.tar", {"1.png": png(PIXELS[0]), "1.cls": b"0"})
    os.truncate(sparse, 1 << 40)
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 32, 32, 3)}
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with (tmp_path / "y.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (1 << 40,)})
    for path in (sparse, tmp_path / "x.npy"):
        with pytest.raises(ContentError, match=r"unpacks to more than|at most .* are read"):
            data.load(str(path))


def test_an_unknown_suffix_lists_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "set.mdb").touch()
    with pytest.raises(ContentError, match=r"not read \(\.mdb\); expected one of \.npz, \.npy"):
        data.load(str(tmp_path / "set.mdb"))


def test_parquet_as_the_hub_has_it(tmp_path: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": png(pixels), "path": None} for pixels in PIXELS]
    names = ["ape", "bat", "cat"]
    stated = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = arrow.table({"img": rows, "label": LABELS})
    table = table.replace_schema_metadata({"huggingface": json.dumps(stated)})
    parquet.write_table(table, tmp_path / "set.parquet")
    images = everything(tmp_path / "set.parquet")
    assert same(images)
    assert images.classes == ("ape", "bat", "cat")
    content = (tmp_path / "set.parquet").read_bytes()
    (tmp_path / "set.parquet").write_bytes(content[:200] + content[300:])
    with pytest.raises(ContentError, match="cannot be read"):
        everything(tmp_path / "set.parquet")
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "set.parquet")
    with pytest.raises(ContentError, match="expected the columns image and label"):
        everything(tmp_path / "set.parquet")


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    (tmp_path / "set.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArgumentError, match=r"pip install 'unbackdoor\[parquet\]'"):
        data.load(str(tmp_path / "set.parquet"))
