"""Arrays of pictures and labels: ``.npz``, and ``.npy`` beside another; no pickle is ever read."""

from __future__ import annotations

import math
import re
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from unbackdoor.data.choosing import chosen
from unbackdoor.data.gather import readable
from unbackdoor.data.images import Images
from unbackdoor.data.intake import Intake
from unbackdoor.data.labelling import NAMES, as_text, composed, is_number, labelled
from unbackdoor.data.room import MOST_KEPT, check_room
from unbackdoor.errors import ContentError, few, printable
from unbackdoor.runtime.pictures import Allowance
from unbackdoor.runtime.ranges import MOST_BEYOND, Spread, as_bytes, beyond, white_of

WORDS = (
    *(("x", "y"), ("X", "y"), ("X", "Y"), ("images", "labels"), ("data", "labels")),
    *(("images", "targets"), ("data", "targets")),
)
"""Of the names of two files beside each other: the word for pictures, and the one for labels."""
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, KeyError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OverflowError),
    tokenize.TokenError,
)
"""What damaged files raise, RuntimeError where they are encrypted."""
ANEW = "save the arrays anew with np.savez"
AT_ONCE, MOST_MEMBERS = 1024, 64


@dataclass(frozen=True)
class _Header:
    """What an array declares."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(path: Path, size: int | None) -> Images:
    """Read the pictures and labels of an archive of ``np.savez``.

    Raises:
        ContentError: it has no two arrays that are pictures and labels, or cannot be read.

    """
    allowance = Allowance()
    with readable(path, allowance, ANEW, errors=UNREADABLE), ExitStack() as files:
        allowance.read(allowance.store(path))
        archive = files.enter_context(zipfile.ZipFile(path))
        opened: dict[str, BinaryIO] = {}
        for name in archive.namelist()[:MOST_MEMBERS]:
            if name.endswith(".npy"):
                file = cast("BinaryIO", files.enter_context(archive.open(name)))
                opened[name.removesuffix(".npy")] = file
        return _images(path, opened, size, allowance)


def read_npy(path: Path, size: int | None) -> Images:
    """Read pictures from one file of ``np.save`` and their labels from another beside it.

    The name of the other differs in one word: ``y`` for ``x``, ``labels`` for ``images`` or
    ``data``.

    Raises:
        ContentError: there is no such other, or one cannot be read.

    """
    other = next((found for found in _beside(path) if found.is_file()), None)
    if other is None:
        wanted = [found.name for found in _beside(path)] or [f"{path.stem}_y.npy"]
        raise ContentError(
            f"--data: the labels of {path} are not beside it; save them as {wanted[0]}"
            f"{'' if _beside(path) else f' and the pictures as {path.stem}_x.npy'}."
        )
    allowance = Allowance()
    with readable(path, allowance, ANEW, errors=UNREADABLE), ExitStack() as files:
        opened: dict[str, BinaryIO] = {}
        for name, one in (("x", path), ("y", other)):
            allowance.store(one)
            opened[name] = files.enter_context(one.open("rb"))
        return _images(path, opened, size, allowance)


def _beside(path: Path) -> list[Path]:
    """Return where the labels of the pictures in ``path`` could lie."""
    found: list[Path] = []
    for pictures, labels in WORDS:
        word = re.compile(rf"(?<![a-zA-Z0-9]){pictures}(?![a-zA-Z0-9])")
        if word.search(path.stem):
            found.append(path.with_name(word.sub(labels, path.stem) + path.suffix))
    return found


def _images(
    path: Path, opened: Mapping[str, BinaryIO], size: int | None, allowance: Allowance
) -> Images:
    headers = {name: _header(file, path, name) for name, file in opened.items()}
    first, second = chosen(path, {name: header.shape for name, header in headers.items()})
    values = _array(opened[first], headers[first], allowance)
    labels = _array(opened[second], headers[second], allowance)
    names: list[str] = []
    if stated := _names_of_classes(headers, headers[first].shape[0]):
        given = _array(opened[stated], headers[stated], allowance).tolist()
        names = [as_text(one) for one in given]
        labels = _by_name(labels, names, f"{stated} of {path}")
    targets, classes = labelled(labels, str(path), names)
    left = {
        printable(name): header.shape[0]
        for name, header in headers.items()
        if name != first and len(header.shape) > 2
    }
    pixels, read = _pixels(values, path, left)
    images = Images.of(
        printable(path.stem), classes, torch.from_numpy(pixels), torch.tensor(targets), read
    )
    return images.resized(size)


def _names_of_classes(headers: Mapping[str, _Header], count: int) -> str | None:
    """Return which array names the classes; one as long as the pictures names the pictures."""
    for name in NAMES:
        header = headers.get(name)
        if header and header.dtype.kind in "US" and len(header.shape) == 1:
            return name if header.shape[0] < count else None
    return None


def _by_name(labels: NDArray[Any], names: Sequence[str], what: str) -> NDArray[Any]:
    """Return labels that are names as the indices that the archive states; others as they are.

    Args:
        labels: ``(N,)`` or ``(N, 1)`` where they are names.
        names: of the classes, by index.
        what: the array of these, in sentences.

    Raises:
        ContentError: some labels are no names of classes.

    """
    if labels.dtype.kind not in "US":
        return labels
    index = {composed(name): at for at, name in enumerate(names)}
    texts = [as_text(label) for label in labels.reshape(-1).tolist()]
    several = Counter(map(composed, names))
    if twice := sorted({text for text in texts if several[composed(text)] > 1}):
        raise ContentError(
            f"--data: {few([*map(printable, twice)])} are labels and the names of several classes "
            f"in {what}; give each class another name, or save the index of each label."
        )
    unknown = sorted({text for text in texts if composed(text) not in index})
    if not unknown:
        return np.array([index[composed(text)] for text in texts]).reshape(labels.shape)
    if all(map(is_number, texts)):
        return labels
    raise ContentError(
        f"--data: {few([*map(printable, unknown)])} are labels and not in {what} "
        f"({few([*map(printable, names)])}); save the name of every class there, in the order "
        f"of their indices, or save the archive without it."
    )


def _header(file: BinaryIO, path: Path, name: str) -> _Header:
    version = npy.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"version {version} of the format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    header = _Header(*read(file))
    if header.dtype.hasobject or header.dtype.names:
        raise ContentError(
            f"--data: {printable(name)} of {path} holds Python objects, which could execute code, "
            f"so it was not read; save plain arrays of numbers."
        )
    return header


def _array(file: BinaryIO, header: _Header, allowance: Allowance) -> NDArray[Any]:
    if header.size > MOST_KEPT:
        raise ValueError(f"an array of {header.size:,} bytes, at most {MOST_KEPT:,} are read")
    allowance.decode(header.size)
    content = file.read(header.size)
    if len(content) != header.size:
        raise ValueError(f"it declares {header.size:,} bytes and has {len(content):,}")
    flat = np.frombuffer(content, header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def _pixels(
    values: NDArray[Any], path: Path, left: Mapping[str, int]
) -> tuple[NDArray[np.uint8], Intake]:
    """Return pictures as uint8 ``(N, 3, height, width)``, and how they were read."""
    values = values[..., None] if values.ndim == 3 else values
    first, last = values.shape[1], values.shape[-1]
    if last in {1, 3} or (last == 4 and first not in {1, 3}):
        values = values.transpose(0, 3, 1, 2)
    if values.shape[1] not in {1, 3, 4} or 0 in values.shape:
        raise ContentError(
            f"--data: expected pictures of shape (N, height, width, 3) or (N, 3, height, width) in "
            f"{path}, came {values.shape}; reshape them."
        )
    if values.dtype.kind not in "buif":
        raise ContentError(f"--data: expected numbers in {path}, came {values.dtype}; save those.")
    alpha = values[:, 3] if values.shape[1] == 4 else None
    values = values[:, :3] if alpha is not None else values
    count, _, height, width = values.shape
    deep = values.nbytes if values.itemsize > 1 else 0
    check_room((count, height, width, 3), str(path), deep, "")
    white, clipped = 255.0, np.zeros(count, bool)
    if values.dtype != np.uint8 or values.max() == 1:  # bytes of 0 and 1 are masks, or from bits
        white, clipped = _range(values, path)
    see_through = 0
    if alpha is not None:
        opaque = 1 if alpha.max() <= 1 else white
        see_through = int((alpha < opaque).any(axis=(1, 2)).sum())
    pixels = np.empty((count, 3, height, width), np.uint8)
    for at in range(0, count, AT_ONCE):
        pixels[at : at + AT_ONCE] = as_bytes(values[at : at + AT_ONCE], white)
    read = Intake(
        read=count,
        passed_over=dict(left),
        transparent=see_through,
        scaled=count if white != 255 else 0,
        white=white,
        clipped=int(clipped.sum()),
    )
    return pixels, read


def _range(values: NDArray[Any], path: Path) -> tuple[float, NDArray[np.bool_]]:
    """Return the value that is white, and for each picture whether some lie beyond that range.

    Args:
        values: ``(N, channels, height, width)``.
        path: where they come from.

    Raises:
        ContentError: they are no numbers, or of an unknown range.

    """
    unusable = ~np.isfinite(values)
    if unusable.any():
        told = unusable.reshape(len(values), -1).any(axis=1)
        raise ContentError(
            f"--data: {int(unusable.sum()):,} values of {int(told.sum()):,} of {len(values):,} "
            f"pictures in {path} are NaN or infinite, the first in picture {int(told.argmax())}; "
            f"remove these pictures and their labels, or mend their values."
        )
    try:
        return _fitted(values)
    except ValueError as error:
        raise ContentError(
            f"--data: {path} has pictures with {error}; save them in 0 to 1 or 0 to 255, before "
            f"they are normalised."
        ) from error


def _fitted(values: NDArray[Any]) -> tuple[float, NDArray[np.bool_]]:
    spread = Spread.of(values)
    white = white_of(spread)
    if not spread.exceeds(white):
        return white, np.zeros(len(values), bool)
    outside = beyond(values, white)
    if (share := float(outside.mean())) > MOST_BEYOND:
        raise ValueError(f"{share:.0%} of their values outside 0 to {white:g}")
    return white, np.asarray(outside.reshape(len(values), -1).any(axis=1))
