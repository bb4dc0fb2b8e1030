"""Which files a data set is read from, or would be if they were there: no result becomes one."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from unbackdoor.data.catalogue import FILES, PUBLISHED, SHARDS, store
from unbackdoor.data.hidden import is_hidden
from unbackdoor.data.parts import expanded
from unbackdoor.data.tables import LARGEST_TABLE, TABLES
from unbackdoor.errors import ContentError
from unbackdoor.runtime.pictures import OTHER_SUFFIXES, SUFFIXES

READ = SUFFIXES | OTHER_SUFFIXES | {*FILES, *SHARDS}
"""How names of files of data end."""


def reads(spec: str, path: Path) -> bool:
    """Return whether a data set is read from a file, or would be if there were one of that name.

    In a folder, the folders inside it are the data, and files by the ends of their names; a
    ``scan.json`` beside them is none. Beside a file, others of its kind are (its labels, other
    parts), and the pictures that a table names.

    Args:
        spec: what was written after ``--data``.
        path: of the other file.

    Raises:
        OSError: a path cannot be resolved.

    """
    if not spec.strip():
        return False
    place = path.resolve()
    suffix = place.suffix.lower()
    if spec in PUBLISHED:
        return place.is_relative_to(store().resolve())
    named = Path(spec)
    if named.is_dir():
        home = named.resolve()
        inside = place.relative_to(home).parts if place.is_relative_to(home) else ()
        if len(inside) > 1:
            return not any(map(is_hidden, inside[:-1]))
        return len(inside) == 1 and suffix in READ
    return any(
        (place.parent == one.parent and suffix == one.suffix.lower())
        or (one.suffix.lower() in TABLES and _is_named(place, one))
        for one in _files(spec)
    )


def _files(spec: str) -> list[Path]:
    """Return the files that a text or a pattern names."""
    if Path(spec).is_file():
        return [Path(spec).resolve()]
    try:
        return [Path(found).resolve() for one in expanded(spec) for found in glob(one)]  # noqa: PTH207
    except ContentError:  # too many; the sentence comes when they are read
        return []


def _is_named(place: Path, table: Path) -> bool:
    """Return whether a table can name a file: it lies below it, and its name occurs there."""
    if not place.is_relative_to(table.parent) or table.stat().st_size > LARGEST_TABLE:
        return False
    name, content = place.name, table.read_bytes()
    return any(name.encode(code) in content for code in ("utf-8", "utf-16-le", "utf-16-be"))
