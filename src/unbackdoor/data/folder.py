"""A folder with one folder of pictures per class, in alphabetical order of the folders' names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import torch

from unbackdoor.data.arranging import copied, saved_otherwise
from unbackdoor.data.classes import BESIDE, beside_pictures
from unbackdoor.data.gather import Encoded, gather
from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import as_text, composed
from unbackdoor.data.layout import no_classes
from unbackdoor.errors import ContentError, few, quoted
from unbackdoor.runtime.pictures import FORMATS, SUFFIXES, Allowance


def read(folder: Path, size: int | None = None, *, absent: bool = False) -> Images:
    """Read every picture in ``folder/CLASS/`` and below as RGB, whatever its name.

    Files that are no pictures, hidden ones and files beside the classes are passed over and
    counted.

    Args:
        folder: with a folder per class.
        size: side of the squares that pictures become; all have to have one size when left out.
        absent: whether classes may be without pictures.

    Raises:
        ContentError: no pictures, a class without any, damaged pictures, links out of the folder,
            pictures of several sizes, or ones that unpack to far more than they are.

    """
    top = sorted(folder.iterdir())
    classes = [path.name for path in top if path.is_dir() and not is_hidden(path.name)]
    passed = Counter(
        HIDDEN if is_hidden(path.name) else BESIDE for path in top if path.name not in classes
    )
    _check_names(folder, classes)
    if not absent and (sentence := no_classes(folder, classes)):
        raise ContentError(sentence)
    allowance, pictures = Allowance(), list[Encoded]()
    files: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for label, name in enumerate(classes):
        found = list(_files(folder / name, folder))
        aside = beside_pictures([path.relative_to(folder / name) for path in found])
        for path in found:
            if reason := _reason(path) or aside.get(path.relative_to(folder / name)):
                passed[reason] += 1
                continue
            files[label][path.suffix.lower() or "no suffix"] += 1
            shown = path.relative_to(folder).as_posix()
            opens = partial(_open, path, allowance)
            pictures.append(Encoded(name=shown, label=label, open=opens))
    images = gather(
        pictures,
        tuple(map(as_text, classes)),
        name=as_text(folder.name),
        what=str(folder),
        size=size,
        allowance=allowance,
        passed_over=passed,
    )
    if not len(images):
        raise ContentError(
            f"--data: {folder} has no pictures; expected a folder per class with files such as "
            f"{folder.name}/cat/0001.png ({', '.join(FORMATS)})."
        )
    counts = torch.bincount(images.labels, minlength=len(classes))
    empty = [label for label in range(len(classes)) if not counts[label]]
    if empty and not absent:
        raise ContentError(_empty(folder, classes, {label: files[label] for label in empty}))
    return images


def _files(top: Path, folder: Path) -> Iterator[Path]:
    """Return the files of a class in order, also those in folders inside it.

    Raises:
        ContentError: one is a link that leads out of ``folder``, or to a folder.

    """
    home = folder.resolve()
    if not top.resolve().is_relative_to(home):
        raise ContentError(_link(top, folder))
    below, found = [top], list[Path]()
    while below:
        for path in below.pop().iterdir():
            if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(home)):
                raise ContentError(_link(path, folder))
            (below if path.is_dir() and not is_hidden(path.name) else found).append(path)
    yield from sorted(found)


def _link(path: Path, folder: Path) -> str:
    if path.parent.resolve().is_relative_to(path.resolve()):
        return f"--data: {path} is a link to a folder that it lies in; remove it."
    return f"--data: {path} is a link out of its folder, or to a folder; {copied(folder)}."


def _reason(path: Path) -> str | None:
    """Return why a file is passed over without a look at its content, None if it is not."""
    if is_hidden(path.name):
        return HIDDEN
    return None if path.is_file() or path.suffix.lower() in SUFFIXES else "no file"


def _open(path: Path, allowance: Allowance) -> BinaryIO:
    if not path.is_file():
        raise OSError("no regular file")
    allowance.store(path)
    return path.open("rb")


def _check_names(folder: Path, classes: Sequence[str]) -> None:
    """Raise where two folders have one name.

    Raises:
        ContentError: they do.

    """
    seen: dict[str, str] = {}
    for name in classes:
        if (other := seen.setdefault(composed(name), name)) != name:
            raise ContentError(
                f"--data: two folders of {folder} have one name, {name!r}, in two forms of "
                f"Unicode; put their pictures into one ({other!a} or {name!a})."
            )


def _empty(folder: Path, classes: Sequence[str], files: Mapping[int, Counter[str]]) -> str:
    told = [f"{classes[label]} ({_told(found)})" for label, found in files.items()]
    suffixes = {suffix for found in files.values() for suffix in found}
    remedy = f"{saved_otherwise(suffixes, quoted(folder))}, or " if suffixes else ""
    return (
        f"--data: {len(told)} of the {len(classes)} class folders in {folder} "
        f"{'have' if len(told) > 1 else 'has'} no picture that is read: "
        f"{few(told)}; {remedy}remove a folder that is no class, or say the index of each class "
        f"with --labels, which lets classes be without pictures."
    )


def _told(found: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in found.most_common(3)) or "empty"
