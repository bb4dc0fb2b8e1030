"""Folders of pictures that are not read as they are, and the command that arranges them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from unbackdoor.data.conversions import ARROW_FILE, CONVERSIONS, LINES
from unbackdoor.data.hidden import is_hidden
from unbackdoor.errors import printable, quoted
from unbackdoor.runtime.pictures import FORMATS, SUFFIXES

SORTED = (
    "import sys, re, shutil, pathlib; "
    "[(d.mkdir(parents=True, exist_ok=True), shutil.copy(f, d)) "
    "for f in pathlib.Path(sys.argv[1]).iterdir() "
    'for d in [pathlib.Path(sys.argv[2], re.split(r"[_.-]?[0-9]", f.name)[0])] '
    'if f.is_file() and not f.name.startswith(".")]'
)
"""Copies pictures of one folder into a folder per class, which their names begin with."""

HEIC = frozenset({".heic", ".heif"})
PHONES = (
    "import sys, pathlib, pillow_heif; from PIL import Image, ImageOps; "
    "pillow_heif.register_heif_opener(); "
    '[ImageOps.exif_transpose(Image.open(f)).convert("RGB").save(f.with_name(f.name + ".png")) '
    'for f in pathlib.Path(sys.argv[1]).rglob("*") if f.suffix.lower() in (".heic", ".heif")]'
)
"""Writes a PNG beside each picture as phones make them."""


def _beside(folder: Path, end: str) -> str:
    """Return a name beside a folder, also where that is the working folder (``.``)."""
    return f"{folder if folder.name not in {'', '..'} else folder.resolve()}{end}"


def copied(folder: Path) -> str:
    """Return how a folder is copied with the files that its links lead to, part of a sentence."""
    new = _beside(folder, "-copied")
    old, new = (quoted(one) for one in (folder, new))
    return f"copy the files themselves with cp -rL {old} {new}, and name {new}"


def saved_otherwise(suffixes: Collection[str], folder: str) -> str:
    """Return how pictures become ones that are read, as the middle of a sentence.

    Args:
        suffixes: of the pictures.
        folder: that holds them, as it is typed.

    """
    if HEIC.isdisjoint(suffixes):
        return f"save them in one of {', '.join(FORMATS)}"
    return (
        f"pip install pillow-heif, write PNGs beside them with python -c {quoted(PHONES)} "
        f"{folder}, and move the old ones elsewhere"
    )


def _saved_to_disk(folder: Path) -> str:
    """Return the sentence about a data set as ``save_to_disk`` of Hugging Face leaves it."""
    known = CONVERSIONS[ARROW_FILE]
    old, new = (quoted(one) for one in (str(folder), _beside(folder, "-converted.parquet")))
    return (
        f"--data: {folder} holds a data set in .arrow files, which are not read; pip install "
        f"{known.needs}, and convert it with {known.command.format(old=old, new=new)}, "
        f"and name {new}."
    )


def without_classes(folder: Path, read: Collection[str]) -> str | None:
    """Return the sentence about a folder that has no folders in it, but files that could be meant.

    Args:
        folder: that was named.
        read: how names of files end that are read.

    """
    shown = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    if any(path.is_dir() for path in shown):
        return None
    endings = (*read, *CONVERSIONS, LINES)
    meant = [path for path in shown if path.name.lower().endswith(endings)]
    arrow = [path.name for path in meant if path.suffix.lower() == ARROW_FILE]
    if arrow and all(name.startswith("data-") for name in arrow):
        return _saved_to_disk(folder)
    meant.sort(key=lambda path: ("label" in path.name, path.name))
    if meant:
        return (
            f"--data: {folder} has no folder per class, but files such as "
            f"{printable(meant[0].name)}; name the file, such as --data "
            f"{quoted(meant[0])}."
        )
    count = sum(path.suffix.lower() in SUFFIXES for path in shown)
    if not count:
        return None
    old, new = (quoted(f"{folder}{end}") for end in ("", "-by-class"))
    return (
        f"--data: {folder} has {count:,} pictures and no folder per class; where their names begin "
        f"with the class (cat_1.png), copy them into such folders with python -c "
        f"{quoted(SORTED)} {old} {new}, and name {new}."
    )
