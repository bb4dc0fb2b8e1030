"""A tar of pictures, such as a shard of WebDataset; nothing is unpacked to disk."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

from unbackdoor.data.gather import Encoded, gather, listed, readable
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import labelled
from unbackdoor.errors import ContentError, brief, printable
from unbackdoor.runtime.pictures import MOST_BYTES, SUFFIXES, Allowance

MOST_MEMBERS = 1 << 16
LONGEST_LABEL = 256
LABEL = ".cls"
UNREADABLE = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, EOFError)


def read(path: Path, size: int | None) -> Images:
    """Read pictures and labels: ``NAME.jpg`` and ``NAME.cls``, or a folder per class.

    Raises:
        ContentError: it has no pictures with labels, or cannot be read.

    """
    allowance = Allowance()
    with readable(path, allowance, "fetch or pack it anew", errors=UNREADABLE):
        allowance.read(allowance.store(path))
        with tarfile.open(path, "r:") as tar:
            return _images(path, tar, size, allowance)


def _images(path: Path, tar: tarfile.TarFile, size: int | None, allowance: Allowance) -> Images:
    pictures: dict[PurePosixPath, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    passed: Counter[str] = Counter()
    for number, member in enumerate(tar):
        if number >= MOST_MEMBERS:
            raise ContentError(
                f"--data: {path} has more than {MOST_MEMBERS:,} members; take one with fewer."
            )
        name = PurePosixPath(member.name)
        if member.isdir():
            continue
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            passed["hidden"] += 1
        elif not member.isreg() or member.issparse():
            passed["no file"] += 1
        elif name.suffix.lower() == LABEL:
            labels[_key(name)] = _content(tar, member)[:LONGEST_LABEL].decode("utf-8", "replace")
        else:
            pictures[name] = member
    wanted = {name: member for name, member in pictures.items() if _wanted(name, passed)}
    if not wanted:
        raise ContentError(
            f"--data: {path} has no pictures; expected members such as 0001.jpg and 0001.cls, or "
            f"cat/0001.jpg."
        )
    alone = [str(name) for name in wanted if labels and _key(name) not in labels]
    if alone:
        raise ContentError(
            f"--data: {len(alone):,} of {len(wanted):,} pictures in {path} have no label: "
            f"{listed([*map(printable, alone)])}; add NAME.cls for each, or remove them."
        )
    given = [labels[_key(name)].strip() if labels else name.parent.name for name in wanted]
    targets, classes = labelled(given, str(path))
    encoded = [
        Encoded(name=printable(str(name)), label=label, open=partial(_opened, tar, member))
        for (name, member), label in zip(wanted.items(), targets, strict=True)
    ]
    return gather(
        encoded,
        classes,
        name=printable(path.stem),
        what=str(path),
        size=size,
        allowance=allowance,
        passed_over=passed,
    )


def _key(name: PurePosixPath) -> str:
    """Return what the files of one sample share: everything up to the first dot of the name."""
    return str(name.parent / name.name.partition(".")[0])


def _wanted(name: PurePosixPath, passed: Counter[str]) -> bool:
    """Return whether a member is a picture by its name; count it where it is not."""
    if name.suffix.lower() in SUFFIXES:
        return True
    passed[name.suffix.lower() or "no suffix"] += 1
    return False


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
