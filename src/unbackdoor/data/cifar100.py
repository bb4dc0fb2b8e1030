"""CIFAR-100 as published, from any of three layouts, accepted by the hash of the decoded arrays.

The layouts: the official archive for Python (`train` and `test`, pickles that are never executed),
the official binary archive (`train.bin` and `test.bin`) and a folder of pictures for each class in
`train/` and `test/`. They hold the same images in different orders, so the order here is one that
the images decide themselves, by the SHA-256 of each. Source of the data: Krizhevsky, *Learning
Multiple Layers of Features from Tiny Images*, 2009.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unbackdoor.data import cifar, folder
from unbackdoor.data.images import Images
from unbackdoor.errors import ContentError, UnbackdoorError
from unbackdoor.runtime.files import written_aside

_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(_NAMES.split())
"""The fine labels; their official order is the alphabetical one."""
PARTS = ("train", "test")
FOLDERS = ("cifar-100-python", "cifar-100-binary")
FILES = (*PARTS, *(f"{part}.bin" for part in PARTS))
SHA256 = {
    "train": "995dfff90d52a80802c29640b8a62b37832e07596ec1d64830386e176d843d45",
    "test": "83b92ee48af35b2cc72dc0f0aac7b7db8a3321f9a5cf56ba1413353f4e8cbed8",
}
_COUNTS, _PIXELS = {"train": 50_000, "test": 10_000}, 3 * 32 * 32

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Pixels ``(N, 3072)`` and fine labels ``(N,)``."""


def read(path: Path) -> tuple[Images, Images]:
    """Return the 50,000 training and the 10,000 test images that :func:`write` kept.

    Raises:
        ContentError: the file is damaged, or the arrays are not CIFAR-100's.

    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {part: (file[f"{part}_pixels"], file[f"{part}_labels"]) for part in PARTS}
    except (*cifar.UNREADABLE, zipfile.BadZipFile) as error:
        raise ContentError(
            f"{path} is damaged ({error}); bring it again with 'unbackdoor data get cifar100'."
        ) from error
    return _checked(arrays["train"], "train", path), _checked(arrays["test"], "test", path)


def write(images: tuple[Images, Images], path: Path) -> None:
    """Keep both parts in one file, which appears whole or not at all."""
    content: dict[str, NDArray[np.uint8]] = {}
    for part, some in zip(PARTS, images, strict=True):
        content[f"{part}_pixels"] = some.pixels.numpy().reshape(-1, _PIXELS)
        content[f"{part}_labels"] = some.labels.numpy().astype(np.uint8)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)


def read_published(source: Path) -> tuple[Images, Images]:
    """Return the training and the test images of a folder in one of the three layouts.

    Raises:
        ContentError: no known layout, or the decoded arrays are not CIFAR-100's.

    """
    for candidate in (source, *(source / name for name in FOLDERS)):
        for holds, reader in LAYOUTS:
            if all(holds(candidate, part) for part in PARTS):
                train, test = (_read_part(reader, candidate, part) for part in PARTS)
                return train, test
    raise ContentError(
        f"{source} does not hold CIFAR-100: expected {', '.join(FILES)}, or folders train and test "
        f"with a folder of pictures for each class."
    )


def _read_part(reader: Callable[[Path, str], Arrays], source: Path, part: str) -> Images:
    try:
        arrays = reader(source, part)
    except (*cifar.UNREADABLE, UnbackdoorError) as error:
        raise ContentError(f"{source}: {part} of CIFAR-100 is damaged ({error}).") from error
    return _checked(_in_order(*arrays), part, source)


def _in_order(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Arrays:
    digests = [
        hashlib.sha256(image.tobytes() + bytes([label])).digest()
        for image, label in zip(pixels, labels, strict=True)
    ]
    order = sorted(range(len(labels)), key=digests.__getitem__)
    return pixels[order], labels[order]


def _checked(arrays: Arrays, part: str, source: Path) -> Images:
    pixels, labels = (torch.as_tensor(array) for array in arrays)
    images = Images.of(f"cifar100/{part}", CLASSES, pixels.reshape(-1, 3, 32, 32), labels.long())
    if images.sha256 != SHA256[part]:
        raise ContentError(
            f"{source}: the {part} images are not CIFAR-100's (SHA-256 of the decoded arrays is "
            f"{images.sha256[:16]}…, expected {SHA256[part][:16]}…); take another copy."
        )
    return images


def _from_python_archive(source: Path, part: str) -> Arrays:
    return cifar.unpickled(source / part, "fine_labels", _COUNTS[part])


def _from_binary_archive(source: Path, part: str) -> Arrays:
    records = np.fromfile(source / f"{part}.bin", dtype=np.uint8)
    records = records.reshape(_COUNTS[part], 2 + _PIXELS)  # coarse label, fine label, pixels
    return records[:, 2:], records[:, 1]


def _from_pictures(source: Path, part: str) -> Arrays:
    images = folder.read(source / part)
    if images.classes != CLASSES:
        raise ValueError(f"the folders of {part} are not its classes")
    return images.pixels.numpy().reshape(-1, _PIXELS), images.labels.numpy().astype(np.uint8)


LAYOUTS: tuple[tuple[Callable[[Path, str], bool], Callable[[Path, str], Arrays]], ...] = (
    (lambda source, part: (source / part).is_file(), _from_python_archive),
    (lambda source, part: (source / f"{part}.bin").is_file(), _from_binary_archive),
    (lambda source, part: (source / part).is_dir(), _from_pictures),
)
"""(folder, ``train`` or ``test``) → whether it is there in this layout, and its arrays."""
