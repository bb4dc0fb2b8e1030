"""The two ends of a graph: one input, of pictures in some layout, and one output, of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unbackdoor.errors import ContentError
from unbackdoor.models.graph import Layout, Shape

MOST_IMAGES, LARGEST_SIDE = 4096, 1024


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
        0 < batch <= MOST_IMAGES
        and channels in {1, 3}
        and all(0 < side <= LARGEST_SIDE for side in sides)
    )
