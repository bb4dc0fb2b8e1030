"""Files that are not read: the command in the sentence makes one that is, when it is typed."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_user_files import LABELS, png, run, tar_of, typed

from unbackdoor import data
from unbackdoor.data.arranging import PHONES
from unbackdoor.errors import ContentError

SQUARE = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
NAMES = np.array(["ape", "bat", "cat"])


def jsonl(folder: Path) -> Path:
    lines: list[str] = []
    for row, label in enumerate(LABELS):
        (folder / f"{row}.png").write_bytes(png(SQUARE[row]))
        lines.append(json.dumps({"file_name": f"{row}.png", "label": str(NAMES[label])}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder / "metadata.jsonl"


def idx(folder: Path, end: str = "") -> Path:
    both = (("images-idx3", SQUARE[..., 0]), ("labels-idx1", LABELS.astype(np.uint8)))
    for name, values in both:
        head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        content = head + values.tobytes()
        packed = gzip.compress(content) if end else content
        (folder / f"t10k-{name}-ubyte{end}").write_bytes(packed)
    return folder / f"t10k-images-idx3-ubyte{end}"


def packed_idx(folder: Path) -> Path:
    return idx(folder, end=".gz")


def labels_of_idx(folder: Path) -> Path:
    return idx(folder).with_name("t10k-labels-idx1-ubyte")


def jsonl_of_classes(folder: Path) -> Path:
    text = jsonl(folder).read_text().replace('"label"', '"class"').replace("file_name", "image")
    (folder / "set.jsonl").write_text(text + "\n\n")
    return folder / "set.jsonl"


def jsonl_of_windows(folder: Path) -> Path:
    lines = jsonl(folder).read_text().splitlines()
    lines[0] = lines[0].replace("}", ', "é": null}')
    (folder / "set.jsonl").write_text("\r\n".join(lines), encoding="utf-8-sig")
    return folder / "set.jsonl"


def arrow(folder: Path) -> Path:
    library = pytest.importorskip("pyarrow")
    pictures = [{"bytes": png(one), "path": None} for one in SQUARE]
    table = library.table({"image": pictures, "label": LABELS.tolist()})
    path = folder / "data-00000-of-00001.arrow"
    with library.OSFile(str(path), "wb") as file, library.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    return path


def paths_in_parquet(folder: Path) -> Path:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    jsonl(folder)
    pictures = [{"bytes": None, "path": f"{row}.png"} for row in range(24)]
    table = library.table({"image": pictures, "label": NAMES[LABELS].tolist()})
    parquet.write_table(table, folder / "set.parquet")
    return folder / "set.parquet"


def texts_in_parquet(folder: Path) -> Path:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    jsonl(folder)
    table = library.table(
        {"image": [f"{row}.png" for row in range(24)], "label": NAMES[LABELS].tolist()}
    )
    parquet.write_table(table, folder / "set.parquet")
    return folder / "set.parquet"


def numbers_in_parquet(folder: Path) -> Path:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = library.table({"image": SQUARE.tolist(), "label": LABELS.tolist()})
    parquet.write_table(table, folder / "set.parquet")
    return folder / "set.parquet"


def rows_without_pictures(folder: Path) -> Path:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = library.table({"img": [None, *map(png, SQUARE)], "label": [0, *LABELS.tolist()]})
    parquet.write_table(table, folder / "set.parquet")
    return folder / "set.parquet"


def packed_and_called_tar(folder: Path) -> Path:
    members = {f"{row:02}.png": png(one) for row, one in enumerate(SQUARE)}
    members |= {f"{row:02}.cls": b"%d" % label for row, label in enumerate(LABELS)}
    tar = tar_of(folder / "set.tar", members)
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    return tar


def list_of_lines(folder: Path, between: str = " ", end: str = "") -> Path:
    jsonl(folder)
    lines = [f"{row}.png{between}{NAMES[label]}{end}" for row, label in enumerate(LABELS)]
    (folder / "val.txt").write_text("\n".join([*lines, ""]))
    return folder / "val.txt"


def list_of_tabs(folder: Path) -> Path:
    return list_of_lines(folder, "\t", "\t0\t0\t8\t8")


def rows_without_labels(folder: Path) -> Path:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures = [{"bytes": png(one), "path": None} for one in [*SQUARE, SQUARE[0]]]
    labels = [*LABELS.tolist(), None]
    parquet.write_table(library.table({"img": pictures, "label": labels}), folder / "set.parquet")
    return folder / "set.parquet"


def parts_in_arrow(folder: Path) -> Path:
    """A data set as ``save_to_disk`` of Hugging Face leaves it."""
    library = pytest.importorskip("pyarrow")
    (folder / "test").mkdir()
    for at in range(2):
        pictures = [{"bytes": png(one), "path": None} for one in SQUARE[at * 12 : at * 12 + 12]]
        labels = LABELS[at * 12 : at * 12 + 12].tolist()
        table = library.table({"image": pictures, "label": labels})
        path = folder / "test" / f"data-{at:05}-of-00002.arrow"
        with (
            library.OSFile(str(path), "wb") as file,
            library.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    (folder / "test" / "state.json").write_text("{}")
    return folder / "test"


def rows_in_csv(folder: Path) -> Path:
    with (folder / "test.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *(f"pixel{at}" for at in range(192))])
        for label, picture in zip(LABELS, SQUARE.transpose(0, 3, 1, 2), strict=True):
            writer.writerow([label, *picture.ravel()])
    return folder / "test.csv"


def rows_in_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=SQUARE.transpose(0, 3, 1, 2).reshape(24, -1), y=LABELS)
    return folder / "a.npz"


def hdf5(folder: Path) -> Path:
    library = pytest.importorskip("h5py")
    with library.File(folder / "a.h5", "w") as file:
        file["x"], file["y"] = SQUARE, LABELS
    return folder / "a.h5"


def matlab(folder: Path) -> Path:
    library = pytest.importorskip("scipy.io")
    labels = np.where(LABELS == 0, 10, LABELS)[:, None]
    library.savemat(folder / "test_8x8.mat", {"X": SQUARE.transpose(1, 2, 3, 0), "y": labels})
    return folder / "test_8x8.mat"


def pictures_in_one_folder(folder: Path) -> Path:
    inside = folder / "flat"
    inside.mkdir()
    for row, label in enumerate(LABELS):
        (inside / f"{NAMES[label]}_{row:02}.png").write_bytes(png(SQUARE[row]))
    return inside


MADE = [
    *(
        labels_of_idx,
        jsonl_of_classes,
        jsonl_of_windows,
        jsonl,
        idx,
        packed_idx,
        arrow,
        paths_in_parquet,
        rows_in_csv,
        rows_in_npz,
        hdf5,
        matlab,
    ),
    *(pictures_in_one_folder, rows_without_labels, parts_in_arrow),
    *(texts_in_parquet, numbers_in_parquet, rows_without_pictures, packed_and_called_tar),
    *(list_of_lines, list_of_tabs),
]


@pytest.mark.parametrize("make", MADE)
def test_the_command_makes_the_same_pictures(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    with pytest.raises(ContentError, match=r" with (python -c|gunzip)") as error:
        data.load(str(make(folder)))
    command, made = typed(error.value)
    run(command, tmp_path)
    split = data.load(str(made))
    order = np.argsort(LABELS, kind="stable") if make is pictures_in_one_folder else np.arange(24)
    wanted = SQUARE[order].transpose(0, 3, 1, 2)
    pixels = split.defend.pixels.numpy()
    assert (pixels == wanted[:, :1]).all() if "idx" in make.__name__ else (pixels == wanted).all()
    assert split.defend.labels.tolist() == LABELS[order].tolist()


@pytest.mark.parametrize("make", [jsonl, idx, rows_in_npz])
def test_a_folder_with_such_a_file_leads_to_it(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(ContentError, match="has no folder per class") as error:
        data.load(str(tmp_path))
    assert str(error.value).rsplit("--data ", 1)[1] == f"{path}."


def test_without_what_it_takes_no_command_is_proposed(tmp_path: Path) -> None:
    labels_of_idx(tmp_path).unlink()
    with pytest.raises(ContentError, match="the images or the labels alone; put both") as error:
        data.load(str(tmp_path / "t10k-images-idx3-ubyte"))
    assert "python" not in str(error.value)
    for text, keys in (
        ('{"image": "a.png", "text": "a cat"}', "the keys image, text"),
        ("[", "no"),
    ):
        (tmp_path / "set.jsonl").write_text(text)
        with pytest.raises(ContentError, match=f"columns path and label, .* has {keys}") as error:
            data.load(str(tmp_path / "set.jsonl"))
        assert "python" not in str(error.value)


def test_parts_in_folders_lead_to_one_that_is_read(tmp_path: Path) -> None:
    library, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for part in ("train", "validation"):
        (tmp_path / "my set" / part).mkdir(parents=True)
        pictures = [{"bytes": png(one), "path": None} for one in SQUARE]
        table = library.table({"image": pictures, "label": LABELS.tolist()})
        parquet.write_table(table, tmp_path / "my set" / part / "0000.parquet")
    (tmp_path / "my set" / "README.md").write_text("What it is.")
    with pytest.raises(ContentError, match=r"parts of a data set \(train, validation\)") as error:
        data.load(str(tmp_path / "my set"))
    named = shlex.split(str(error.value).rsplit("--data ", 1)[1].removesuffix("."))[0]
    assert named.endswith("validation")
    assert len(data.load(named).defend) == 15


def test_a_folder_of_several_sets_leads_to_the_parts_of_one(tmp_path: Path) -> None:
    parts_in_arrow(tmp_path)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(ContentError, match=r"lie in its folder test") as error:
        data.load(str(tmp_path))
    named = shlex.split(str(error.value).rsplit("--data ", 1)[1].removesuffix("."))[0]
    with pytest.raises(ContentError, match=r"data set in \.arrow files"):
        data.load(named)


def test_pictures_of_phones_become_pngs(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    image = pytest.importorskip("PIL.Image")
    heif.register_heif_opener()
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for row in range(8):
            picture = image.fromarray(np.kron(SQUARE[row], np.ones((8, 8, 1), np.uint8)))
            end = "png" if label == "a" and row % 2 else "HEIC"
            picture.save(
                tmp_path / "set" / label / f"{row}.{end}", "HEIF" if end == "HEIC" else None
            )
    with pytest.raises(ContentError, match=r"b \(8 \.heic\); pip install pillow-heif") as error:
        data.load(str(tmp_path / "set"))
    command = str(error.value).split("beside them with ")[1].split(", and move")[0]
    assert PHONES in command
    run(command, tmp_path)
    read = data.load(str(tmp_path / "set")).defend.intake
    assert read is not None
    assert (read.read, read.passed_over) == (16, {".heic": 12})


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ('{"file_name": "7.png"}', 1),
        ('{"label": "ape"}', 1),
        ('{"file_name": "7.png", "label": null}', 1),
        ('{"file_name": "7.png", "label": " "}', 1),
        ('{"file_name": "7.png", "label": ["ape"]}', 1),
        ("[]", 1),
        ("no JSON", 1),
        ("", 0),
    ],
)
@pytest.mark.parametrize("at", [0, 7])
def test_objects_without_a_label_are_named(line: str, lost: int, at: int, tmp_path: Path) -> None:
    path = jsonl(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:at], line, *lines[at:]]))
    says = rf"1 of 25 lines .* lack a path or a label \(file_name or label\), .* line {at + 1};"
    with pytest.raises(ContentError, match=says if lost else r"\.jsonl is not read; .* convert it"):
        data.load(str(path))
