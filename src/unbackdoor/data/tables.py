"""A table of paths and labels (CSV), and pictures that lie in a table (parquet)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from unbackdoor.data.gather import Encoded, gather, listed, readable
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import labelled
from unbackdoor.errors import ArgumentError, ContentError, brief, printable
from unbackdoor.runtime.files import read_bytes
from unbackdoor.runtime.pictures import Allowance

LARGEST_TABLE, MOST_ROWS = 64 << 20, 1 << 20
PATHS = ("path", "file", "file_name", "filename", "filepath", "image_path", "image", "img")
LABELS = ("label", "labels", "class", "target", "category", "class_name", "class_id", "fine_label")
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
        text = read_bytes(path, "--data", LARGEST_TABLE).decode("utf-8-sig")
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
    places = [path.parent / row[files].strip() for row in body]
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


def read_parquet(path: Path, size: int | None) -> Images:
    """Read encoded pictures and their labels, as data sets of the Hugging Face hub have them.

    Raises:
        ArgumentError: the package pyarrow is missing.
        ContentError: the file has no such columns, or cannot be read.

    """
    try:
        arrow: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ArgumentError(
            f"--data: {path} needs the package pyarrow; install it with pip install "
            f"'unbackdoor[parquet]'."
        ) from error
    allowance = Allowance()
    with readable(path, allowance, "fetch it again", errors=(Exception,)):  # pyarrow has its own
        allowance.read(allowance.store(path))
        table = arrow.ParquetFile(path)
        column, labels = _columns(path, table.schema_arrow.names)
        rows = list(_rows(table, column, labels, allowance))
        names = _names(table.schema_arrow, labels)
        targets, classes = labelled([label for _, label in rows], str(path), names)
    pictures = [
        Encoded(name=f"row {at}.png", label=label, open=partial(io.BytesIO, rows[at][0]))
        for at, label in enumerate(targets)
    ]
    return gather(
        pictures,
        classes,
        name=printable(path.stem),
        what=str(path),
        size=size,
        allowance=allowance,
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
    table: Any, column: str, labels: str, allowance: Allowance
) -> Iterator[tuple[bytes, int | str]]:
    if table.metadata.num_rows > MOST_ROWS:
        raise ValueError(f"{table.metadata.num_rows:,} rows, at most {MOST_ROWS:,} are read")
    for batch in table.iter_batches(batch_size=AT_ONCE, columns=[column, labels]):
        for row in batch.to_pylist():
            picture: Any = row[column]
            content: Any = picture.get("bytes") if hasattr(picture, "get") else picture
            if not isinstance(content, bytes) or row[labels] is None:
                raise ValueError("a row without the bytes of a picture, or without a label")
            allowance.read(len(content))
            yield content, row[labels]


def _names(schema: Any, labels: str) -> list[str]:
    """Return the names of the classes, where a data set of the hub states them."""
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        said: Any = schema.metadata or {}
        stated: Any = msgspec.json.decode(said[b"huggingface"])
        return msgspec.convert(stated["info"]["features"][labels]["names"], list[str])
    return []
