"""CIFAR-100 comes out the same from every layout, in an order of its own, or not at all."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar_layouts import Bytes, Python2Pickler
from unbackdoor import data
from unbackdoor.data import cifar100, fetch
from unbackdoor.data.cifar100 import CLASSES, PARTS
from unbackdoor.errors import ArgumentError, ContentError

Parts = dict[str, tuple[Bytes, Bytes]]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Small parts with every class twice that pass for CIFAR-100; the store is empty."""
    draw = np.random.default_rng(0)
    labels = np.arange(200, dtype=np.uint8) % 100
    made = {part: (draw.integers(0, 256, (200, 3072), np.uint8), labels) for part in PARTS}
    monkeypatch.setattr(cifar100, "_COUNTS", dict.fromkeys(PARTS, 200))
    monkeypatch.setattr(cifar100, "SHA256", {part: digest(*made[part]) for part in PARTS})
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path / "store"))
    return made


def digest(pixels: Bytes, labels: Bytes) -> str:
    ordered, classes = cifar100._in_order(pixels, labels)
    return hashlib.sha256(ordered.tobytes() + classes.astype("<i4").tobytes()).hexdigest()


def write_python(folder: Path, parts: Parts) -> None:
    for part, (pixels, labels) in parts.items():
        maker = Python2Pickler()
        fine, coarse = (
            maker.listed([b"K" + bytes([label]) for label in some]) for some in (labels, labels % 7)
        )
        content = maker.string(b"coarse_labels") + coarse + maker.string(b"fine_labels") + fine
        content += maker.string(b"data") + maker.array(pixels)
        (folder / part).write_bytes(b"\x80\x02}" + maker.put() + b"(" + content + b"u.")


def write_binary(folder: Path, parts: Parts) -> None:
    for part, (pixels, labels) in parts.items():
        columns = [labels[:, None] % 7, labels[:, None], pixels]
        (folder / f"{part}.bin").write_bytes(np.hstack(columns).tobytes())


def write_pictures(folder: Path, parts: Parts) -> None:
    for part, (pixels, labels) in parts.items():
        for at, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            place = folder / part / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            picture = image.reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(picture).save(place / f"{997 * at % 200:03}.png")


WRITERS = {"cifar-100-python": write_python, "cifar-100-binary": write_binary}


@pytest.mark.parametrize("write", [*WRITERS.values(), write_pictures])
def test_every_layout_gives_the_same_images(write: object, parts: Parts, tmp_path: Path) -> None:
    assert callable(write)
    (tmp_path / "from").mkdir()
    write(tmp_path / "from", parts)
    path = fetch.get("cifar100", archive=tmp_path / "from")
    assert [entry.name for entry in path.parent.iterdir()] == ["cifar100.npz"]
    split = data.load_training("cifar100")
    assert split.defend.sha256 == cifar100.SHA256["train"]
    assert (len(split.defend), len(split.defend.classes)) == (200, 100)
    clean = data.load("cifar100")
    assert len(clean.defend) + len(clean.evaluate) == 200
    first = split.evaluate.batch(torch.tensor([0])).mul(255).round().to(torch.uint8).flatten()
    row = np.flatnonzero((parts["test"][0] == first.numpy()).all(1))
    assert parts["test"][1][row] == int(split.evaluate.targets[0])


@pytest.mark.parametrize("layout", WRITERS)
def test_an_official_archive_is_read(layout: str, parts: Parts, tmp_path: Path) -> None:
    (tmp_path / layout).mkdir()
    WRITERS[layout](tmp_path / layout, parts)
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / layout, layout)
    path = fetch.get("cifar100", archive=tmp_path / "data.tar.gz")
    assert path == fetch.get("cifar100")  # it is there now
    assert [entry.name for entry in path.parent.iterdir()] == ["cifar100.npz"]


def test_what_is_wrong_is_said_and_leaves_nothing(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="data get cifar100 --from"):
        data.load("cifar100")
    with pytest.raises(ArgumentError, match="--from: cifar100 is not downloaded"):
        fetch.get("cifar100")
    source = tmp_path / "from"
    source.mkdir()
    with pytest.raises(ContentError, match="does not hold CIFAR-100"):
        fetch.get("cifar100", archive=source)
    write_binary(source, parts)
    (source / "test.bin").write_bytes((source / "test.bin").read_bytes()[:-3])
    with pytest.raises(ContentError, match="test of CIFAR-100 is damaged"):
        fetch.get("cifar100", archive=source)
    pixels, labels = parts["test"]
    write_binary(source, {"test": (pixels ^ 1, labels)})
    with pytest.raises(ContentError, match="are not CIFAR-100's"):
        fetch.get("cifar100", archive=source)
    (tmp_path / "no.tar").write_bytes(b"no archive")
    with pytest.raises(ContentError, match="not an archive of CIFAR-100"):
        fetch.get("cifar100", archive=tmp_path / "no.tar")
    assert [*(tmp_path / "store").iterdir()] == []


def test_a_damaged_file_in_the_store_is_noticed(parts: Parts, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "cifar100.npz").write_bytes(b"PK nothing")
    with pytest.raises(ContentError, match="damaged"):
        data.load("cifar100")
    with pytest.raises(ArgumentError, match="--from"):
        fetch.get("cifar100")
