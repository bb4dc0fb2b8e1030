"""Colours of 16 bits, of which Pillow reads the higher bytes alone: the lower ones of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SWAPPED = "B" if sys.byteorder == "little" else "L"
LOW_BYTES = {
    f"{channels};16{order}": f"{channels};16{other}"
    for channels in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", SWAPPED))
}
"""How Pillow unpacks colours of 16 bits → what unpacks their lower bytes: the other order."""
GREY, ALL_BYTES = "LA;16B", "RGBA"
"""Grey with transparency has no other order; its four bytes are unpacked as four colours."""


def unpacked(picture: Image.Image) -> str | None:
    """Return how Pillow unpacks a picture that is not loaded yet; None but for wide colours."""
    tiles: Any = getattr(picture, "tile", None)
    arguments: Any = tiles[0].args if tiles else ""
    name = arguments if isinstance(arguments, str) else str(next(iter(arguments or ()), ""))
    return name if name in {*LOW_BYTES, GREY} else None


def unpack_low_bytes(picture: Image.Image, wide: str) -> None:
    """Have a picture that is not loaded yet unpacked to the lower bytes of its colours.

    Args:
        picture: as it was opened.
        wide: how Pillow unpacks it by itself.

    """
    raw: Any = picture
    low = LOW_BYTES.get(wide, ALL_BYTES)
    raw.tile = [
        tile._replace(args=low if isinstance(tile.args, str) else (low, *tile.args[1:]))
        for tile in raw.tile
    ]


def joined(high: NDArray[Any], low: NDArray[Any], wide: str) -> NDArray[np.uint16]:
    """Return colours of 16 bits ``(height, width, 3)`` from both bytes of them.

    Args:
        high: ``(height, width, 3)`` uint8, the higher bytes.
        low: ``(height, width, 3)`` uint8, what :func:`unpack_low_bytes` made of the picture.
        wide: how Pillow unpacks it by itself.

    """
    lower = low[..., 1:2] if wide == GREY else low
    return high.astype(np.uint16) * np.uint16(256) + lower.astype(np.uint16)
