"""Labels as people write them (numbers, names, one-hot rows) → class indices and names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unbackdoor.errors import LISTED, ContentError, few, printable

MOST_CLASSES = 100_000
LABELS = (
    *("label", "labels", "class", "cls", "target", "category", "class_name", "class_id"),
    "classid",
    "fine_label",
)
"""Names of what holds labels, in a table or an object, in the order in which they are tried."""
PATHS = ("path", "file", "file_name", "filename", "filepath", "image_path", "image", "img")
"""Names of what says where a picture lies, in the order in which they are tried."""
NAMES = ("classes", "class_names", "label_names", "names")
"""Names of what holds the names of the classes, by index."""
NUMBER = re.compile(r"-?\d{1,9}(\.0*)?")
"""A class index as text; programs for tables write 3.0 where a cell of the column is empty."""
NONE, AMONG_NUMBERS = {"", "nan", "<na>"}, {"none", "null", "na", "n/a", "-", "?"}
"""Words that stand for no label; the latter only where all others are numbers. Of folders, and
where a file states the names of its classes, all words are names."""


def labelled(
    given: Sequence[int | str] | NDArray[Any], what: str, names: Sequence[str] = ()
) -> tuple[list[int], tuple[str, ...]]:
    """Return the index of each picture's class, and the name of each class.

    Args:
        given: for each picture the index of its class, its name, or a one-hot row. Names are
            numbered in alphabetical order, unless all of them are whole numbers.
        what: the file that they come from, in sentences.
        names: of the classes, by index, where the file has them.

    Raises:
        ContentError: they are neither, or some say no class.

    Example:
        >>> labelled(["dog", "cat", "dog"], "x.csv")
        ([1, 0, 1], ('cat', 'dog'))
        >>> labelled(["2", "0.0"], "x.csv")
        ([2, 0], ('0', '1', '2'))

    """
    values = np.asarray(given)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.dtype.kind in "biuf":
        ones = values.astype(np.float64)
        if not ((ones == 0) | (ones == 1)).all() or not (ones.sum(1) == 1).all():
            raise ContentError(_expected(what, "rows that are not one-hot"))
        values = ones.argmax(1)
    if values.ndim != 1:
        raise ContentError(_expected(what, f"labels of shape {values.shape}"))
    if values.dtype.kind in "US":
        texts = [as_text(value) for value in values.tolist()]
        _check_said(texts, what)
        if not all(map(is_number, texts)):
            classes = tuple(sorted(set(texts)))
            index = {name: at for at, name in enumerate(classes)}
            return [index[text] for text in texts], classes
        values = np.array([int(float(text)) for text in texts], dtype=np.int64)
    if values.dtype.kind not in "biuf":
        raise ContentError(_expected(what, f"labels of type {values.dtype}"))
    if unsaid := int(np.isnan(values).sum()):
        raise ContentError(_silent(["nan"], unsaid, len(values), what))
    least, most = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if least == -1 and (values == np.floor(values)).all():
        two = set(np.unique(values).tolist()) == {-1, 1}
        remedy = "write 0 for -1" if two else "where -1 says no class, leave out those pictures"
        raise ContentError(_expected(what, f"labels from -1 to {most:g}", remedy))
    if not 0 <= least <= most < MOST_CLASSES or not (values == np.floor(values)).all():
        raise ContentError(_expected(what, f"labels from {least:g} to {most:g}"))
    if names and most >= len(names):
        raise ContentError(
            f"--data: {what} has labels from {least:g} to {most:g} and names {len(names):,} "
            f"classes ({few([*map(printable, names)])}), so that one of both is wrong; number the "
            f"classes from 0, and name every one."
        )
    return values.astype(np.int64).tolist(), tuple(names) or tuple(map(str, range(int(most) + 1)))


def composed(name: str) -> str:
    """Return a name in the one form of Unicode in which names are compared."""
    return unicodedata.normalize("NFC", name)


def as_text(value: str | bytes) -> str:
    """Return a name in which bytes that are no text, which a result cannot hold, are replaced."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text.encode("utf-8", "replace").decode()


def is_number(text: str) -> bool:
    """Return whether a label is a whole number, such as ``3`` or ``3.0``."""
    return text.isascii() and NUMBER.fullmatch(text) is not None


def check_classes(texts: Sequence[str], what: str) -> None:
    """Raise where the name of a picture's class is a word for none, such as a column ``nan``.

    Raises:
        ContentError: there are such pictures.

    """
    if silent := {text for text in texts if text.lower() in NONE}:
        count = sum(text in silent for text in texts)
        raise ContentError(_silent(sorted(silent), count, len(texts), what))


def _check_said(texts: Sequence[str], what: str) -> None:
    """Raise where a label says no class: such rows would become a class, and move all others.

    Raises:
        ContentError: there are such labels.

    """
    if set(texts) == {"-1", "1"}:
        raise ContentError(_expected(what, "-1 and 1", "write 0 for -1"))
    words = {text for text in texts if not is_number(text)}
    if len(words) < len(set(texts)) and {word.lower() for word in words} <= NONE | AMONG_NUMBERS:
        silent = words | {text for text in texts if text.startswith("-")}
        if count := sum(text in silent for text in texts):
            raise ContentError(_silent(sorted(silent), count, len(texts), what))
    check_classes(texts, what)


def _silent(words: Sequence[str], count: int, of: int, what: str) -> str:
    return (
        f"--data: {count:,} of {of:,} labels in {what} say no class "
        f"({', '.join(map(repr, words[:LISTED]))}); fill them, leave out their pictures, or, if a "
        f"class is called so, give it another name or put its pictures into a folder per class."
    )


def _expected(what: str, came: str, remedy: str = "number the classes from 0") -> str:
    return (
        f"--data: expected class indices from 0, names or one-hot rows as labels in {what}, came "
        f"{came}; {remedy}."
    )
