"""Tars of pictures, such as the shards of WebDataset; nothing is unpacked to disk."""

from __future__ import annotations

import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath

from unbackdoor.data.classes import BESIDES, class_folder, parts_among, shared_folder
from unbackdoor.data.conversions import compressed
from unbackdoor.data.gather import Encoded, gather, readable
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import labelled
from unbackdoor.data.members import UNREADABLE, Found, Members, look, open_member, sample_of
from unbackdoor.data.packed import (
    check_labels,
    class_folders,
    told_parts,
    unpacking,
    with_pictures,
)
from unbackdoor.data.parts import Parts
from unbackdoor.errors import ContentError, printable, quoted
from unbackdoor.runtime.pictures import Allowance


def read(parts: Parts, size: int | None) -> Images:
    """Read pictures and labels: ``NAME.jpg`` with ``NAME.cls`` or ``NAME.json``, or class folders.

    Raises:
        ContentError: they have no pictures with labels, or cannot be read.

    """
    allowance, found = Allowance(), Found(passed=Counter(parts.passed_over))
    with ExitStack() as opened:
        for number, path in enumerate(parts.files):
            with readable(path, allowance, "fetch or pack it anew", errors=UNREADABLE):
                if sentence := compressed(path):
                    raise ContentError(sentence)
                allowance.read(allowance.store(path))
                tar = opened.enter_context(tarfile.open(path, "r:"))
                look(number, path, tar, found)
        with readable(parts.files[0], allowance, "fetch or pack it anew", errors=UNREADABLE):
            return _images(parts, found, size, allowance)


def _images(parts: Parts, found: Found, size: int | None, allowance: Allowance) -> Images:
    if not found.pictures and (found.labels or not found.others):
        raise ContentError(_no_pictures(parts))
    members, targets, classes = (_samples if found.labels else class_folders)(parts, found)
    encoded = [
        Encoded(name=printable(str(name)), label=label, open=partial(open_member, *member))
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
    return images if found.labels else with_pictures(parts, images, encoded)


def _no_pictures(parts: Parts) -> str:
    return (
        f"--data: {parts.what} has no pictures; expected members such as 0001.jpg and 0001.cls, or "
        f"cat/0001.jpg."
    )


def _samples(parts: Parts, found: Found) -> tuple[Members, list[int], tuple[str, ...]]:
    """Return the pictures of samples as WebDataset has them, their labels, and the classes."""
    for _, name in found.others:
        found.passed[name.suffix.lower() or "no suffix"] += 1
    shared = shared_folder([name for _, name in found.pictures])
    folders = sorted({class_folder(name, shared) for _, name in found.pictures} - {""})
    if divided := parts_among(folders):
        raise ContentError(told_parts(parts, shared, divided, samples=True))
    samples: defaultdict[tuple[int, str], list[PurePosixPath]] = defaultdict(list)
    for number, name in found.pictures:
        samples[number, sample_of(name)].append(name)
    if several := [names for names in samples.values() if len(names) > 1]:
        raise ContentError(_several(parts, several))
    given = [found.labels.get((number, sample_of(name)), "") for number, name in found.pictures]
    check_labels(parts, found.pictures, given)
    return (found.pictures, *labelled(given, parts.what))


def _several(parts: Parts, several: Sequence[Sequence[PurePosixPath]]) -> str:
    """Return the sentence about samples with more than one picture, such as a mask."""
    endings = {name.name.partition(".")[2] for names in several for name in names}
    beside = {ending for ending in endings if set(re.findall("[a-z]+", ending.lower())) & BESIDES}
    plain = min(endings - beside or endings, key=lambda ending: (ending.count("."), ending))
    left = " ".join(f"--exclude={quoted(f'*.{one}')}" for one in sorted(endings - {plain}))
    new = parts.files[0].with_name(f"{parts.files[0].stem}-pictures")
    folder, packed = (quoted(one) for one in (new, f"{new}.tar"))
    command = f"{unpacking(parts, new, left)} && tar cf {packed} -C {folder} ."
    return (
        f"--data: {len(several):,} samples in {parts.what} have several pictures "
        f"({printable(', '.join(sorted(endings)))}), and one label; leave the one that the network "
        f"takes, such as .{printable(plain)} with {printable(command)}, and name "
        f"{packed}."
    )
