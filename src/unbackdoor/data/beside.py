"""Tables beside class folders: where one says other classes than the folders, none is guessed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from unbackdoor.data.classes import numbered_alike
from unbackdoor.data.conversions import LINES
from unbackdoor.data.labelling import composed
from unbackdoor.data.tables import TABLES, Table, table_of
from unbackdoor.errors import UnbackdoorError, few, printable

KINDS = (*TABLES, LINES)
"""How names of such tables end."""


def other_classes(
    folders: Mapping[str, Collection[str]], tables: Mapping[str, Callable[[], bytes]]
) -> tuple[str, str] | None:
    """Return which table seems to say the classes in place of the folders, and why; None for none.

    One does if it gives pictures of one folder several labels, or those of several folders one.
    Where no table says anything of the pictures, folders are no classes by names such as
    ``part_1`` and ``part_2``.

    Args:
        folders: name of each folder → names of the files in it.
        tables: path of each table beside them → what reads it.

    """
    agreed = False
    for path, content in tables.items():
        said = _said(folders, path, content)
        if why := _why(said):
            return path, f"have other classes than the table beside them: {why}"
        agreed = agreed or any(said.values())
    if tables and not agreed and numbered_alike(folders):
        told = few([*map(printable, folders)])
        return next(iter(tables)), f"are numbered pieces of one set ({told}) beside a table"
    return None


def _said(
    folders: Mapping[str, Collection[str]], path: str, content: Callable[[], bytes]
) -> dict[str, dict[str, None]]:
    """Return for each folder the labels that a table gives its pictures."""
    said: dict[str, dict[str, None]] = {name: {} for name in folders}
    if Path(path).suffix.lower() in TABLES:
        with suppress(UnbackdoorError):  # what is no table says nothing
            for folder, label in _labels(table_of(Path(path), content()), folders):
                said[folder][label] = None
    return said


def _why(said: Mapping[str, Collection[str]]) -> str:
    """Return why such labels are other classes than the folders; nothing where they are not."""
    own: dict[str, str] = {}
    for folder, labels in said.items():
        if len(labels) > 1:
            told = few([*map(printable, labels)])
            return f"it gives pictures of {printable(folder)} several labels ({told})"
        for label in labels:
            if (other := own.setdefault(label, folder)) != folder:
                return (
                    f"it gives pictures of {printable(other)} and of {printable(folder)} one label "
                    f"({printable(label)})"
                )
    return ""


def _labels(table: Table, folders: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Yield the folder and the label of each picture that a table names and one folder has."""
    known = {composed(name): name for name in folders}
    place: dict[str, str] = {}
    for folder, names in folders.items():
        for name in names:
            for key in {name, PurePosixPath(name).stem}:
                place[key] = folder if place.get(key, folder) == folder else ""
    for text, label in table.said():
        *above, name = text.replace("\\", "/").split("/")
        named = (known[composed(one)] for one in above if composed(one) in known)
        if folder := next(named, place.get(name)):
            yield folder, composed(label)
