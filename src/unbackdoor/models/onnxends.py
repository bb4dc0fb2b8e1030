"""The two ends of a graph: one input, of pictures in some layout, and one output, of logits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from unbackdoor.errors import ContentError, listed
from unbackdoor.models.graph import Layout, Shape

LARGEST_SIDE = 1024


FLOAT = 1
"""Single precision in ONNX."""
DECIDING = {"ArgMax", "Softmax", "LogSoftmax"}
"""Operators that stand behind logits."""
TRIED, LONGEST = 8, 200
"""Values that are looked at as logits, and the longest name that a command has."""


def ends_of(graph: Any, path: Path) -> tuple[Any, Any]:
    """Return the one input and the one output of a graph.

    Raises:
        ContentError: it has several; the remedy is a command that cuts it out of them.

    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) == len(graph.output) == 1:
        return inputs[0], graph.output[0]
    remedy = "export it without the others"
    if (pair := _pair(graph, inputs)) is not None:
        image, logits = pair
        result = str(path.with_name(f"{path.stem}-logits.onnx"))
        names = f"{_text(path)}, {_text(result)}, [{_text(image)}], [{_text(logits)}]"
        code = quote(f"import onnx; onnx.utils.extract_model({names})")
        remedy = (
            f"if {image!r} takes the images and {logits!r} gives the logits, python -c {code} "
            f"makes {result} with these two alone"
        )
    came = f"{_counted(inputs, 'input')} and gives {_counted(graph.output, 'output')}"
    raise ContentError(
        f"MODEL: {path} takes {came}; expected one of each, images and logits; {remedy}."
    )


def _text(value: object) -> str:
    """Return a name as Python has it in a command, in the quotes that a shell's quotes may hold."""
    return json.dumps(str(value), ensure_ascii=False)


def _counted(values: Sequence[Any], what: str) -> str:
    names = listed([repr(value.name) for value in values], TRIED)
    return f"{len(values)} {what}{'' if len(values) == 1 else 's'} ({names or 'none'})"


def _pair(graph: Any, inputs: Sequence[Any]) -> tuple[str, str] | None:
    """Return an input of pictures and logits that need nothing else, as far as a file shows."""
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {value.name: shape_of(value) for value in inputs}
    for name, _ in zip(_like_logits(graph), range(TRIED), strict=False):
        seen, waiting = set[str](), [name]
        while waiting:
            if (needed := waiting.pop()) not in seen:
                seen.add(needed)
                waiting += makers[needed].input if needed in makers else ()
        needs = seen & shapes.keys()
        if len(needs) != 1 or name in needs:
            continue
        (image,) = needs
        try:
            layouts_of(shapes[image], "")
        except ContentError:
            continue
        if max(len(image), len(name)) <= LONGEST:
            return image, name
    return None


def _like_logits(graph: Any) -> Iterator[str]:
    """Yield the values that may be logits: rows that are given, then what is decided by."""
    for value in graph.output:
        tensor = value.type.tensor_type
        shape = shape_of(value)
        if tensor.elem_type == FLOAT and (len(shape) == 2 or not tensor.HasField("shape")):
            yield value.name
    for node in graph.node:
        if node.op_type in DECIDING and node.input:
            yield node.input[0]


def shape_of(value: Any) -> list[int | None]:
    """Return the shape of an input or output, None where it is free."""
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def layouts_of(shape: Sequence[int | None], what: str) -> dict[Layout, Shape]:
    """Return what the shape of an input may stand for: layouts, each with its channels first.

    There are two where the file leaves the sizes free: then it counts which of them can be run.

    Raises:
        ContentError: it is not that of pictures.

    """
    if len(shape) == 2:
        return {"rows": _square_rows(shape, what)}
    if _is_plane(shape):
        return {"planes": (shape[0], 1, *shape[1:])}
    last = (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else tuple(shape)
    found: dict[Layout, Shape] = {"channels first": tuple(shape), "channels last": last}
    stated: dict[Layout, Shape] = {
        layout: sizes for layout, sizes in found.items() if sizes[1:2] in ((1,), (3,))
    }
    fitting: dict[Layout, Shape] = {
        layout: sizes
        for layout, sizes in (stated or found).items()
        if not sizes or _of_pictures(sizes)
    }
    if fitting:
        return fitting
    raise ContentError(
        f"{what} takes an input of shape {tuple(shape)}; expected pictures (N, 1 or 3, height, "
        f"width) or (N, height, width, 1 or 3) with sides of up to {LARGEST_SIDE} pixels; "
        f"export it for such pictures."
    )


def _is_plane(shape: Sequence[int | None]) -> bool:
    """Return whether a shape is (N, side, side), and not that of one picture (3, side, side)."""
    if len(shape) != 3 or shape[0] == 3:
        return False
    batch, height, width = shape
    return height == width and _of_pictures((batch, 1, height or 0, width or 0))


def _square_rows(shape: Sequence[int | None], what: str) -> Shape:
    """Return the shape of the square pictures whose pixels are laid in rows of an input.

    Raises:
        ContentError: rows of that length are no square pictures of 1 or 3 channels.

    """
    batch, count = shape
    for channels in (1, 3):
        side = math.isqrt((count or 0) // channels)
        if side and channels * side * side == count:
            return (batch, channels, side, side)
    told = f"{count:,} numbers" if count else "any length"
    raise ContentError(
        f"{what} takes rows of {told}, not pictures; expected rows of as many numbers as a square "
        f"picture of 1 or 3 channels has, so export it for pictures (N, channels, height, width), "
        f"with the step that flattens them inside."
    )


def _of_pictures(shape: Shape) -> bool:
    if len(shape) != 4:
        return False
    batch, channels, *sides = (1 if size is None else size for size in shape)
    return (
        batch > 0  # of any size, as sizes are only compared with it
        and channels in {1, 3}
        and all(0 < side <= LARGEST_SIDE for side in sides)
    )
