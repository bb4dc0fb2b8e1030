"""Triggers and images as pictures, and pictures as PNG data URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unbackdoor.errors import ContentError

Pixels = NDArray[np.uint8]
Shape = Sequence[int]
"""Channels, height and width."""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels, ``left`` and ``top`` inside it, counted from 0."""

    left: int
    top: int
    width: int
    height: int


def image(content: bytes, shape: Shape) -> Pixels:
    """Return bytes as an image ``(height, width, channels)``.

    Raises:
        ContentError: their number is not channels × height × width.

    """
    if len(content) != math.prod(shape):
        raise ContentError(
            f"expected {math.prod(shape)} bytes for a picture of shape {list(shape)}, came "
            f"{len(content)}; the result is damaged, scan again."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).transpose(1, 2, 0)


def to_colour(pixels: Pixels) -> Pixels:
    """Return an image ``(height, width, channels)`` as red, green and blue, ``(height, width, 3)``.

    Of any other number of channels than three the mean is shown, in grey.
    """
    if pixels.shape[2] == 3:
        return pixels
    return np.repeat(pixels.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)


def png(pixels: Pixels) -> bytes:
    """Return an image ``(height, width, channels)`` as a PNG file in colour."""
    file = io.BytesIO()
    colour = np.ascontiguousarray(to_colour(pixels))
    Image.fromarray(colour).save(file, "PNG", compress_level=9)
    return file.getvalue()


def data_uri(pixels: Pixels) -> str:
    """Return an image ``(height, width, channels)`` as a ``data:`` URI of its PNG file."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def crisp(side: int, wanted: int) -> int:
    """Return the multiple of ``side`` nearest to ``wanted``, so that all pixels are equally large.

    Example:
        >>> crisp(3, 40), crisp(16, 40), crisp(224, 96)
        (39, 32, 224)

    """
    return side * max(1, round(wanted / side))


def shrunk(pixels: Pixels, most: int) -> Pixels:
    """Return an image ``(height, width, 3)`` with at most so many pixels along a side."""
    height, width = pixels.shape[:2]
    if max(height, width) <= most:
        return pixels
    scale = most / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def difference(before: Pixels, after: Pixels, gain: int) -> Pixels:
    """Return what has changed, times ``gain``, around grey."""
    change = after.astype(np.int64) - before.astype(np.int64)
    return np.clip(128 + gain * change, 0, 255).astype(np.uint8)


def changed(before: Pixels, after: Pixels) -> Box | None:
    """Return the smallest box that holds every pixel that differs, None where none does."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    if not rows.size:
        return None
    left, top = int(columns.min()), int(rows.min())
    return Box(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)


def window(height: int, width: int, around: Box | None, largest: int) -> Box:
    """Return a part of an image, at most ``largest`` pixels wide and high, about ``around``."""
    box = around or Box(0, 0, width, height)
    wide, high = min(width, largest), min(height, largest)
    left = min(max(box.left + box.width // 2 - wide // 2, 0), width - wide)
    top = min(max(box.top + box.height // 2 - high // 2, 0), height - high)
    return Box(left, top, wide, high)
