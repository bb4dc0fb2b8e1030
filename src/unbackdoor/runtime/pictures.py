"""Pictures on disk → arrays."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unbackdoor.errors import ContentError, brief

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
"""What is decoded; Pillow would hand others, such as PostScript, to programs of their own."""
MOST_PIXELS = 1 << 25

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are no pictures, or damaged ones."""


def as_square(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a picture ``(height, width, 3)`` with its shorter side scaled and its middle cropped.

    Args:
        pixels: red, green, blue.
        size: side of the square that comes back.

    """
    height, width = pixels.shape[:2]
    if height == width == size:
        return pixels
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    middle = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.array(middle.resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a whole picture ``(height, width, 3)`` with another height and width."""
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(picture, dtype=np.uint8)


def read_rgb(path: Path, argument: str) -> NDArray[np.uint8]:
    """Return the picture as ``(height, width, 3)``, red, green, blue, in 0 … 255.

    Args:
        path: of the file.
        argument: what the user gave it for, named in the error.

    Raises:
        ContentError: it is no picture, or a damaged one.

    """
    try:
        if not path.is_file():
            raise OSError("no regular file")
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(
                    f"{picture.width}×{picture.height} pixels, at most {MOST_PIXELS:,} are decoded"
                )
            return np.array(picture.convert("RGB"), dtype=np.uint8)
    except UNREADABLE as error:
        raise ContentError(
            f"{argument}: {path} cannot be read as a picture ({brief(error)}); remove or replace "
            f"it."
        ) from error
