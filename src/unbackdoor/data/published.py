"""CIFAR as it is published is not read where it lies; the sentence says how it is brought in."""

from __future__ import annotations

import re
from pathlib import Path

from unbackdoor.data import cifar, cifar100
from unbackdoor.errors import quoted

ARCHIVE = re.compile(r"cifar-(10|100)-(python|binary)\.(tar\.gz|tgz|tar)")
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


def published(path: Path) -> str | None:
    """Return the sentence about an archive, a folder or a batch of CIFAR, None about others."""
    if path.is_dir():
        return _folder(path, path)
    if found := ARCHIVE.fullmatch(path.name.lower()):
        return _sentence(path, f"cifar{found[1]}", path)
    batches = {name for layout in cifar.LAYOUTS for name in layout.files}
    if path.name in batches:
        return _folder(path, path.parent) or _part(path, "test_batch")
    return _folder(path, path.parent) if path.parent.name in cifar100.FOLDERS else None


def _folder(named: Path, folder: Path) -> str | None:
    """Return the sentence about a folder that holds all of CIFAR, or some of CIFAR-10."""
    for place in (folder, *(folder / layout.folder for layout in cifar.LAYOUTS)):
        if (layout := cifar.layout_of(place)) is not None:
            missing = [name for name in layout.files if not (place / name).is_file()]
            return _part(named, missing[0]) if missing else _sentence(named, "cifar10", folder)
    for place in (folder, *(folder / name for name in cifar100.FOLDERS)):
        for end in ("", ".bin"):
            if all((place / f"{part}{end}").is_file() for part in cifar100.PARTS):
                return _sentence(named, "cifar100", folder)
    return None


def _part(named: Path, missing: str) -> str:
    return (
        f"--data: {named} belongs to CIFAR-10 as it is published, and {missing} is not there; "
        f"fetch the whole with unbackdoor data get cifar10, and name cifar10."
    )


def _sentence(named: Path, name: str, source: Path) -> str:
    return (
        f"--data: {named} is {NAMES[name]} as it is published; bring it in with unbackdoor data "
        f"get {name} --from {quoted(source)}, and name {name}."
    )
