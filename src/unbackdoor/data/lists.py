"""Tables of paths and labels (CSV): one row for each picture."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unbackdoor.data.classes import part_of, parts_among
from unbackdoor.data.conversions import rows_of_a_table
from unbackdoor.data.gather import Encoded, gather
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, PATHS, labelled
from unbackdoor.errors import ContentError, brief, few, printable, quoted
from unbackdoor.runtime.files import encoding_of, read_bytes
from unbackdoor.runtime.pictures import Allowance

TABLES = (".csv", ".tsv")
"""How names of tables end."""
LARGEST_TABLE, LONGEST = 64 << 20, 255
"""Bytes of a table, and letters of a name of a file or folder."""
PARTS = ("split", "subset", "set", "part", "usage", "partition")
"""Columns that say to which part of a data set a picture belongs."""
NUMBERED = {"split", "subset", "partition"}
"""Those that say it by the numbers 0, 1 and 2 too."""
DELIMITERS = ",;\t|"
AGAIN = "named again"
"""Why a row is passed over that says what another one said."""


@dataclass(frozen=True)
class _Table:
    """The rows of a table, and which of its columns are meant.

    Args:
        path: of the file.
        encoding: of its text.
        delimiter: between its columns.
        head: the names of the columns.
        rows: its other lines.

    """

    path: Path
    encoding: str
    delimiter: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def column(self, names: Sequence[str]) -> int | None:
        """Return the first column that has one of some names."""
        small = [name.lower() for name in self.head]
        return next((small.index(name) for name in names if name in small), None)

    @property
    def one_hot(self) -> list[int]:
        """The columns that are classes: in each row one of them is 1, and the others are 0."""
        flags = [at for at in range(len(self.head)) if all(_is_flag(row, at) for row in self.rows)]
        sums = {sum(float(row[at]) for at in flags) for row in self.rows}
        parts = parts_among([self.head[at].lower().removeprefix("is_") for at in flags])
        return flags if len(flags) > 1 and sums == {1.0} and not parts else []


def read_csv(path: Path, size: int | None) -> Images:
    """Read the pictures that a table names, with their labels.

    Its first line names the columns, such as ``path,label``; where it names a file, there are two
    columns in this order. In place of the labels a column for each class may have one 1 in a row.
    Paths start at the folder of the table.

    Raises:
        ArgumentError: it cannot be read.
        ContentError: it is no such table, or its pictures cannot be read.

    """
    table = _table(path)
    files, labels = table.column(PATHS), table.column(LABELS)
    classes = table.one_hot if files is not None and labels is None else []
    if files is None or not (classes or labels is not None) or not table.rows:
        raise ContentError(_no_list(table))
    _check_parts(table)
    wide = max(files, labels or 0, *classes, 0)
    body = [row for row in table.rows if len(row) > wide and row[files].strip()]
    if labels is not None:
        body = [row for row in body if row[labels].strip()]
    if len(body) < len(table.rows):
        raise ContentError(
            f"--data: {len(table.rows) - len(body):,} rows of {path} lack a path or a label; fill "
            f"or remove them."
        )
    given = (
        [row[labels].strip() for row in body]
        if labels is not None
        else np.array([[float(row[at]) for at in classes] for row in body])
    )
    targets, names = labelled(given, str(path), [table.head[at] for at in classes])
    allowance = Allowance()
    places = [_place(path.parent, row[files].strip()) for row in body]
    _check_places(path, places)
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


def _table(path: Path) -> _Table:
    """Return what a file says, with a line of names above it where it has none."""
    try:
        content = read_bytes(path, "--data", LARGEST_TABLE)
        encoding = encoding_of(content)
        text = content.decode(encoding)
        first = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=first.count)
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ContentError(
            f"--data: {path} cannot be read as a table ({brief(error)}); save it as CSV, in UTF-8."
        ) from error
    if rows and len(rows[0]) == 2 and _is_file(_place(path.parent, rows[0][0].strip())):
        rows.insert(0, ["path", "label"])
    head = [name.strip() for name in rows[0]] if rows else []
    return _Table(path, encoding, delimiter, head, rows[1:])


def _is_flag(row: Sequence[str], at: int) -> bool:
    return at < len(row) and row[at].strip() in {"0", "1", "0.0", "1.0"}


def _no_list(table: _Table) -> str:
    """Return the sentence about a table that does not name pictures and their labels."""
    labels = table.column(LABELS)
    if labels is not None and table.delimiter == "," and table.column(PATHS) is None:
        numbers = rows_of_a_table(table.path, len(table.head) - 1, labels)
        if numbers:
            return numbers
    came = printable(", ".join(table.head))[:120] or "nothing"
    remedy = "name them so in its first line"
    if any(_is_file(_place(table.path.parent, cell)) for cell in table.head if cell):
        remedy = "its first line names a picture, so put a line with the names of the columns above"
    return (
        f"--data: expected a table with the columns path and label in {table.path}, came {came}; "
        f"{remedy}."
    )


def _check_parts(table: _Table) -> None:
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


def _place(home: Path, text: str) -> Path:
    """Return where a picture lies; Windows writes its paths with other strokes."""
    place = home / text
    return place if "\\" not in text or _is_file(place) else home / text.replace("\\", "/")


def _is_file(place: Path) -> bool:
    """Return whether there is a file, also where a text is too long or odd to be a path."""
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def _check_places(path: Path, places: Sequence[Path]) -> None:
    """Raise where a path leaves the table's folder, or there is no file."""
    home = path.parent.resolve()
    known: dict[Path, bool] = {}
    missing: list[str] = []
    for place in places:
        if "\0" in str(place) or max(map(len, place.parts)) > LONGEST:
            missing.append(str(place)[:LONGEST])
            continue
        folder = place.parent
        if folder not in known:
            known[folder] = folder.resolve().is_relative_to(home)
        inside = known[folder] and (not place.is_symlink() or place.resolve().is_relative_to(home))
        if not inside:
            raise ContentError(
                f"--data: {path} names {place}, which lies outside its folder; put the table into "
                f"the folder that holds all pictures."
            )
        if not place.is_file():
            missing.append(str(place))
    if missing:
        raise ContentError(
            f"--data: {len(missing):,} of {len(places):,} pictures that {path} names are not "
            f"there: {few(missing)}; paths start at the folder of the table."
        )


def _open(place: Path, allowance: Allowance) -> BinaryIO:
    allowance.store(place)
    return place.open("rb")
