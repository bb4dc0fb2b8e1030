"""Tars of pictures, such as the shards of WebDataset; nothing is unpacked to disk."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import torch

from unbackdoor.data.classes import BESIDE, class_folder, parts_among, shared_folder
from unbackdoor.data.gather import Encoded, gather, listed, readable
from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, labelled
from unbackdoor.data.parts import Parts
from unbackdoor.errors import ContentError, brief, printable
from unbackdoor.runtime.pictures import MOST_BYTES, SUFFIXES, Allowance

MOST_MEMBERS = 1 << 16
LONGEST_LABEL = 256
LABEL, STATED, TWICE = ".cls", ".json", "another of the same name"
UNREADABLE = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, EOFError)


_Members = dict[tuple[int, PurePosixPath], tuple[tarfile.TarFile, tarfile.TarInfo]]
"""Files by the number of their tar and their path in it."""


@dataclass
class _Found:
    """What lies in the tars of a data set.

    Args:
        pictures: files that have the name of a picture.
        others: files of which the name does not say what they are.
        labels: of samples, by the number of the tar and what the files of a sample share.
        passed: reason → number of files that are passed over.
        members: how many there are.

    """

    pictures: _Members = field(default_factory=_Members)
    others: _Members = field(default_factory=_Members)
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
        name = PurePosixPath(member.name.lstrip("/"))
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


def _images(parts: Parts, found: _Found, size: int | None, allowance: Allowance) -> Images:
    if not found.pictures and (found.labels or not found.others):
        raise ContentError(
            f"--data: {parts.what} has no pictures; expected members such as 0001.jpg and "
            f"0001.cls, or cat/0001.jpg."
        )
    members, targets, classes = (_samples if found.labels else _folders)(parts, found)
    encoded = [
        Encoded(name=printable(str(name)), label=label, open=partial(_opened, *member))
        for ((_, name), member), label in zip(members.items(), targets, strict=True)
    ]
    images = gather(
        encoded,
        classes,
        name=parts.name,
        what=parts.what,
        size=size,
        allowance=allowance,
        passed_over=found.passed,
    )
    counts = torch.bincount(images.labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty and not found.labels:
        raise ContentError(
            f"--data: {len(empty):,} of the {len(classes):,} class folders in {parts.what} have no "
            f"picture that is read: {listed([*map(printable, empty)])}; save them in another "
            f"format, or leave out folders that are no class."
        )
    return images


def _samples(parts: Parts, found: _Found) -> tuple[_Members, list[int], tuple[str, ...]]:
    """Return the pictures of samples as WebDataset has them, their labels, and the classes."""
    for _, name in found.others:
        found.passed[name.suffix.lower() or "no suffix"] += 1
    samples: defaultdict[tuple[int, str], list[PurePosixPath]] = defaultdict(list)
    for number, name in found.pictures:
        samples[number, _key(name)].append(name)
    if several := [names for names in samples.values() if len(names) > 1]:
        raise ContentError(_several(parts, several))
    given = [found.labels.get((number, _key(name)), "") for number, name in found.pictures]
    _check_labels(parts, found.pictures, given)
    return (found.pictures, *labelled(given, parts.what))


def _folders(parts: Parts, found: _Found) -> tuple[_Members, list[int], tuple[str, ...]]:
    """Return the pictures of class folders, in the order of a folder, their labels, the classes."""
    members = {**found.pictures, **found.others}
    shared = shared_folder([name for _, name in found.pictures or found.others])
    folders = {key: class_folder(key[1], shared) for key in members}
    classes = tuple(sorted({name for name in folders.values() if name}))
    if not classes:
        _check_labels(parts, found.pictures, [""] * len(found.pictures))
    if divided := parts_among(classes):
        raise ContentError(_divided(parts, shared, divided))
    order = sorted((key for key in members if folders[key]), key=lambda key: (folders[key], key))
    inside = {key: members[key] for key in order}
    if len(inside) < len(members):
        found.passed[BESIDE] += len(members) - len(inside)
    return inside, [classes.index(folders[key]) for key in inside], classes


def _check_labels(parts: Parts, members: _Members, given: Sequence[str]) -> None:
    alone = [str(name) for (_, name), label in zip(members, given, strict=True) if not label]
    if alone:
        raise ContentError(
            f"--data: {len(alone):,} of {len(given):,} pictures in {parts.what} have no label: "
            f"{listed([*map(printable, alone)])}; add NAME.cls for each, or remove them."
        )


def _several(parts: Parts, several: Sequence[Sequence[PurePosixPath]]) -> str:
    """Return the sentence about samples with more than one picture, such as a mask."""
    first, *_, last = sorted(several[0], key=lambda name: (name.name.count("."), name.name))
    ending = last.name.partition(".")[2]
    old, new = parts.files[0], parts.files[0].with_name(f"{parts.files[0].stem}-pictures")
    tar, folder, packed = (shlex.quote(str(one)) for one in (old, new, f"{new}.tar"))
    command = (
        f"mkdir {folder} && tar xf {tar} -C {folder} --exclude={shlex.quote(f'*.{ending}')} && tar "
        f"cf {packed} -C {folder} ."
    )
    return (
        f"--data: {len(several):,} samples in {parts.what} have several pictures, such as "
        f"{printable(str(first))} and {printable(str(last))}, and one label; leave the one that "
        f"the network takes, such as with {printable(command)}, and name {printable(packed)}."
    )


def _divided(parts: Parts, shared: PurePosixPath, divided: Sequence[str]) -> str:
    """Return the sentence about folders that are parts of a data set."""
    one = min(divided, key=lambda name: name.lower().startswith("train"))
    new = parts.files[0].with_name(f"{parts.files[0].stem}-unpacked")
    tar, folder = (shlex.quote(str(path)) for path in (parts.files[0], new))
    command = f"mkdir {folder} && tar xf {tar} -C {folder}"
    return (
        f"--data: the folders of {parts.what} are parts of a data set ({', '.join(divided)}); "
        f"unpack it with {printable(command)}, and name one part that the network was not trained "
        f"on, such as --data {printable(shlex.quote(str(new / shared / one)))}."
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
