"""A folder with one folder of pictures per class, in alphabetical order of the folders' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unbackdoor.data.images import Images
from unbackdoor.errors import ContentError
from unbackdoor.runtime.pictures import as_square, read_rgb

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})
LARGEST_SURPRISE, MOST_GROWTH = 1 << 27, 200
"""Above ``LARGEST_SURPRISE`` bytes of pixels, files that unpack to more than ``MOST_GROWTH`` times
their size are refused."""


def read(folder: Path, size: int | None = None) -> Images:
    """Read every picture in ``folder/CLASS/`` as RGB; all must have one size, unless one is given.

    Other files, and names that start with a dot, are passed over.

    Raises:
        ContentError: no pictures, a file that is no picture or lies elsewhere, pictures of several
            sizes, or ones that unpack to far more than they are.

    """
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and _seen(path))
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in SUFFIXES and _seen(path)
    ]
    if not files:
        raise ContentError(
            f"--data: {folder} has no pictures; expected a folder per class with files such as "
            f"{folder.name}/cat/0001.png ({', '.join(sorted(SUFFIXES))})."
        )
    pictures = _decoded([path for path, _ in files], folder, size)
    sizes = {picture.shape[:2] for picture in pictures}
    if len(sizes) > 1:
        (small, large) = min(sizes), max(sizes)
        raise ContentError(
            f"--data: expected pictures of one size in {folder}, came sizes from "
            f"{small[1]}×{small[0]} to {large[1]}×{large[0]}; say --size."
        )
    pixels = torch.as_tensor(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([label for _, label in files])
    return Images.of(_text(folder.name), tuple(map(_text, classes)), pixels, labels)


def _text(name: str) -> str:
    """Return a name in which bytes that are no text, which a result cannot hold, are replaced."""
    return name.encode("utf-8", "replace").decode()


def _decoded(files: list[Path], folder: Path, size: int | None) -> list[NDArray[np.uint8]]:
    """Return the pictures, unless a link leaves the folder or they grow as no photographs do."""
    home = folder.resolve()
    pictures: list[NDArray[np.uint8]] = []
    stored = decoded = 0
    for path in files:
        if not path.resolve().is_relative_to(home):
            raise ContentError(
                f"--data: {path} is a link out of its folder; copy the folder with cp -rL."
            )
        picture = read_rgb(path, "--data")
        pictures.append(picture if size is None else as_square(picture, size))
        stored += path.stat().st_size
        decoded += pictures[-1].nbytes
        if decoded > max(LARGEST_SURPRISE, MOST_GROWTH * stored):
            raise ContentError(
                f"--data: files of {stored:,} bytes in {folder} unpack to more than "
                f"{LARGEST_SURPRISE >> 20} MiB, as no photographs do; remove them."
            )
    return pictures


def _seen(path: Path) -> bool:
    return not path.name.startswith(".")
