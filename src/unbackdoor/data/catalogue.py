"""From what a user writes after ``--data`` to images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from unbackdoor.data import arrays, cifar, cifar100, folder, lists, parquet, sample, shards
from unbackdoor.data.arranging import without_classes
from unbackdoor.data.conversions import conversion
from unbackdoor.data.images import Images, Split
from unbackdoor.data.parts import Parts, of_file, of_folder, of_pattern
from unbackdoor.data.published import published
from unbackdoor.data.tables import TABLES
from unbackdoor.errors import ArgumentError, ContentError, printable

CIFAR_DEFEND_SHARE = 8_000 / 10_000
FOLDER_DEFEND_SHARE = 5 / 8


def store() -> Path:
    """Return the folder of fetched data sets: ``$UNBACKDOOR_DATA``, or ``~/.cache/unbackdoor``."""
    return Path(os.environ.get("UNBACKDOOR_DATA") or Path.home() / ".cache" / "unbackdoor")


def load(spec: str, size: int | None = None, *, absent: bool = False) -> Split:
    """Return clean images to scan and repair with, and others to measure on.

    Args:
        spec: ``cifar10-sample`` (embedded; 2,500 and 1,500 images), ``cifar10`` or ``cifar100``
            (the test set; 8,000 and 2,000), or a folder with a folder of pictures per class or a
            file of ``FILES`` (5/8 and 3/8 of each class).
        size: side of the squares that the images become; as they are when left out.
        absent: whether a folder may have classes without pictures.

    Raises:
        ArgumentError: neither a known name nor a folder nor such a file.
        ContentError: what is there cannot be used.

    """
    if not spec.strip():  # such as a variable of a script that is not set
        raise ArgumentError(
            "--data: expected the name of a data set, a folder or a file, came an empty text; name "
            "one, such as cifar10-sample, or the working folder by a dot."
        )
    if spec == "cifar10-sample":
        return sample.read().resized(size)
    if published := PUBLISHED.get(spec):
        return Split(*published()[1].divide(CIFAR_DEFEND_SHARE)).resized(size)
    images = _users(spec, size, absent)
    if not len(images):
        raise ContentError(f"--data: {spec} has no pictures; name another set.")
    if len(images.classes) == 1 and not absent:
        raise ContentError(
            f"--data: {spec} has pictures of one class alone ({printable(images.classes[0])}); "
            f"expected at least two, such as a folder for each."
        )
    return Split(*images.divide(FOLDER_DEFEND_SHARE))


def load_training(spec: str) -> Split:
    """Return images to train on and others to measure on; as published for CIFAR.

    Raises:
        ArgumentError: neither a known name nor a folder nor such a file.
        ContentError: what is there cannot be used.

    """
    published = PUBLISHED.get(spec)
    return Split(*published()) if published else load(spec)


def _cifar10() -> tuple[Images, Images]:
    path = store() / "cifar10"
    if not path.is_dir():
        raise ArgumentError(
            f"--data: cifar10 is not at {path}; fetch it with 'unbackdoor data get cifar10', or "
            f"use the embedded cifar10-sample."
        )
    return cifar.read(path)


def _cifar100() -> tuple[Images, Images]:
    path = store() / "cifar100.npz"
    if not path.is_file():
        raise ArgumentError(
            f"--data: cifar100 is not at {path}; bring it there with 'unbackdoor data get cifar100 "
            f"--from ARCHIVE_OR_FOLDER'."
        )
    return cifar100.read(path)


PUBLISHED: dict[str, Callable[[], tuple[Images, Images]]] = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
}
"""Data sets with a training and a test set of their own."""


FILES: dict[str, Callable[[Path, int | None], Images]] = {
    ".npz": arrays.read_npz,
    ".npy": arrays.read_npy,
    **dict.fromkeys(TABLES, lists.read_csv),
}
"""Files that hold pictures with labels, by the end of their names."""
SHARDS: dict[str, Callable[[Parts, int | None], Images]] = {
    ".parquet": parquet.read_parquet,
    ".tar": shards.read,
}
"""Files of which several together may be one data set."""


def _users(spec: str, size: int | None, absent: bool) -> Images:
    """Read the folder or files that a user named."""
    path = Path(spec)
    if path.exists() and (sentence := published(path)):
        raise ContentError(sentence)
    if path.is_dir():
        if parts := of_folder(path, SHARDS):
            return _read(parts, size)
        if sentence := without_classes(path, FILES):
            raise ContentError(sentence)
        return folder.read(path, size, absent=absent)
    if not path.is_file() and (parts := of_pattern(spec)):
        return _read(parts, size)
    if path.is_file() and path.suffix.lower() in SHARDS:
        return _read(of_file(path), size)
    if path.is_file() and (read := FILES.get(path.suffix.lower())):
        return read(path, size)
    if path.is_file() and (sentence := conversion(path)):
        raise ContentError(sentence)
    if path.is_file():
        raise ContentError(
            f"--data: {spec} is a file of a kind that is not read ({path.suffix or 'no suffix'}); "
            f"expected one of {', '.join((*FILES, *SHARDS))}, such as a table with the columns "
            f"path and label (.csv), or a folder with a folder of pictures per class."
        )
    raise ArgumentError(
        f"--data: {spec!r} is neither a data set (cifar10-sample, {', '.join(PUBLISHED)}), nor "
        f"a folder, nor one of {', '.join((*FILES, *SHARDS))}; name one of these or a folder with "
        f"a folder of pictures per class."
    )


def _read(parts: Parts, size: int | None) -> Images:
    """Read a data set in one or several files."""
    suffix = parts.files[0].suffix.lower()
    if suffix not in SHARDS:
        raise ArgumentError(
            f"--data: {parts.what} names files of {suffix or 'no kind'}; several together are read "
            f"where they are of {' or '.join(SHARDS)}, so name one."
        )
    return SHARDS[suffix](parts, size)
