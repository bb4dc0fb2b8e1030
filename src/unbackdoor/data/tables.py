"""A table of paths and labels (CSV), and pictures that lie in a table (parquet)."""

from __future__ import annotations

import codecs
import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from unbackdoor.data.conversions import rows_of_a_table
from unbackdoor.data.gather import Encoded, gather, listed, readable
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, labelled
from unbackdoor.data.parts import Parts
from unbackdoor.errors import ArgumentError, ContentError, brief, printable
from unbackdoor.runtime.files import read_bytes
from unbackdoor.runtime.pictures import Allowance

LARGEST_TABLE, MOST_ROWS = 64 << 20, 1 << 20
PATHS = ("path", "file", "file_name", "filename", "filepath", "image_path", "image", "img")
PICTURES = ("image", "img", "picture", "jpg", "png")
AT_ONCE = 16
DELIMITERS = ",;\t|"


def read_csv(path: Path, size: int | None) -> Images:
    """Read the pictures that a table names, with their labels.

    Its first line names the columns, such as ``path,label``; where it names a file, there are two
    columns in this order. Paths start at the folder of the table.

    Raises:
        ArgumentError: it cannot be read.
        ContentError: it is no such table, or its pictures cannot be read.

    """
    try:
        content = read_bytes(path, "--data", LARGEST_TABLE)
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=first.count)
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ContentError(
            f"--data: {path} cannot be read as a table ({brief(error)}); save it as CSV, in UTF-8."
        ) from error
    if rows and len(rows[0]) == 2 and (path.parent / rows[0][0]).is_file():
        rows.insert(0, ["path", "label"])
    head = [name.strip().lower() for name in rows[0]] if rows else []
    files, labels = (
        next((head.index(name) for name in names if name in head), None)
        for names in (PATHS, LABELS)
    )
    if (
        files is None
        and labels is not None
        and delimiter == ","
        and (sentence := rows_of_a_table(path, len(head) - 1, labels))
    ):
        raise ContentError(sentence)
    if files is None or labels is None or len(rows) < 2:
        raise ContentError(
            f"--data: expected a table with the columns path and label in {path}, came "
            f"{printable(', '.join(head))[:120] or 'nothing'}; name them so in its first line."
        )
    body = [row for row in rows[1:] if len(row) > max(files, labels)]
    if len(body) < len(rows) - 1:
        raise ContentError(
            f"--data: {len(rows) - 1 - len(body)} rows of {path} lack a path or a label; fill or "
            f"remove them."
        )
    targets, classes = labelled([row[labels].strip() for row in body], str(path))
    allowance = Allowance()
    places = [_place(path.parent, row[files].strip()) for row in body]
    _check_places(path, places)
    pictures = [
        Encoded(name=row[files].strip(), label=label, open=partial(_open, place, allowance))
        for row, place, label in zip(body, places, targets, strict=True)
    ]
    return gather(
        pictures,
        classes,
        name=printable(path.stem),
        what=str(path),
        size=size,
        allowance=allowance,
    )


def _place(home: Path, text: str) -> Path:
    """Return where a picture lies; Windows writes its paths with other strokes."""
    place = home / text
    return place if "\\" not in text or place.is_file() else home / text.replace("\\", "/")


def _check_places(path: Path, places: Sequence[Path]) -> None:
    """Raise where a path leaves the table's folder, or there is no file."""
    home = path.parent.resolve()
    known: dict[Path, bool] = {}
    missing: list[str] = []
    for place in places:
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
            f"there: {listed(missing)}; paths start at the folder of the table."
        )


def _open(place: Path, allowance: Allowance) -> BinaryIO:
    allowance.store(place)
    return place.open("rb")


def read_parquet(parts: Parts, size: int | None) -> Images:
    """Read encoded pictures and their labels, as data sets of the Hugging Face hub have them.

    Raises:
        ArgumentError: the package pyarrow is missing.
        ContentError: a file has no such columns, or cannot be read.

    """
    try:
        arrow: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ArgumentError(
            f"--data: {parts.files[0]} needs the package pyarrow; install it with pip install "
            f"'unbackdoor[parquet]'."
        ) from error
    allowance, names = Allowance(), list[str]()
    rows: list[tuple[bytes, int | str]] = []
    for path in parts.files:
        with readable(path, allowance, "fetch it again", errors=(Exception,)):  # pyarrow's own
            allowance.read(allowance.store(path))
            table = arrow.ParquetFile(path)
            column, labels = _columns(path, table.schema_arrow.names)
            rows += _rows(path, table, column, labels, allowance, MOST_ROWS - len(rows))
            names = names or _names(table.schema_arrow, labels)
    targets, classes = labelled([label for _, label in rows], parts.what, names)
    pictures = [
        Encoded(name=f"row {at}.png", label=label, open=partial(io.BytesIO, rows[at][0]))
        for at, label in enumerate(targets)
    ]
    return gather(
        pictures,
        classes,
        name=parts.name,
        what=parts.what,
        size=size,
        allowance=allowance,
        passed_over=parts.passed_over,
    )


def _columns(path: Path, head: Sequence[str]) -> tuple[str, str]:
    found = [next((name for name in names if name in head), "") for names in (PICTURES, LABELS)]
    if not all(found):
        raise ContentError(
            f"--data: expected the columns image and label in {path}, came "
            f"{printable(', '.join(head))[:120]}; rename them."
        )
    return found[0], found[1]


def _rows(
    path: Path, table: Any, column: str, labels: str, allowance: Allowance, most: int
) -> Iterator[tuple[bytes, int | str]]:
    if table.metadata.num_rows > most:
        raise ValueError(f"{table.metadata.num_rows:,} rows, at most {MOST_ROWS:,} in all are read")
    for batch in table.iter_batches(batch_size=AT_ONCE, columns=[column, labels]):
        for row in batch.to_pylist():
            picture: Any = row[column]
            content: Any = picture.get("bytes") if hasattr(picture, "get") else picture
            if content is None and hasattr(picture, "get") and picture.get("path"):
                raise ContentError(_paths(path, column, labels))
            if not isinstance(content, bytes) or row[labels] is None:
                raise ValueError("a row without the bytes of a picture, or without a label")
            allowance.read(len(content))
            yield content, row[labels]


def _paths(path: Path, column: str, labels: str) -> str:
    """Return the sentence about a table that names pictures and does not hold them."""
    code = (
        "import sys, csv, pyarrow.parquet as q; "
        'w = csv.writer(open(sys.argv[2], "w", newline="")); w.writerow(("path", "label")); '
        f'w.writerows((r["{column}"]["path"], r["{labels}"]) '
        "for r in q.read_table(sys.argv[1]).to_pylist())"
    )
    old, new = (shlex.quote(str(one)) for one in (path, path.with_name(f"{path.stem}.csv")))
    return (
        f"--data: {path} holds paths of pictures, not pictures; make a table of them with python "
        f"-c {shlex.quote(code)} {printable(old)} {printable(new)}, and name {printable(new)}."
    )


def _names(schema: Any, labels: str) -> list[str]:
    """Return the names of the classes, where a data set of the hub states them."""
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        said: Any = schema.metadata or {}
        stated: Any = msgspec.json.decode(said[b"huggingface"])
        return msgspec.convert(stated["info"]["features"][labels]["names"], list[str])
    return []
