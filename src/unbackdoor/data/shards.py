"""Tars of pictures, such as the shards of WebDataset; nothing is unpacked to disk."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from unbackdoor.data.gather import Encoded, gather, listed, readable
from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, labelled
from unbackdoor.data.parts import Parts
from unbackdoor.errors import ContentError, brief, printable
from unbackdoor.runtime.pictures import MOST_BYTES, SUFFIXES, Allowance

MOST_MEMBERS = 1 << 16
LONGEST_LABEL = 256
LABEL, STATED = ".cls", ".json"
UNREADABLE = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, EOFError)


@dataclass
class _Found:
    """What lies in the tars of a data set."""

    pictures: dict[tuple[int, PurePosixPath], tuple[tarfile.TarFile, tarfile.TarInfo]] = field(
        default_factory=dict[tuple[int, PurePosixPath], tuple[tarfile.TarFile, tarfile.TarInfo]]
    )
    labels: dict[tuple[int, str], str] = field(default_factory=dict[tuple[int, str], str])
    passed: Counter[str] = field(default_factory=Counter[str])
    members: int = 0


def read(parts: Parts, size: int | None) -> Images:
    """Read pictures and labels: ``NAME.jpg`` with ``NAME.cls`` or ``NAME.json``, or class folders.

    Raises:
        ContentError: they have no pictures with labels, or cannot be read.

    """
    allowance, found = Allowance(), _Found(passed=Counter(parts.passed_over))
    with ExitStack() as opened:
        for number, path in enumerate(parts.files):
            with readable(path, allowance, "fetch or pack it anew", errors=UNREADABLE):
                allowance.read(allowance.store(path))
                tar = opened.enter_context(tarfile.open(path, "r:"))
                _look(number, path, tar, found)
        with readable(parts.files[0], allowance, "fetch or pack it anew", errors=UNREADABLE):
            return _images(parts, found, size, allowance)


def _look(number: int, path: Path, tar: tarfile.TarFile, found: _Found) -> None:
    """Note the pictures and labels of one tar."""
    stated: dict[tuple[int, str], str] = {}
    for member in tar:
        found.members += 1
        if found.members > MOST_MEMBERS:
            raise ContentError(
                f"--data: {path} has more than {MOST_MEMBERS:,} members, or those before it; take "
                f"fewer."
            )
        name = PurePosixPath(member.name)
        if member.isdir():
            continue
        if any(map(is_hidden, name.parts)):
            found.passed[HIDDEN] += 1
        elif not member.isreg() or member.issparse():
            found.passed["no file"] += 1
        elif name.suffix.lower() == LABEL:
            text = _content(tar, member)[:LONGEST_LABEL].decode("utf-8", "replace")
            found.labels[number, _key(name)] = text.strip()
        elif name.suffix.lower() == STATED:
            label = _stated(_content(tar, member))
            if label is None:
                found.passed[STATED] += 1
            else:
                stated[number, _key(name)] = label
        elif name.suffix.lower() in SUFFIXES:
            found.pictures[number, name] = (tar, member)
        else:
            found.passed[name.suffix.lower() or "no suffix"] += 1
    found.labels = {**stated, **found.labels}


def _stated(content: bytes) -> str | None:
    """Return the label that an object of JSON states, None where it states none."""
    with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        fields = msgspec.json.decode(content, type=dict[str, Any])
        for name in LABELS:
            label = fields.get(name)
            if isinstance(label, str | int) and not isinstance(label, bool):
                return str(label)[:LONGEST_LABEL]
    return None


def _images(parts: Parts, found: _Found, size: int | None, allowance: Allowance) -> Images:
    if not found.pictures:
        raise ContentError(
            f"--data: {parts.what} has no pictures; expected members such as 0001.jpg and "
            f"0001.cls, or cat/0001.jpg."
        )
    given = {
        (number, name): found.labels.get((number, _key(name)), "")
        if found.labels
        else name.parent.name
        for number, name in found.pictures
    }
    alone = [str(name) for (_, name), label in given.items() if not label]
    if alone:
        raise ContentError(
            f"--data: {len(alone):,} of {len(given):,} pictures in {parts.what} have no label: "
            f"{listed([*map(printable, alone)])}; add NAME.cls for each, or remove them."
        )
    targets, classes = labelled([*given.values()], parts.what)
    encoded = [
        Encoded(name=printable(str(name)), label=label, open=partial(_opened, *member))
        for ((_, name), member), label in zip(found.pictures.items(), targets, strict=True)
    ]
    return gather(
        encoded,
        classes,
        name=parts.name,
        what=parts.what,
        size=size,
        allowance=allowance,
        passed_over=found.passed,
    )


def _key(name: PurePosixPath) -> str:
    """Return what the files of one sample share: everything up to the first dot of the name."""
    return str(name.parent / name.name.partition(".")[0])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MOST_BYTES:
        raise OSError(f"{member.size:,} bytes; at most {MOST_BYTES:,} are read")
    try:
        file = tar.extractfile(member)
        return b"" if file is None else file.read()
    except tarfile.TarError as error:
        raise OSError(brief(error)) from error


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BytesIO:
    return io.BytesIO(_content(tar, member))
