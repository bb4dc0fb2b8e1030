"""Pictures in files → arrays: recognised by content, turned upright, bounded before decoding."""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from unbackdoor.errors import ContentError, brief
from unbackdoor.runtime.ranges import Spread, as_bytes, white_of
from unbackdoor.runtime.wide import joined, unpack_low_bytes, unpacked

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what Pillow says is in its errors

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF", "AVIF")
"""What is decoded; Pillow would hand others, such as PostScript, to programs of their own."""
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".avif", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".apng"}
)
"""How names of such files end; one that cannot be read is a damaged picture."""
OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".psd", ".tga", ".ico", ".pcx"}
    | {".exr", ".hdr", ".dds", ".dcm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".eps"}
)
"""How names of pictures of other formats end, which are not read."""
MOST_PIXELS = 1 << 25
MOST_BYTES = 1 << 28
"""Of the file of one picture."""
LARGEST_SURPRISE, MOST_GROWTH = 1 << 27, 200
"""Above ``LARGEST_SURPRISE`` bytes of pixels, files that unpack to more than ``MOST_GROWTH`` times
their size are refused."""
SMALL = 1 << 20
"""Bytes up to which a file counts with its size, even where the disk holds less of it."""
SCANS = 16
"""So many passes over a JPEG count as decoding it once; a progressive one has about ten."""
SLOW = frozenset({"ppm_plain", "bmp_rle"})
"""Decoders of Pillow that are written in Python, and count as ``SCANS`` decodings too."""

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    TypeError,
    IndexError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    AssertionError,
    AttributeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for files that are no pictures, or damaged ones."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the picture upright."""
WHITE_IS_ZERO = 0
"""Of the tag PhotometricInterpretation of TIFF."""

Bytes = NDArray[np.uint8]
Pixels = NDArray[Any]
"""Of a picture with 8 bits, bytes; of one with more, numbers as they are stored."""


class TooMuchWork(Exception):  # noqa: N818  the sentence is made where the folder is known
    """Files would take far more work than photographs of their size do."""


@dataclass
class Allowance:
    """How many bytes may be read and decoded, by how many the disk holds.

    Args:
        stored: bytes that the disk holds, of all files so far.

    """

    stored: int = 0
    _read: int = 0
    _decoded: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def store(self, path: Path) -> int:
        """Count a file once, however many names it has, and return its size.

        Of a sparse file only what the disk holds is counted.
        """
        known = path.stat()
        held = known.st_size
        if held > SMALL and hasattr(known, "st_blocks"):
            held = min(held, known.st_blocks * 512)
        if (known.st_dev, known.st_ino) not in self._seen:
            self._seen.add((known.st_dev, known.st_ino))
            self.stored += held
        return known.st_size

    def read(self, count: int) -> None:
        """Raise :class:`TooMuchWork` if so many more bytes may not be read."""
        self._read += count
        self._check(self._read)

    def decode(self, count: int) -> None:
        """Raise :class:`TooMuchWork` if so many more bytes may not be decoded."""
        self._decoded += count
        self._check(self._decoded)

    def _check(self, spent: int) -> None:
        if spent > max(LARGEST_SURPRISE, MOST_GROWTH * self.stored):
            raise TooMuchWork


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded picture, upright.

    Args:
        pixels: ``(height, width, 3)`` uint8, red, green, blue; or, of more than 8 bits, numbers as
            they are stored, of grey ``(height, width)``.
        white: the value that is white where the file declares it; None where it does not.
        turned: whether its EXIF orientation was not upright.
        several: whether the file has more pictures than this first one.
        transparent: whether some of it was transparent; the colour below is kept.

    """

    pixels: Pixels
    white: float | None = None
    turned: bool = False
    several: bool = False
    opacity: Bytes | None = None

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits."""
        return self.pixels.dtype != np.uint8


def decode(file: BinaryIO, allowance: Allowance) -> Picture:
    """Return the first picture in a file, if it may be decoded.

    Args:
        file: open for reading, at its beginning.
        allowance: what may be read and decoded; it is drawn on before any of it is done.

    Raises:
        UnidentifiedImageError: it is no picture of a format that is read.
        TooMuchWork: it would take more than allowed.
        *UNREADABLE: it is damaged.

    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MOST_BYTES:
        raise UnidentifiedImageError(f"{size:,} bytes; at most {MOST_BYTES:,} are read")
    allowance.read(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow finds odd is either an error or no matter
        with _opened(file) as picture:
            _check_size(picture)
            work = picture.width * picture.height * _repeats(picture, file)
            if work > MOST_PIXELS:
                raise ValueError(
                    f"{picture.width}×{picture.height} pixels that are passed over very often"
                )
            wide = unpacked(picture)
            allowance.decode(work * max(3, len(picture.getbands())) * (2 if wide else 1))
            return _decoded(picture) if wide is None else _decoded_wide(picture, file, wide)


def _opened(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(f"not one of {', '.join(FORMATS)}, or damaged") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"far too many pixels, at most {MOST_PIXELS:,} are decoded") from error


def _check_size(picture: Image.Image) -> None:
    tile = (_tag(picture, ExifTags.Base.TileWidth), _tag(picture, ExifTags.Base.TileLength))
    for width, height in (picture.size, tile):
        if (width or 1) * (height or 1) > MOST_PIXELS:
            raise ValueError(f"{width}×{height} pixels, at most {MOST_PIXELS:,} are decoded")


def _repeats(picture: Image.Image, file: BinaryIO) -> int:
    """Return how often the pixels are passed over, in decodings."""
    if picture.format in {"JPEG", "MPO"}:
        at = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")
        file.seek(at)
        return max(1, -(-scans // SCANS))
    tiles = getattr(picture, "tile", None) or [("",)]
    return SCANS if tiles[0][0] in SLOW else 1


def _decoded(picture: Image.Image) -> Picture:
    tiff = picture.format == "TIFF"
    orientation = _orientation(picture) if tiff else 1
    several = bool(getattr(picture, "is_animated", False))
    deep = picture.mode in {"I", "F"} or picture.mode.startswith("I;16")
    white = _white(picture) if deep else None
    picture.load()  # turns a TIFF; the orientation of a PNG may stand behind its pixels
    upright: Image.Image = picture
    if not tiff and (orientation := _orientation(picture)) in UPRIGHT:
        upright = picture.transpose(UPRIGHT[orientation])
    return Picture(
        pixels=_numbers(upright) if deep else np.array(upright.convert("RGB"), np.uint8),
        white=white,
        turned=orientation in UPRIGHT,
        several=several,
        opacity=_opacity(upright),
    )


def _decoded_wide(picture: Image.Image, file: BinaryIO, wide: str) -> Picture:
    """Return a picture with colours of 16 bits; Pillow decodes it twice, eight bits at a time."""
    at = file.tell()
    file.seek(0)
    again = io.BytesIO(file.read())
    file.seek(at)
    with _opened(again) as other:
        unpack_low_bytes(other, wide)
        low = _decoded(other)
    high = _decoded(picture)
    return replace(high, pixels=joined(high.pixels, low.pixels, wide))


def _numbers(picture: Image.Image) -> Pixels:
    """Return the values of grey with more than 8 bits, as they are stored."""
    values = np.array(picture)
    if unusable := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{unusable:,} of {values.size:,} values are NaN or infinite")
    return values


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that cannot be read, in a picture that can
        return 1


def _white(picture: Image.Image) -> float | None:
    """Return which grey value the file declares to be white, None if it does not say.

    Sixteen bits are declared by PNG and TIFF for any grey that does not fit into eight.
    """
    if _tag(picture, ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
        raise ValueError("grey of more than 8 bits in which 0 is white")
    if picture.format == "PPM":  # Pillow has scaled it by what it declares
        return 65535.0
    bits = _tag(picture, ExifTags.Base.BitsPerSample)
    return 4095.0 if bits == (12,) else None


def _tag(picture: Image.Image, tag: int) -> Any:
    """Return a tag of a TIFF, None where it has none or is no TIFF."""
    return getattr(picture, "tag_v2", {}).get(tag)


def _opacity(picture: Image.Image) -> Bytes | None:
    """Return how opaque each pixel is; None where all are, altogether."""
    if not picture.has_transparency_data:
        return None
    opacity = np.array(picture.convert("RGBA").getchannel("A"), np.uint8)
    return opacity if (opacity < 255).any() else None


def as_square(pixels: Pixels, size: int) -> Pixels:
    """Return a picture with its shorter side scaled and its middle cropped.

    Args:
        pixels: ``(height, width, 3)``, red, green, blue, or ``(height, width)``; bytes, or other
            numbers, which come back as float32.
        size: side of the square that comes back.

    """
    height, width = pixels.shape[:2]
    if height == width == size:
        return pixels
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    middle = pixels[top : top + side, left : left + side]
    if pixels.dtype == np.uint8:
        return _scaled(middle, size)
    planes = np.atleast_3d(middle).astype(np.float32).transpose(2, 0, 1)
    scaled = np.stack([_scaled(plane, size) for plane in planes], axis=-1)
    return scaled if pixels.ndim == 3 else scaled[..., 0]


def _scaled(square: Pixels, size: int) -> Pixels:
    return np.array(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def resized(pixels: Bytes, height: int, width: int, *, smooth: bool = True) -> Bytes:
    """Return a whole picture ``(height, width, 3 or 4)`` with another height and width.

    Args:
        pixels: the picture.
        height: of what comes back.
        width: of what comes back.
        smooth: bicubic, which goes beyond the values of the picture at its edges; or each pixel is
            the mean of what it covers.

    """
    way = Image.Resampling.BICUBIC if smooth else Image.Resampling.BOX
    picture = Image.fromarray(pixels).resize((width, height), way)
    return np.array(picture, dtype=np.uint8)


def as_rgb(deep: Pixels, white: float) -> Bytes:
    """Return a picture of more than 8 bits, in [0, white], as red, green, blue in 0 … 255."""
    scaled = as_bytes(deep, white)
    return np.repeat(scaled[..., None], 3, axis=2) if scaled.ndim == 2 else scaled


def read_rgba(path: Path, argument: str) -> Bytes:
    """Return a picture, upright, as ``(height, width, 4)`` in 0 … 255.

    The values are red, green, blue, and how opaque the pixel is.

    Args:
        path: of the file.
        argument: what the user gave it for, named in the error.

    Raises:
        ContentError: it is no picture, or a damaged one.

    """
    try:
        if not path.is_file():
            raise OSError("no regular file")
        allowance = Allowance()
        allowance.store(path)
        with path.open("rb") as file:
            picture = decode(file, allowance)
        pixels, opacity = picture.pixels, picture.opacity
        if picture.deep:
            pixels = as_rgb(pixels, picture.white or white_of(Spread.of(pixels)))
    except (*UNREADABLE, TooMuchWork) as error:
        raise ContentError(
            f"{argument}: {path} cannot be read as a picture ({brief(error)}); remove or replace "
            f"it."
        ) from error
    if opacity is None:
        opacity = np.full(pixels.shape[:2], 255, np.uint8)
    return np.dstack([pixels, opacity])
