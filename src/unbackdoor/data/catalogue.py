"""From what a user writes after ``--data`` to images."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from unbackdoor.data import arrays, cifar, cifar100, folder, sample, shards, tables
from unbackdoor.data.images import Images, Split
from unbackdoor.errors import ArgumentError, ContentError

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
    if spec == "cifar10-sample":
        return sample.read().resized(size)
    if published := PUBLISHED.get(spec):
        return Split(*published()[1].divide(CIFAR_DEFEND_SHARE)).resized(size)
    return Split(*_users(spec, size, absent).divide(FOLDER_DEFEND_SHARE))


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
    ".csv": tables.read_csv,
    ".tsv": tables.read_csv,
    ".parquet": tables.read_parquet,
    ".tar": shards.read,
}
"""Files that hold pictures with labels, by the end of their names."""

_TENSORS = (
    "import sys, torch, numpy; d = torch.load(sys.argv[1], weights_only=True); "
    "d = list(d.values() if isinstance(d, dict) else d); d.sort(key=lambda t: -t.ndim); "
    "numpy.savez(sys.argv[2], x=d[0], y=d[1])"
)
OTHERS = {
    ".pt": (f"python -c {shlex.quote(_TENSORS)} {{old}} {{new}}", ".npz"),
    ".pth": (f"python -c {shlex.quote(_TENSORS)} {{old}} {{new}}", ".npz"),
    ".tgz": ("gunzip -c {old} > {new}", ".tar"),
    ".gz": ("gunzip -c {old} > {new}", ".tar"),
    ".zip": ("python -m zipfile -e {old} {new}", ""),
}
"""Files that are not read: how their names end → the command that converts them, and to what."""


def _users(spec: str, size: int | None, absent: bool) -> Images:
    """Read the folder or file that a user named."""
    path = Path(spec)
    if path.is_dir():
        return folder.read(path, size, absent=absent)
    suffix = path.suffix.lower()
    if path.is_file() and (read := FILES.get(suffix)):
        return read(path, size)
    if path.is_file() and suffix in OTHERS:
        command, made = OTHERS[suffix]
        new = shlex.quote(str(path.with_name(path.name.partition(".")[0] + f"-converted{made}")))
        typed = command.format(old=shlex.quote(spec), new=new)
        raise ContentError(
            f"--data: {suffix} is not read; where you trust the file, convert it with {typed}, and "
            f"name {new}."
        )
    raise ArgumentError(
        f"--data: {spec!r} is neither a data set (cifar10-sample, {', '.join(PUBLISHED)}), nor "
        f"a folder, nor one of {', '.join(FILES)}; name one of these or a folder with a folder of "
        f"pictures per class."
    )
