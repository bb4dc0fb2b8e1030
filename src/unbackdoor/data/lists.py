"""Tables of paths and labels (CSV): one row for each picture."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unbackdoor.data.classes import part_of
from unbackdoor.data.conversions import rows_of_a_table
from unbackdoor.data.gather import Encoded, gather
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, PATHS, check_classes, labelled
from unbackdoor.data.paths import column_of_paths, mended
from unbackdoor.data.tables import Table, is_file, place_of, read_table
from unbackdoor.errors import ContentError, few, printable, quoted
from unbackdoor.runtime.pictures import Allowance

LONGEST = 255
"""Letters of a name of a file or folder."""
PARTS = ("split", "subset", "set", "part", "usage", "partition")
"""Columns that say to which part of a data set a picture belongs."""
NUMBERED = {"split", "subset", "partition"}
"""Those that say it by the numbers 0, 1 and 2 too."""
MOST_ABOVE = 10
"""Lines above the names of columns, such as ``sep=;`` and comments, that are known for such."""
AGAIN = "named again"
"""Why a row is passed over that says what another one said."""


def read_csv(path: Path, size: int | None) -> Images:
    """Read the pictures that a table names, with their labels.

    Its first line names the columns, such as ``path,label``; where it names a file, there are two
    columns in this order. In place of the labels a column for each class may have one 1 in a row.
    Paths start at the folder of the table.

    Raises:
        ArgumentError: it cannot be read.
        ContentError: it is no such table, or its pictures cannot be read.

    """
    table = read_table(path)
    files, labels, classes = table.files, table.labels, table.one_hot
    if files is None or not (classes or labels is not None) or not table.rows:
        raise ContentError(_no_list(table))
    _check_parts(table)
    wide = max(files, labels or 0, *classes, 0)
    said = [files] if labels is None else [files, labels]
    lacking = [
        line
        for line, row in zip(table.lines, table.rows, strict=True)
        if len(row) <= wide or not all(row[at].strip() for at in said)
    ]
    if lacking:
        raise ContentError(
            f"--data: {len(lacking):,} rows of {path} lack a path or a label, the first is line "
            f"{lacking[0]:,}; fill or remove them."
        )
    if classes:  # pandas makes a column of rows without a class
        check_classes([label for _, label in table.said()], str(path))
    given = (
        [row[labels].strip() for row in table.rows]
        if labels is not None
        else np.array([[float(row[at]) for at in classes] for row in table.rows])
    )
    targets, names = labelled(given, str(path), [table.head[at] for at in classes])
    allowance = Allowance()
    places = [place_of(path.parent, row[files].strip()) for row in table.rows]
    _check_places(table, places)
    pictures = [
        Encoded(
            name=place.relative_to(path.parent).as_posix(),
            label=label,
            open=partial(_open, place, allowance),
        )
        for place, label in _once(path, places, targets, names).items()
    ]
    again = len(places) - len(pictures)
    return gather(
        pictures,
        names,
        name=printable(path.stem),
        what=str(path),
        size=size,
        allowance=allowance,
        passed_over={AGAIN: again} if again else {},
    )


def _no_list(table: Table) -> str:
    """Return the sentence about a table that does not name pictures and their labels."""
    labels = table.labels
    if labels is not None and table.delimiter == "," and table.files is None:
        numbers = rows_of_a_table(table.path, len(table.head) - 1, labels)
        if numbers:
            return numbers
    came = printable(", ".join(table.head))[:120] or "nothing"
    if table.files is not None and labels is not None:
        return f"--data: {table.path} has no rows below its first line ({came}); write some."
    return (
        f"--data: expected a table with the columns path and label in {table.path}, came {came}; "
        f"{_named(table)}."
    )


def _named(table: Table) -> str:
    """Return what gives a table the columns that it lacks, part of a sentence."""
    below = zip(table.lines, table.rows, strict=True)
    for line, row in itertools.islice(below, MOST_ABOVE):
        other = replace(table, head=[cell.strip() for cell in row])
        if other.files is not None and other.labels is not None:
            return f"these are in line {line}, so remove what stands above it"
    words = [word.lower() for cell in table.head for word in cell.split()]
    if len(table.head) == 1 and {*words} & {*PATHS} and {*words} & {*LABELS}:
        return "separate its columns by commas, in every line"
    if any(is_file(place_of(table.path.parent, cell)) for cell in table.head if cell):
        return "its first line names a picture, so put a line with the names of the columns above"
    if table.files is None and (column := column_of_paths(table)) is not None:
        classes = ", and that of the classes label" if table.labels is None else ""
        return f"call its column {printable(column)} path{classes}, in its first line"
    return "name them so in its first line"


def _check_parts(table: Table) -> None:
    """Raise where a column says that the table has several parts of a data set.

    Raises:
        ContentError: there is such a column.

    """
    if (column := table.column(PARTS)) is None:
        return
    counts = Counter(row[column].strip() for row in table.rows if len(row) > column)
    numbered = table.head[column].lower() in NUMBERED and counts.keys() <= {"0", "1", "2"}
    said = {part_of(name) for name in counts} - {""}
    if len(counts) < 2 or not (numbered or len(said) > 1):
        return
    others = [name for name in sorted(counts, reverse=True) if part_of(name) != "train"]
    one = others[0]
    code = (
        f"import sys, csv; o = dict(newline='', encoding={table.encoding!r}); r = list(csv.reader("
        f"open(sys.argv[1], **o), delimiter={table.delimiter!r})); csv.writer(open(sys.argv[2], "
        f"'w', newline='')).writerows(s for s in r if s is r[0] or len(s) > {column} and "
        f"s[{column}].strip() == {one!r})"
    )
    new = table.path.with_name(f"{table.path.stem}-part.csv")
    old, made = (quoted(path) for path in (table.path, new))
    raise ContentError(
        f"--data: {table.path} has several parts of a data set in its column "
        f"{printable(table.head[column])} ({printable(few(sorted(counts)))}); make a table of "
        f"one that the network was not trained on, such as {printable(one)}, with python -c "
        f"{quoted(code)} {old} {made}, and name {made}."
    )


def _once(
    path: Path, places: Sequence[Path], targets: Sequence[int], names: Sequence[str]
) -> dict[Path, int]:
    """Return the label of each picture.

    Raises:
        ContentError: rows give one picture several.

    """
    said: dict[Path, set[int]] = {}
    for place, target in zip(places, targets, strict=True):
        said.setdefault(place, set()).add(target)
    if several := {place: own for place, own in said.items() if len(own) > 1}:
        place, own = next(iter(several.items()))
        raise ContentError(
            f"--data: {path} gives {len(several):,} of {len(said):,} pictures several labels, such "
            f"as {printable(str(place))} ({', '.join(printable(names[at]) for at in sorted(own))});"
            f" a picture has one class here, so leave a row for each, or cut them apart."
        )
    return {place: min(own) for place, own in said.items()}


def _check_places(table: Table, places: Sequence[Path]) -> None:
    """Raise where a path leaves the table's folder, or there is no file."""
    path = table.path
    home = path.parent.resolve()
    known: dict[Path, bool] = {}
    missing: list[str] = []
    texts = [text for text, _ in table.said()]
    for place, text in zip(places, texts, strict=True):
        if "\0" in str(place) or max(map(len, place.parts)) > LONGEST:
            missing.append(str(place)[:LONGEST])
            continue
        folder = place.parent
        if folder not in known:
            known[folder] = folder.resolve().is_relative_to(home)
        inside = known[folder] and (not place.is_symlink() or place.resolve().is_relative_to(home))
        if not inside and (is_file(place) or not Path(text).is_absolute()):
            raise ContentError(
                f"--data: {path} names {place}, which lies outside its folder; put the table into "
                f"the folder that holds all pictures."
            )
        if not place.is_file():
            missing.append(str(place))
    if missing:
        net = ", and nothing is fetched" if any("://" in text for text in texts) else ""
        raise ContentError(
            f"--data: {len(missing):,} of {len(places):,} pictures that {path} names are not "
            f"there: {few(missing)}; paths start at the folder of the table{net}"
            f"{mended(table) if len(missing) == len(places) else ''}."
        )


def _open(place: Path, allowance: Allowance) -> BinaryIO:
    allowance.store(place)
    return place.open("rb")
