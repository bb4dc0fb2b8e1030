"""A file of ``torch.save`` → an ``.npz`` of pictures and labels: ``python -m`` this ``OLD NEW``.

It runs where its user types it, and loads by ``weights_only``, so that no pickle is executed.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from unbackdoor.data.classes import PARTS
from unbackdoor.data.labelling import NAMES
from unbackdoor.errors import ContentError, UnbackdoorError, brief, printable

Array = NDArray[Any]
HELD_BACK = ("", *(word for part in ("test", "val") for word in PARTS if PARTS[word] == part))
"""Words in names of arrays for parts of a data set; of several parts the first of these is taken,
without such a word if there is one."""
PICTURES = ("x", "data", "images", "image", "inputs", "imgs", "pixels")
LABELS = ("y", "targets", "labels", "label", "target", "classes")
FORM = 'torch.save({"x": pictures, "y": labels}, FILE)'


def arrays_of(saved: object) -> dict[str, Array]:
    """Return the arrays ``x``, ``y`` and, where it is there, ``classes`` of what was saved.

    Args:
        saved: a mapping of tensors or lists, pictures and labels, pairs of a picture and a label,
            or a :class:`torch.utils.data.TensorDataset`.

    Raises:
        ContentError: it is something else, or it does not show which are meant.

    Example:
        >>> found = arrays_of({"images": torch.zeros(2, 3, 8, 8), "labels": [0, 1]})
        >>> found["x"].shape, found["y"].tolist()
        ((2, 3, 8, 8), [0, 1])

    """
    if isinstance(saved, TensorDataset):
        saved = list(saved.tensors)
    if isinstance(saved, Mapping):
        given = cast("Mapping[object, object]", saved)
        named = {str(name).lower(): _array(value) for name, value in given.items()}
    elif isinstance(saved, list | tuple):
        items = cast("Sequence[Any]", saved)
        if len(items) > 2 and all(_is_pair(one) for one in items):
            items = [[one[0] for one in items], [one[1] for one in items]]
        named = dict(zip("xy", map(_array, items), strict=False)) if len(items) == 2 else {}
    else:
        named = {}
    arrays = {name: array for name, array in named.items() if array is not None}
    first, second = _pair(arrays)
    found = {"x": arrays[first], "y": arrays[second]}
    for name in NAMES:
        if name in arrays and name != second and arrays[name].dtype.kind == "U":
            found["classes"] = arrays[name]
    return found


def _pair(arrays: Mapping[str, Array]) -> tuple[str, str]:
    """Return the names of the pictures and of their labels."""
    pairs = [
        (one, other)
        for one, pictures in arrays.items()
        for other, labels in arrays.items()
        if pictures.ndim in {3, 4} and labels.ndim in {1, 2} and len(pictures) == len(labels)
    ]
    for part in HELD_BACK:
        first, second = _forms(PICTURES, part), _forms(LABELS, part)
        if found := [pair for pair in pairs if pair[0] in first and pair[1] in second]:
            return found[0]
    if len(pairs) == 1:
        return pairs[0]
    told = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    raise ContentError(
        f"OLD: expected pictures and labels, came {printable(told)[:200] or 'something else'}; "
        f"save them anew with {FORM}."
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(cast("Sequence[object]", value)) == 2


def _forms(words: Sequence[str], part: str) -> set[str]:
    """Return names of arrays with a word in them, such as ``x_test`` and ``test_x``."""
    if not part:
        return {*words}
    return {form for word in words for form in (f"{word}_{part}", f"{part}_{word}")}


def _array(value: object) -> Array | None:
    """Return a tensor, or a list of tensors of one shape, numbers or texts, as an array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, list | tuple) and value:
        items = cast("Sequence[object]", value)
        if all(isinstance(one, Tensor) for one in items):
            tensors = cast("Sequence[Tensor]", items)
            same = len({one.shape for one in tensors}) == 1
            return _array(torch.stack([*tensors])) if same else None
        if all(isinstance(one, int | float) for one in items) or all(
            isinstance(one, str) for one in items
        ):
            return np.array(items)
    return None


def main(arguments: Sequence[str]) -> int:
    """Convert a file; return the exit code."""
    if len(arguments) != 2:
        print("expected OLD.pt NEW.npz", file=sys.stderr)
        return 4
    old, new = map(Path, arguments)
    torch.serialization.add_safe_globals([TensorDataset])
    try:
        saved: object = torch.load(old, map_location="cpu", weights_only=True)
        np.savez(new, allow_pickle=False, **arrays_of(saved))
    except UnbackdoorError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        print(
            f"OLD: {old} holds more than tensors, lists, numbers and texts, or is damaged "
            f"({brief(error)}); save it anew with {FORM}.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
