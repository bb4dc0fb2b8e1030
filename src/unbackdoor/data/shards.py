"""Tars of pictures, such as the shards of WebDataset; nothing is unpacked to disk."""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import torch

from unbackdoor.data.beside import KINDS, other_classes
from unbackdoor.data.classes import BESIDE, BESIDES, class_folder, parts_among, shared_folder
from unbackdoor.data.conversions import compressed
from unbackdoor.data.gather import Encoded, gather, readable
from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, as_text, labelled
from unbackdoor.data.parts import NUMBER, Parts
from unbackdoor.data.tables import LARGEST_TABLE
from unbackdoor.errors import ContentError, brief, few, printable, quoted
from unbackdoor.runtime.pictures import MOST_BYTES, OTHER_SUFFIXES, SUFFIXES, Allowance

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
                if sentence := compressed(path):
                    raise ContentError(sentence)
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
        raise ContentError(_no_pictures(parts))
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
    if not len(images):
        raise ContentError(_no_pictures(parts))
    return images if found.labels else _with_pictures(parts, images, encoded)


def _no_pictures(parts: Parts) -> str:
    return (
        f"--data: {parts.what} has no pictures; expected members such as 0001.jpg and 0001.cls, or "
        f"cat/0001.jpg."
    )


def _with_pictures(parts: Parts, images: Images, encoded: Sequence[Encoded]) -> Images:
    """Return the images without the folders that hold no pictures, such as one of notes.

    Raises:
        ContentError: a folder holds pictures of a format that is not read, and no others.

    """
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    empty = {at for at, count in enumerate(counts) if not count}
    lost = {
        images.classes[one.label]
        for one in encoded
        if one.label in empty and PurePosixPath(one.name).suffix.lower() in OTHER_SUFFIXES
    }
    if lost:
        raise ContentError(
            f"--data: {len(lost):,} of the {len(images.classes):,} class folders in {parts.what} "
            f"have no picture that is read: {few([*map(printable, sorted(lost))])}; save them "
            f"in another format, or leave out folders that are no class."
        )
    kept = [at for at in range(len(images.classes)) if at not in empty]
    labels = torch.tensor([kept.index(int(label)) for label in images.labels])
    classes = tuple(images.classes[at] for at in kept)
    return Images.of(images.name, classes, images.pixels, labels, images.intake)


def _samples(parts: Parts, found: _Found) -> tuple[_Members, list[int], tuple[str, ...]]:
    """Return the pictures of samples as WebDataset has them, their labels, and the classes."""
    for _, name in found.others:
        found.passed[name.suffix.lower() or "no suffix"] += 1
    shared = shared_folder([name for _, name in found.pictures])
    folders = sorted({class_folder(name, shared) for _, name in found.pictures} - {""})
    if divided := parts_among(folders):
        raise ContentError(_divided(parts, shared, divided, samples=True))
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
    shared = _shared(found.pictures or found.others)
    folders = {key: class_folder(key[1], shared[key[0]]) for key in members if key[0] in shared}
    names = sorted({name for name in folders.values() if name})
    if not names:
        _check_labels(parts, found.pictures, [""] * len(found.pictures))
    if divided := parts_among(names):
        raise ContentError(_divided(parts, shared[min(shared)], divided))
    if beside := _beside(parts, found, folders):
        raise ContentError(beside)
    order = sorted((key for key in folders if folders[key]), key=lambda key: (folders[key], key))
    if len(order) < len(members):
        found.passed[BESIDE] += len(members) - len(order)
    inside = {key: members[key] for key in order}
    return inside, [names.index(folders[key]) for key in order], tuple(map(as_text, names))


def _beside(
    parts: Parts, found: _Found, folders: Mapping[tuple[int, PurePosixPath], str]
) -> str | None:
    """Return the sentence about a table that says other classes than the folders beside it."""
    new = parts.files[0].with_name(f"{parts.files[0].stem}-unpacked")
    tables = {
        str(new / key[1]): partial(_content, *member)
        for key, member in found.others.items()
        if key[1].suffix.lower() in KINDS
        and not folders.get(key)
        and member[1].size <= LARGEST_TABLE
    }
    files: defaultdict[str, list[str]] = defaultdict(list)
    for key, folder in folders.items():
        if folder and tables:
            files[folder].append(key[1].name)
    if (other := other_classes(files, tables)) is None:
        return None
    table, why = other
    return (
        f"--data: the folders of {parts.what} {why}; where the table says the classes, unpack it "
        f"with {_unpacked(parts, new)}, and name the table: --data {quoted(table)}; where the "
        f"folders do, pack them without the table."
    )


def _shared(members: _Members) -> dict[int, PurePosixPath]:
    """Return the folder of each tar in which its class folders lie.

    It is the same in all, unless each tar has one folder around the classes that is numbered as
    the tars are (``shard0``, ``shard1``).
    """
    of_tar: defaultdict[int, list[PurePosixPath]] = defaultdict(list)
    for number, name in members:
        of_tar[number].append(name)
    every = shared_folder([name for _, name in members])
    tops = {at: {class_folder(name, every) for name in names} for at, names in of_tar.items()}
    around = {next(iter(own)) for own in tops.values() if len(own) == 1}
    alike = len({NUMBER.sub("", name) for name in around}) == 1
    if len(tops) == len(around) > 1 and alike and "" not in around:
        return {at: shared_folder(names) for at, names in of_tar.items()}
    return dict.fromkeys(of_tar, every)


def _check_labels(parts: Parts, members: _Members, given: Sequence[str]) -> None:
    alone = [str(name) for (_, name), label in zip(members, given, strict=True) if not label]
    if alone:
        raise ContentError(
            f"--data: {len(alone):,} of {len(given):,} pictures in {parts.what} have no label: "
            f"{few([*map(printable, alone)])}; add NAME.cls for each, or remove them."
        )


def _several(parts: Parts, several: Sequence[Sequence[PurePosixPath]]) -> str:
    """Return the sentence about samples with more than one picture, such as a mask."""
    endings = {name.name.partition(".")[2] for names in several for name in names}
    beside = {ending for ending in endings if set(re.findall("[a-z]+", ending.lower())) & BESIDES}
    plain = min(endings - beside or endings, key=lambda ending: (ending.count("."), ending))
    left = " ".join(f"--exclude={quoted(f'*.{one}')}" for one in sorted(endings - {plain}))
    new = parts.files[0].with_name(f"{parts.files[0].stem}-pictures")
    folder, packed = (quoted(one) for one in (new, f"{new}.tar"))
    command = f"{_unpacked(parts, new, left)} && tar cf {packed} -C {folder} ."
    return (
        f"--data: {len(several):,} samples in {parts.what} have several pictures "
        f"({printable(', '.join(sorted(endings)))}), and one label; leave the one that the network "
        f"takes, such as .{printable(plain)} with {printable(command)}, and name "
        f"{packed}."
    )


def _divided(
    parts: Parts, shared: PurePosixPath, divided: Sequence[str], *, samples: bool = False
) -> str:
    """Return the sentence about folders that are parts of a data set.

    Args:
        parts: the tars.
        shared: the folder in them that the parts lie in.
        divided: the names of the parts.
        samples: whether labels lie beside the pictures, so that a part has to be a tar again.

    """
    one = min(divided, key=lambda name: name.lower().startswith("train"))
    new = parts.files[0].with_name(f"{parts.files[0].stem}-unpacked")
    named, command = new / shared / one, _unpacked(parts, new)
    if samples:
        tar = new.with_name(f"{new.name}-{one}.tar")
        command += f" && tar cf {quoted(tar)} -C {quoted(named)} ."
        named = tar
    return (
        f"--data: the folders of {parts.what} are parts of a data set ({', '.join(divided)}); "
        f"unpack it with {printable(command)}, and name one part that the network was not trained "
        f"on, such as --data {quoted(named)}."
    )


def _unpacked(parts: Parts, new: Path, options: str = "") -> str:
    """Return the command that unpacks all tars into a new folder."""
    folder = quoted(new)
    tars = " ".join(quoted(path) for path in parts.files)
    if len(parts.files) == 1:
        return f"mkdir {folder} && tar xf {tars} -C {folder} {options}".rstrip()
    each = f'tar xf "$tar" -C {folder} {options}'.rstrip()
    return f"mkdir {folder} && for tar in {tars}; do {each}; done"


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
