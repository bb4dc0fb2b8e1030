"""Tars with a folder per class, as they are packed from a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import torch

from unbackdoor.data.beside import KINDS, other_classes
from unbackdoor.data.classes import (
    BESIDE,
    beside_pictures,
    class_folder,
    parts_among,
    repeated_in,
    shared_folder,
)
from unbackdoor.data.gather import Encoded
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import as_text
from unbackdoor.data.members import Found, Members, content_of
from unbackdoor.data.parts import NUMBER, Parts
from unbackdoor.data.tables import LARGEST_TABLE
from unbackdoor.errors import ContentError, few, printable, quoted
from unbackdoor.runtime.pictures import OTHER_SUFFIXES, SUFFIXES


def class_folders(parts: Parts, found: Found) -> tuple[Members, list[int], tuple[str, ...]]:
    """Return the pictures of class folders, in the order of a folder, their labels, the classes."""
    members = {**found.pictures, **found.others}
    shared = _shared(found.pictures or found.others)
    folders = {key: class_folder(key[1], shared[key[0]]) for key in members if key[0] in shared}
    names = sorted({name for name in folders.values() if name})
    if not names:
        check_labels(parts, found.pictures, [""] * len(found.pictures))
    if divided := parts_among(names):
        raise ContentError(told_parts(parts, shared[min(shared)], divided))
    if beside := _beside(parts, found, folders):
        raise ContentError(beside)
    if sentence := _repeated(parts, shared[min(shared)], folders):
        raise ContentError(sentence)
    aside = beside_pictures([key[1] for key in folders if folders[key]])
    for key in [key for key in folders if key[1] in aside]:
        found.passed[aside[key[1]]] += 1
        del folders[key], members[key]
    order = sorted((key for key in folders if folders[key]), key=lambda key: (folders[key], key))
    if len(order) < len(members):
        found.passed[BESIDE] += len(members) - len(order)
    inside = {key: members[key] for key in order}
    return inside, [names.index(folders[key]) for key in order], tuple(map(as_text, names))


def _repeated(
    parts: Parts, shared: PurePosixPath, folders: Mapping[tuple[int, PurePosixPath], str]
) -> str | None:
    """Return the sentence about folders that have the same folders in them; None about others."""
    inner: defaultdict[str, set[str]] = defaultdict(set)
    for (_, path), folder in folders.items():
        if folder:
            below = path.relative_to(shared).parts[1:-1] if path.is_relative_to(shared) else ()
            if not below and path.suffix.lower() in SUFFIXES:
                return None
            inner[folder].update(below[:1])
    if not (same := repeated_in(inner)):
        return None
    new = _unpacked(parts)
    return (
        f"--data: the folders of {parts.what} have the same folders in them "
        f"({few([*map(printable, same)])}); unpack it with {unpacking(parts, new)}; where those "
        f"are the classes, name one, such as --data {quoted(new / shared / min(inner))}; where the "
        f"outer ones are, name the folder of all, and say the index of each with --labels."
    )


def _beside(
    parts: Parts, found: Found, folders: Mapping[tuple[int, PurePosixPath], str]
) -> str | None:
    """Return the sentence about a table that says other classes than the folders beside it."""
    new = _unpacked(parts)
    tables = {
        str(new / key[1]): partial(content_of, *member)
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
        f"with {unpacking(parts, new)}, and name the table: --data {quoted(table)}; where the "
        f"folders do, pack them without the table."
    )


def _shared(members: Members) -> dict[int, PurePosixPath]:
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


def with_pictures(parts: Parts, images: Images, encoded: Sequence[Encoded]) -> Images:
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


def check_labels(parts: Parts, members: Members, given: Sequence[str]) -> None:
    """Raise where pictures have no label.

    Raises:
        ContentError: there are such pictures.

    """
    alone = [str(name) for (_, name), label in zip(members, given, strict=True) if not label]
    if alone:
        raise ContentError(
            f"--data: {len(alone):,} of {len(given):,} pictures in {parts.what} have no label: "
            f"{few([*map(printable, alone)])}; add NAME.cls for each, or remove them."
        )


def told_parts(
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
    new = _unpacked(parts)
    named, command = new / shared / one, unpacking(parts, new)
    if samples:
        tar = new.with_name(f"{new.name}-{one}.tar")
        command += f" && tar cf {quoted(tar)} -C {quoted(named)} ."
        named = tar
    return (
        f"--data: the folders of {parts.what} are parts of a data set ({', '.join(divided)}); "
        f"unpack it with {printable(command)}, and name one part that the network was not trained "
        f"on, such as --data {quoted(named)}."
    )


def _unpacked(parts: Parts) -> Path:
    """Return a folder to unpack tars into."""
    return parts.files[0].with_name(f"{parts.files[0].stem}-unpacked")


def unpacking(parts: Parts, new: Path, options: str = "") -> str:
    """Return the command that unpacks all tars into a new folder."""
    folder = quoted(new)
    tars = " ".join(quoted(path) for path in parts.files)
    if len(parts.files) == 1:
        return f"mkdir {folder} && tar xf {tars} -C {folder} {options}".rstrip()
    each = f'tar xf "$tar" -C {folder} {options}'.rstrip()
    return f"mkdir {folder} && for tar in {tars}; do {each}; done"
