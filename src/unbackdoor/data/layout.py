"""Whether the folders in a folder are classes, before any picture is read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from unbackdoor.data.beside import KINDS, other_classes
from unbackdoor.data.classes import is_beside, part_of, parts_among, repeated_in
from unbackdoor.data.hidden import is_hidden
from unbackdoor.data.tables import LARGEST_TABLE, TABLES, read_table
from unbackdoor.errors import UnbackdoorError, few, printable, quoted
from unbackdoor.runtime.files import read_bytes
from unbackdoor.runtime.pictures import SUFFIXES


def no_classes(folder: Path, names: Sequence[str]) -> str | None:
    """Return the sentence about folders that are no classes, or need not be; None where they are.

    Args:
        folder: that they lie in.
        names: theirs.

    """
    if parts := parts_among(names):
        return _parts(folder, [folder / name for name in parts])
    if len(names) == 1:
        return _alone(folder, folder / names[0])
    return _beside(folder, names) or _repeated(folder, names)


def _parts(folder: Path, parts: Sequence[Path]) -> str:
    """Return the sentence about folders that are parts of a data set."""
    divided = sorted((part for part in parts if _is_divided(part)), key=_rank)
    tables = sorted((path for path in _tables(folder) if _is_list(path)), key=_rank)
    if divided and (not tables or _rank(divided[0]) <= _rank(tables[0])):
        remedy = (
            f"{'each' if len(divided) == len(parts) else 'some'} with a folder per class; name one "
            f"part that the network was not trained on, such as --data {quoted(divided[0])}"
        )
    elif tables:
        remedy = (
            f"with a table beside them; where it says the classes, name it: --data "
            f"{quoted(tables[0])}"
        )
    else:
        remedy = (
            "and no folder in them says a class; sort the pictures of one part into a folder per "
            "class, or name a table with the columns path and label (.csv)"
        )
    names = ", ".join(part.name for part in parts)
    return f"--data: the folders of {folder} are parts of a data set ({names}), {remedy}."


def _is_divided(part: Path) -> bool:
    """Return whether there is a folder per class in a part, and not what lies beside pictures."""
    return bool(_folders(part)) and not is_beside(part.name)


def _rank(part: Path) -> int:
    """Return how late a part or its table is proposed, by its name: last what one trains on."""
    trained = part.name.lower().startswith("train") or part_of(part.stem) == "train"
    return 2 if trained else 0 if part_of(part.stem) in {"test", "val"} else 1


def _is_list(path: Path) -> bool:
    """Return whether a table says where pictures lie and of which class they are."""
    if path.suffix.lower() not in TABLES:
        return True
    with suppress(UnbackdoorError):
        return next(read_table(path).said(), None) is not None
    return False


def _alone(folder: Path, only: Path) -> str | None:
    """Return what is meant where a folder has one folder in it; None where that is a class."""
    for place, where in ((folder, "beside it"), (only, "in it")):
        if tables := _tables(place):
            return (
                f"--data: {folder} has one folder, {only.name}, and a table {where}; where the "
                f"table says the classes, name it: --data {quoted(tables[0])}."
            )
    inner = only
    while len(below := _folders(inner)) == 1:
        inner = below[0]
    if below:
        return (
            f"--data: {folder} has one folder, {only.name}, which has others in it; name the one "
            f"that has a folder per class: --data {quoted(inner)}."
        )
    return None


def _beside(folder: Path, names: Sequence[str]) -> str | None:
    """Return the sentence about a table that says other classes than the folders beside it."""
    tables = {
        str(path): partial(read_bytes, path, "--data", LARGEST_TABLE)
        for path in _tables(folder)
        if path.is_file()
    }
    files = {name: [path.name for path in (folder / name).iterdir()] for name in names if tables}
    if (found := other_classes(files, tables)) is None:
        return None
    table, why = found
    return (
        f"--data: the folders of {folder} {why}; where the table says the classes, name it: --data "
        f"{quoted(table)}; where the folders do, move the table elsewhere, or say the index of "
        f"each with --labels."
    )


def _repeated(folder: Path, names: Sequence[str]) -> str | None:
    """Return the sentence about folders that have the same folders in them; None about others."""
    inner: dict[str, list[str]] = {}
    for name in names:
        shown = [path for path in (folder / name).iterdir() if not is_hidden(path.name)]
        if any(path.suffix.lower() in SUFFIXES for path in shown):
            return None
        inner[name] = [path.name for path in shown if path.is_dir()]
    if not (same := repeated_in(inner)):
        return None
    told = few([*map(printable, same)])
    return (
        f"--data: the folders of {folder} have the same folders in them ({told}); where those are "
        f"the classes, name one, such as --data {quoted(folder / names[0])}; where the outer ones "
        f"are, say the index of each with --labels."
    )


def _tables(folder: Path) -> list[Path]:
    """Return the tables in a folder."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in KINDS and not is_hidden(path.name)
    ]


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, none of which is a link."""
    return [
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and not is_hidden(path.name)
    ]
