"""ONNX files as bytes: what they consist of is known before any of it is parsed (onnx.proto)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LARGEST_STRUCTURE = 8 << 20
"""Bytes of all that is not a weight: parsed, they take up to a hundred times as many."""
PARTS = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor"},
    "tensor": {},
}
"""Fields that lead to weights, by the kind of message."""
EVERY_PART = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
}
"""The same, also in graphs that are not run, down to where their data lie."""
WEIGHTS = {4, 5, 7, 9, 10, 11}
"""Fields of a tensor that hold numbers: float, int32, int64, raw, double, uint64."""

Content = memoryview | mmap.mmap
Field = tuple[int, bool, int, int, int]
"""Its number, whether it has a length, and where it begins, its value begins and it ends."""


def structure(content: Content) -> int:
    """Return how many bytes of a model are not weights; not all of them where it is too many."""
    count = 0
    for own in _structure(content, "model", 0, len(content)):
        count += own
        if count > LARGEST_STRUCTURE:
            break
    return count


def data_of(path: Path) -> list[Path]:
    """Return the files beside an ONNX file in which it says that its numbers lie.

    Of a damaged file, or one that is too large to be read, those that are found before.
    """
    if path.suffix != ".onnx":
        return []
    found: dict[str, None] = {}
    with suppress(OSError, ValueError, RecursionError):  # said when it is loaded
        if not path.is_file():
            return []
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            if structure(whole) <= LARGEST_STRUCTURE:
                for location in _locations(whole, "model", 0, len(whole)):
                    found[location] = None
    return [path.parent / location for location in found]


def _structure(content: Content, kind: str, at: int, end: int) -> Iterator[int]:
    """Yield the bytes that are not weights, message by message.

    A length that points behind the end stops the count: the parser says so in its own words.
    """
    own = 0
    for number, long, began, body, after in _fields(content, at, end):
        inner = PARTS[kind].get(number) if long else None
        if inner:
            yield from _structure(content, inner, body, after)
            own += 32
        elif long and kind == "tensor" and number in WEIGHTS:
            own += body - began
        else:
            own += after - began
        if own > LARGEST_STRUCTURE:
            break
    yield own


def _locations(content: Content, kind: str, at: int, end: int) -> Iterator[str]:
    """Yield the names of files with numbers in them."""
    for number, long, _, body, after in _fields(content, at, end):
        inner = EVERY_PART[kind].get(number) if long else None
        if inner == "entry":
            fields = _fields(content, body, after)
            entry = {key: bytes(content[start:stop]) for key, _, _, start, stop in fields}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif inner:
            yield from _locations(content, inner, body, after)


def _fields(content: Content, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message.

    Raises:
        ValueError: a number has no end, or there is a field that no message has.

    """
    while at < end:
        began = at
        key, at = _varint(content, at, end)
        wire = key & 7
        if not key >> 3:
            raise ValueError("a field of no number")
        body = at
        if wire == 2:
            length, body = _varint(content, at, end)
            at = min(body + length, end)
        else:
            at = _varint(content, at, end)[1] if wire == 0 else at + (8 if wire == 1 else 4)
        yield key >> 3, wire == 2, began, body, at


def _varint(content: Content, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
