"""Which arrays of an archive are the pictures, and which are their labels: by shapes and names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from unbackdoor.data.classes import PARTS
from unbackdoor.data.conversions import rows_of_an_archive
from unbackdoor.data.labelling import LABELS
from unbackdoor.errors import ContentError, printable, quoted

PAIRS = (
    ("x", "y"),
    *product(("images", "image", "data", "x"), ("labels", "label", "targets", "target")),
    *(("x_test", "y_test"), ("test_images", "test_labels"), ("arr_0", "arr_1")),
)
"""Names of pictures and labels, in the order in which they are looked for."""
LABELLING = frozenset(
    {"classes", "targets", "categories", *(name for name in LABELS if "_" not in name)}
)
"""Words in the names of arrays of labels, beside a ``y`` alone or with the name of a part."""
INDEXING = frozenset({"id", "ids", "idx", "index", "indices"})
NUMBERING = INDEXING | {"fold", "folds", "split", "splits", "weight", "weights", "time", "times"}
"""Words in the names of arrays that have a number for each picture and are no labels."""

Shapes = Mapping[str, tuple[int, ...]]


def chosen(path: Path, shapes: Shapes) -> tuple[str, str]:
    """Return the names of the pictures and of their labels.

    They are the only ones with as many pictures as labels of which the second is named like
    labels, or those that are named like a pair. Which of several is meant is never guessed.

    Args:
        path: of the archive.
        shapes: name of each array → its shape.

    Raises:
        ContentError: there are no such arrays, or several.

    Example:
        >>> pictures, labels = (9, 8, 8, 3), (9,)
        >>> chosen(Path("a.npz"), {"photos": pictures, "id": labels, "class_id": labels})
        ('photos', 'class_id')

    """
    pictures = [name for name, shape in shapes.items() if len(shape) in {3, 4}]
    pairs = [
        (one, other)
        for one in pictures
        for other, shape in shapes.items()
        if len(shape) in {1, 2} and shape[0] == shapes[one][0]
    ]
    for pair in PAIRS:
        if found := [one for one in pairs if (one[0].lower(), one[1].lower()) == pair]:
            return found[0]
    named = [(one, other) for one, other in pairs if _is_labelling(other)]
    alike = [(one, other) for one, other in named if _part(one) == _part(other)]
    mixed = [(one, other) for one, other in named if _part(one) and _part(other)]
    tested = [pair for pair in alike if "test" in _part(pair[0])]
    for found in (tested, alike, [pair for pair in named if pair not in mixed]):
        if len(found) == 1:
            return found[0]
    possible = [pair for pair in pairs if not _words(pair[1]) & NUMBERING]
    raise ContentError(_sentence(path, shapes, pictures, pairs, alike or named or possible))


def _sentence(
    path: Path,
    shapes: Shapes,
    pictures: list[str],
    pairs: list[tuple[str, str]],
    possible: list[tuple[str, str]],
) -> str:
    """Return what is said where no two arrays are known to be pictures and their labels."""
    told = ", ".join(f"{printable(name)} {shape}" for name, shape in shapes.items())
    came = f"{path}, came {told[:200]}"
    if not shapes:
        return (
            f"--data: expected arrays of pictures and of labels in {path}, came none; save them "
            f"with np.savez(FILE, x=pictures, y=labels)."
        )
    if not pictures:
        for name, shape in shapes.items():
            flat = len(shape) == 2 and path.suffix.lower() == ".npz"
            if flat and (sentence := rows_of_an_archive(path, shape[1], name)):
                return sentence
        return f"--data: expected pictures of shape (N, height, width, 3) in {came}; reshape them."
    if not pairs:
        return f"--data: expected as many labels as pictures in {came}; save the labels of these."
    if not possible:
        return (
            f"--data: expected labels of {printable(pairs[0][0])} in {came}; save the class of "
            f"each picture as y."
        )
    one, other = min(possible, key=lambda pair: "train" in _part(pair[0]))
    code = f"import numpy as np; d = np.load({str(path)!r}); "
    code += f"np.savez('chosen.npz', x=d[{one!r}], y=d[{other!r}])"
    return (
        f"--data: expected arrays x and y in {came}; choose two with python -c "
        f"{quoted(code)}, and name chosen.npz."
    )


def _is_labelling(name: str) -> bool:
    """Return whether an array is named like labels.

    Example:
        >>> [_is_labelling(name) for name in ("class_id", "y_test", "y_pos", "label_weight")]
        [True, True, False, False]

    """
    words = _words(name)
    return words - PARTS.keys() == frozenset({"y"}) or bool(
        words & LABELLING and not words & NUMBERING - INDEXING
    )


def _words(name: str) -> frozenset[str]:
    """Return the words of a name.

    Example:
        >>> [sorted(_words(name)) for name in ("trainX", "y_test", "Ytrain", "class_id")]
        [['train', 'x'], ['test', 'y'], ['train', 'y'], ['class', 'id']]

    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    apart = re.sub(r"(?<![a-zA-Z])([xyXY])(?=train|test|val)", r"\1_", apart)
    return frozenset(re.findall(r"[a-z]+", apart.lower()))


def _part(name: str) -> frozenset[str]:
    """Return which parts of a data set a name says."""
    return frozenset(PARTS[word] for word in _words(name) & PARTS.keys())
