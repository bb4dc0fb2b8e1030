"""Pictures that lie in a table (parquet)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

import msgspec

from unbackdoor.data.gather import Encoded, gather, readable
from unbackdoor.data.images import Images
from unbackdoor.data.labelling import LABELS, labelled
from unbackdoor.data.parts import Parts
from unbackdoor.data.room import MOST_KEPT
from unbackdoor.errors import ArgumentError, ContentError, few, printable, quoted
from unbackdoor.runtime.pictures import SUFFIXES, Allowance

MOST_ROWS = 1 << 20
PICTURES = ("image", "img", "picture", "jpg", "png")
AT_ONCE = 16


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
    allowance, names, held = Allowance(), list[str](), 0
    rows: list[tuple[bytes, int | str]] = []
    for path in parts.files:
        with readable(path, allowance, "fetch it again", errors=(Exception,)):  # pyarrow's own
            allowance.read(allowance.store(path))
            table = arrow.ParquetFile(path)
            column, labels = _columns(path, table.schema_arrow.names)
            stated = _names(table.schema_arrow, labels)
            names = names if rows else stated
            order = _order(parts.files[0], names, path, stated)
            for content, label in _rows(
                path, table, column, labels, allowance, MOST_ROWS - len(rows)
            ):
                held += len(content)
                if held > MOST_KEPT:
                    raise ContentError(
                        f"--data: the files of {parts.what} have more than {MOST_KEPT >> 30} GiB "
                        f"of pictures; take fewer (a few hundred of each class are enough)."
                    )
                rows.append((content, order.get(label, label) if order else label))
    if len({isinstance(label, str) for _, label in rows}) > 1:
        raise ContentError(
            f"--data: in some files of {parts.what} the labels are names, in others numbers; write "
            f"them in one way."
        )
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


def _order(
    first: Path, names: Sequence[str], path: Path, stated: Sequence[str]
) -> dict[int | str, int]:
    """Return the index of each class of a file in the order of the first; nothing if it is that.

    Args:
        first: the file whose order counts.
        names: of its classes, by index.
        path: another file.
        stated: the names of its classes, by index.

    Raises:
        ContentError: the two name different classes.

    """
    if list(names) == list(stated):
        return {}
    if sorted(names) != sorted(stated):
        only = sorted({*names} ^ {*stated}) or [*names]
        raise ContentError(
            f"--data: {first} states {len(names)} names of classes and {path} {len(stated)}, and "
            f"not the same ({printable(few(only))}), so that nobody knows which labels are "
            f"equal; name files of one data set."
        )
    index = {name: at for at, name in enumerate(names)}
    return {at: index[name] for at, name in enumerate(stated)}


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
                raise ContentError(_paths(path, f'r["{column}"]["path"]', labels))
            if row[labels] is None:
                empty = table.read(columns=[labels]).column(0).null_count
                raise ContentError(_unlabelled(path, labels, empty, table.metadata.num_rows))
            if not isinstance(content, bytes):
                raise ContentError(_no_picture(path, column, labels, picture))
            allowance.read(len(content))
            yield content, row[labels]


def _unlabelled(path: Path, labels: str, count: int, rows: int) -> str:
    """Return the sentence about a table in which rows have no label."""
    code = (
        "import sys, pyarrow.parquet as q; t = q.read_table(sys.argv[1]); "
        f'q.write_table(t.filter(t["{labels}"].is_valid()), sys.argv[2])'
    )
    old, made = quoted(path), quoted(_new(path, "-labelled"))
    left = (
        "name another part of the data set"
        if count == rows
        else (
            f"write the others to a file with python -c {quoted(code)} {old} {made}, and name "
            f"{made}"
        )
    )
    return (
        f"--data: {count:,} of {rows:,} rows of {path} have no label ({labels} is empty); {left}."
    )


def _no_picture(path: Path, column: str, labels: str, came: object) -> str:
    """Return the sentence about a table in which a row holds something else than a picture."""
    if isinstance(came, str) and PurePath(came).suffix.lower() in SUFFIXES:
        return _paths(path, f'r["{column}"]', labels)
    if isinstance(came, list):
        code = (
            "import sys, numpy, pyarrow.parquet as q; d = q.read_table(sys.argv[1]).to_pydict(); "
            f'numpy.savez(sys.argv[2], x=numpy.array(d["{column}"]), y=numpy.array(d["{labels}"]))'
        )
        what, new = "holds numbers, not encoded pictures; save", path.with_suffix(".npz")
    elif came is None:
        code = (
            "import sys, pyarrow.parquet as q; t = q.read_table(sys.argv[1]); "
            f'q.write_table(t.filter(t["{column}"].is_valid()), sys.argv[2])'
        )
        what, new = "has rows without a picture; write the others", _new(path, "-pictured")
    else:
        return (
            f"--data: {path} has a row without a picture ({column} holds no bytes); fetch it again."
        )
    return (
        f"--data: {path} {what} with python -c {quoted(code)} {quoted(path)} {quoted(new)}, and "
        f"name {quoted(new)}."
    )


def _new(path: Path, end: str) -> Path:
    return path.with_name(f"{path.stem}{end}{path.suffix}")


def _paths(path: Path, picture: str, labels: str) -> str:
    """Return the sentence about a table that names pictures and does not hold them.

    Args:
        path: of the table.
        picture: code of the path in a row ``r``.
        labels: the column of the labels.

    """
    code = (
        "import sys, csv, pyarrow.parquet as q; "
        'w = csv.writer(open(sys.argv[2], "w", newline="")); w.writerow(("path", "label")); '
        f'w.writerows(({picture}, r["{labels}"]) '
        "for r in q.read_table(sys.argv[1]).to_pylist())"
    )
    old, new = (quoted(one) for one in (path, path.with_name(f"{path.stem}.csv")))
    return (
        f"--data: {path} holds paths of pictures, not pictures; make a table of them with python "
        f"-c {quoted(code)} {old} {new}, and name {new}."
    )


def _names(schema: Any, labels: str) -> list[str]:
    """Return the names of the classes, where a data set of the hub states them."""
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        said: Any = schema.metadata or {}
        stated: Any = msgspec.json.decode(said[b"huggingface"])
        return msgspec.convert(stated["info"]["features"][labels]["names"], list[str])
    return []
