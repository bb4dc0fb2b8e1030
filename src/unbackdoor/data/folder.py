"""A folder with one folder of pictures per class, in alphabetical order of the folders' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unbackdoor.data.images import Images
from unbackdoor.errors import ContentError
from unbackdoor.pictures import as_square, read_rgb

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})


def read(folder: Path, size: int | None = None) -> Images:
    """Read every picture in ``folder/CLASS/`` as RGB; all must have one size, unless one is given.

    Other files, and names that start with a dot, are passed over.

    Raises:
        ContentError: no pictures, a file that is no picture, or pictures of several sizes.

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
    pictures = [read_rgb(path, "--data") for path, _ in files]
    if size is not None:
        pictures = [as_square(picture, size) for picture in pictures]
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


def _seen(path: Path) -> bool:
    return not path.name.startswith(".")
