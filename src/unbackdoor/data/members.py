"""What lies in the tars of a data set, member by member."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.data.labelling import LABELS
from unbackdoor.errors import ContentError, brief
from unbackdoor.runtime.pictures import MOST_BYTES, SUFFIXES

MOST_MEMBERS = 1 << 16
LONGEST_LABEL = 256
LABEL, STATED, TWICE = ".cls", ".json", "another of the same name"
UNREADABLE = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, EOFError)


Members = dict[tuple[int, PurePosixPath], tuple[tarfile.TarFile, tarfile.TarInfo]]
"""Files by the number of their tar and their path in it."""


@dataclass
class Found:
    """What lies in the tars of a data set.

    Args:
        pictures: files that have the name of a picture.
        others: files of which the name does not say what they are.
        labels: of samples, by the number of the tar and what the files of a sample share.
        passed: reason → number of files that are passed over.
        members: how many there are.

    """

    pictures: Members = field(default_factory=Members)
    others: Members = field(default_factory=Members)
    labels: dict[tuple[int, str], str] = field(default_factory=dict[tuple[int, str], str])
    passed: Counter[str] = field(default_factory=Counter[str])
    members: int = 0


def look(number: int, path: Path, tar: tarfile.TarFile, found: Found) -> None:
    """Note the pictures and labels of one tar."""
    stated: dict[tuple[int, str], str] = {}
    for member in tar:
        found.members += 1
        if found.members > MOST_MEMBERS:
            raise ContentError(
                f"--data: {path} has more than {MOST_MEMBERS:,} members, or those before it; take "
                f"fewer."
            )
        name = PurePosixPath(member.name.lstrip("/"))
        if member.isdir():
            continue
        if any(map(is_hidden, name.parts)):
            found.passed[HIDDEN] += 1
        elif not member.isreg() or member.issparse():
            found.passed["no file"] += 1
        elif name.suffix.lower() == LABEL:
            text = content_of(tar, member)[:LONGEST_LABEL].decode("utf-8", "replace")
            found.labels[number, sample_of(name)] = text.strip()
        elif name.suffix.lower() == STATED:
            label = _stated(content_of(tar, member))
            if label is None:
                found.passed[STATED] += 1
            else:
                stated[number, sample_of(name)] = label
        else:
            kept = found.pictures if name.suffix.lower() in SUFFIXES else found.others
            if (number, name) in kept:
                found.passed[TWICE] += 1
            kept[number, name] = (tar, member)
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


def sample_of(name: PurePosixPath) -> str:
    """Return what the files of one sample share: everything up to the first dot of the name."""
    return str(name.parent / name.name.partition(".")[0])


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of a member.

    Raises:
        OSError: it is too large for a picture, or damaged.

    """
    if member.size > MOST_BYTES:
        raise OSError(f"{member.size:,} bytes; at most {MOST_BYTES:,} are read")
    try:
        file = tar.extractfile(member)
        return b"" if file is None else file.read()
    except tarfile.TarError as error:
        raise OSError(brief(error)) from error


def open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BytesIO:
    """Return the content of a member as a file."""
    return io.BytesIO(content_of(tar, member))
