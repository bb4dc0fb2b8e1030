"""Tables as people write them (CSV, TSV): their columns, and which of these say what."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unbackdoor.data.classes import parts_among
from unbackdoor.data.labelling import LABELS, PATHS
from unbackdoor.errors import ContentError, brief
from unbackdoor.runtime.files import encoding_of, read_bytes

TABLES = (".csv", ".tsv")
"""How names of tables end."""
LARGEST_TABLE = 64 << 20
"""Bytes of a table."""
LONGEST_HEAD = 1 << 16
"""Letters of the names of its columns."""
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """The rows of a table, and which of its columns are meant.

    Args:
        path: of the file.
        encoding: of its text.
        delimiter: between its columns.
        head: the names of the columns.
        rows: what stands in its other lines.
        lines: the number of the line in which each of them ends.

    """

    path: Path
    encoding: str
    delimiter: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, names: Sequence[str]) -> int | None:
        """Return the first column that has one of some names.

        Raises:
            ContentError: several have the same one.

        """
        small = [name.lower() for name in self.head]
        found = next((name for name in names if name in small), None)
        if found is None:
            return None
        if small.count(found) > 1:
            raise ContentError(
                f"--data: {self.path} has {small.count(found)} columns {found}; name all of them "
                f"otherwise but the one that is meant."
            )
        return small.index(found)

    @property
    def files(self) -> int | None:
        """The column of the paths."""
        return self.column(PATHS)

    @property
    def labels(self) -> int | None:
        """The column of the labels."""
        return self.column(LABELS)

    @cached_property
    def one_hot(self) -> list[int]:
        """The columns that are classes: in each row one of them is 1, and the others are 0."""
        if self.files is None or self.labels is not None:
            return []
        flags = [at for at in range(len(self.head)) if all(_is_flag(row, at) for row in self.rows)]
        sums = {sum(float(row[at]) for at in flags) for row in self.rows}
        parts = parts_among([self.head[at].lower().removeprefix("is_") for at in flags])
        return flags if len(flags) > 1 and sums == {1.0} and not parts else []

    def said(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the label of each row that has both."""
        files, labels, classes = self.files, self.labels, self.one_hot
        if files is None or (labels is None and not classes):
            return
        for row in self.rows:
            if len(row) <= max(files, labels or 0, *classes, 0):
                continue
            one = labels if labels is not None else next(at for at in classes if float(row[at]))
            label = row[one].strip() if one == labels else self.head[one]
            if row[files].strip() and label:
                yield row[files].strip(), label


def read_table(path: Path) -> Table:
    """Return what a file says.

    Raises:
        ArgumentError: it cannot be read.
        ContentError: it is no table, or too large.

    """
    return table_of(path, read_bytes(path, "--data", LARGEST_TABLE))


def table_of(path: Path, content: bytes) -> Table:
    """Return what the content of a file says, with a line of names above it where it has none.

    Raises:
        ContentError: it is no table.

    """
    try:
        encoding = encoding_of(content)
        text = content.decode(encoding)
        lines = text[:LONGEST_HEAD].splitlines()
        first = next((line for line in lines if not set(line).isdisjoint(DELIMITERS)), "")
        delimiter = max(DELIMITERS, key=first.count)
        reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
        numbered = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ContentError(
            f"--data: {path} cannot be read as a table ({brief(error)}); save it as CSV, in UTF-8."
        ) from error
    head = numbered[0][1] if numbered else []
    if len(head) == 2 and is_file(place_of(path.parent, head[0].strip())):
        head = ["path", "label"]
    else:
        numbered = numbered[1:]
    return Table(
        path=path,
        encoding=encoding,
        delimiter=delimiter,
        head=[name.strip() for name in head],
        rows=[row for _, row in numbered],
        lines=[line for line, _ in numbered],
    )


def place_of(home: Path, text: str) -> Path:
    """Return where a picture lies; Windows writes its paths with other strokes."""
    place = home / text
    return place if "\\" not in text or is_file(place) else home / text.replace("\\", "/")


def is_file(place: Path) -> bool:
    """Return whether there is a file, also where a text is too long or odd to be a path."""
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def _is_flag(row: Sequence[str], at: int) -> bool:
    return at < len(row) and row[at].strip() in {"0", "1", "0.0", "1.0"}
