from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from cifar_layouts import (
    NAMES,
    PER_FILE,
    WRITERS,
    Files,
    Python2Pickler,
    random_files,
    write_python,
)
from unbackdoor.data import cifar
from unbackdoor.errors import ContentError


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_images(layout: str, files: Files, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path, files)
    train, test = cifar.read(tmp_path)
    assert (len(train), len(test)) == (5 * PER_FILE, PER_FILE)
    assert train.classes == test.classes == cifar.CLASSES
    pixels, labels = files["test_batch"]
    assert np.array_equal(test.pixels.reshape(PER_FILE, -1).numpy(), pixels)
    assert test.targets.tolist() == labels.tolist()
    pixels, labels = files["data_batch_4"]
    fourth = slice(3 * PER_FILE, 4 * PER_FILE)
    assert np.array_equal(train.pixels[fourth].reshape(PER_FILE, -1).numpy(), pixels)
    assert train.targets[fourth].tolist() == labels.tolist()


@pytest.mark.parametrize("layout", cifar.LAYOUTS, ids=lambda layout: layout.folder)
def test_a_batch_of_full_size_is_read_in_every_layout(layout: cifar.Layout, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (10_000, 3072), dtype=np.uint8)
    labels = draw.integers(0, 10, 10_000, dtype=np.uint8)
    WRITERS[layout.folder](tmp_path, {"test_batch": (pixels, labels)})
    read_pixels, read_labels = layout.read(tmp_path, "test_batch")
    assert np.array_equal(read_pixels, pixels)
    assert np.array_equal(read_labels, labels)


def test_the_pickles_of_these_tests_are_what_python_reads() -> None:
    pixels, labels = random_files(2500)["test_batch"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy moved the module that old pickles name
        batch = pickle.loads(Python2Pickler().batch(pixels, labels), encoding="bytes")
    assert list(batch) == [b"batch_label", b"labels", b"data", b"filenames"]
    assert np.array_equal(batch[b"data"], pixels)
    assert batch[b"labels"] == labels.tolist()
    assert len(batch[b"filenames"]) == 2500


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_with_a_payload_is_never_executed(
    protocol: int, files: Files, tmp_path: Path
) -> None:
    folder, trap = tmp_path / "data", tmp_path / "executed"
    folder.mkdir()
    write_python(folder, files)
    (folder / "test_batch").write_bytes(pickle.dumps(Payload(trap), protocol))
    with pytest.raises(ContentError, match="damaged"):
        cifar.read(folder)
    assert not trap.exists()
    pickle.loads((folder / "test_batch").read_bytes())
    assert trap.exists()  # the payload does work where it is let


def test_a_payload_around_a_whole_batch_is_never_executed(files: Files, tmp_path: Path) -> None:
    folder, trap = tmp_path / "data", tmp_path / "executed"
    folder.mkdir()
    write_python(folder, files)
    payload = pickle.dumps(Payload(trap), 2)[2:-1] + b"0"
    batch = (folder / "test_batch").read_bytes()
    (folder / "test_batch").write_bytes(batch[:2] + payload + batch[2:])
    assert len(cifar.read(folder)[1]) == PER_FILE
    assert not trap.exists()


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("damage", ["empty", "half", "text", "missing"])
def test_a_damaged_batch_is_refused(layout: str, damage: str, files: Files, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path, files)
    victim = next(path for path in tmp_path.iterdir() if path.stem == "data_batch_2")
    content = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
    else:
        new = {"empty": b"", "half": content[: len(content) // 2], "text": b"hello\n"}
        victim.write_bytes(new[damage])
    with pytest.raises(ContentError, match="missing or damaged"):
        cifar.read(tmp_path)


@pytest.mark.parametrize("layout", WRITERS)
def test_one_other_pixel_is_noticed(layout: str, files: Files, tmp_path: Path) -> None:
    files["data_batch_5"][0][7, 7] ^= 1
    WRITERS[layout](tmp_path, files)
    with pytest.raises(ContentError, match="train images are not CIFAR-10's"):
        cifar.read(tmp_path)


@pytest.mark.parametrize("labels", ["{}", "[", "[300]", '["x"]', "null", "[" * 100_000])
def test_damaged_sprite_labels_are_refused(labels: str, files: Files, tmp_path: Path) -> None:
    WRITERS["package"](tmp_path, files)
    (tmp_path / "test_lables.json").write_text(labels)
    with pytest.raises(ContentError):
        cifar.read(tmp_path)


def test_a_folder_of_something_else_lists_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=r"test_batch, test_batch\.bin, test_batch\.png"):
        cifar.read(tmp_path)


@pytest.mark.skipif("UNBACKDOOR_TEST_CIFAR10" not in os.environ, reason="opt-in: needs the data")
def test_the_published_images_survive_every_layout(tmp_path: Path) -> None:
    train, test = cifar.read(Path(os.environ["UNBACKDOOR_TEST_CIFAR10"]))
    parts = [*train.pixels.split(10_000), test.pixels]
    labels = [*train.labels.split(10_000), test.labels]
    files = {
        name: (part.reshape(10_000, -1).numpy(), label.numpy().astype(np.uint8))
        for name, part, label in zip(NAMES, parts, labels, strict=True)
    }
    for layout, write in WRITERS.items():
        (tmp_path / layout).mkdir()
        write(tmp_path / layout, files)
        assert cifar.read(tmp_path / layout)[0].sha256 == cifar.TRAIN_SHA256
