from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unbackdoor.data import Intake, folder
from unbackdoor.errors import ContentError
from unbackdoor.runtime.pictures import UPRIGHT, Allowance, TooMuchWork, decode, read_rgba

ORIENTATION = 0x0112
NOISE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
BACK = {
    None: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera in this position would have stored the picture."""


def stored(path: Path, orientation: int | None) -> None:
    """Write the noise as a camera that was turned stores it."""
    picture, exif = Image.fromarray(NOISE), Image.Exif()
    if (back := BACK[orientation]) is not None:
        picture = picture.transpose(back)
        exif[ORIENTATION] = orientation
    options = {"lossless": True} if path.suffix == ".webp" else {}
    picture.save(path, exif=exif, **options)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", BACK)
def test_pictures_are_upright(tmp_path: Path, suffix: str, orientation: int | None) -> None:
    stored(tmp_path / f"a{suffix}", orientation)
    assert (read_rgba(tmp_path / f"a{suffix}", "--data")[..., :3] == NOISE).all()


def test_what_was_turned_is_counted(tmp_path: Path) -> None:
    for number, orientation in enumerate([None, 6, 8, 3]):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        stored(tmp_path / str(number % 2) / f"{number}.png", orientation)
    images = folder.read(tmp_path)
    assert images.intake is not None
    assert images.intake.turned == 3
    assert set(UPRIGHT) == set(range(2, 9))


def test_damaged_exif_does_not_damage_a_picture(tmp_path: Path) -> None:
    for number, exif in enumerate([b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 90]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(NOISE).save(path, exif=exif)
        assert (read_rgba(path, "--data")[..., :3] == NOISE).all()


@pytest.mark.parametrize(
    ("white", "kind"), [(65535, np.uint16), (4095, np.uint16), (1023, np.uint16), (1, np.float32)]
)
def test_deep_grey_is_scaled_by_the_range_of_the_folder(
    tmp_path: Path, white: int, kind: type[np.generic]
) -> None:
    """The closed form: value v of 0 … white becomes 255 v / white."""
    suffix = ".tif" if kind is np.float32 else ".png"
    for name, share in (("bright", 1.0), ("dark", 0.02)):
        (tmp_path / name).mkdir()
        values = np.full((4, 6), share * white, kind)
        Image.fromarray(values).save(tmp_path / name / f"0{suffix}")
    images = folder.read(tmp_path)
    dark = float(np.full(1, 0.02 * white, kind)[0])
    assert images.pixels[:, :, 0, 0].tolist() == [[255] * 3, [round(255 * dark / white)] * 3]
    assert images.intake is not None
    assert (images.intake.scaled, images.intake.white) == (2, white)


@pytest.mark.parametrize(
    ("white", "kind"), [(65535, np.uint16), (4095, np.uint16), (1, np.float32)]
)
def test_the_range_is_that_of_the_pictures_before_they_are_resampled(
    tmp_path: Path, white: int, kind: type[np.generic]
) -> None:
    """Bicubic resampling leads beyond a sharp edge on both sides."""
    (tmp_path / "a").mkdir()
    edge = np.repeat(np.array([[0, 0, 0, 1, 1, 1]]), 6, 0)
    suffix = ".tif" if kind is np.float32 else ".png"
    Image.fromarray((edge * white).astype(kind)).save(tmp_path / "a" / f"0{suffix}")
    Image.fromarray((edge * 255).astype(np.uint8)).save(tmp_path / "a" / "1.png")
    images = folder.read(tmp_path, 17)
    apart = images.pixels[0].int() - images.pixels[1].int()
    assert int(apart.abs().max()) <= 1
    assert images.intake == Intake(read=2, scaled=1, white=white, resized=2)


def test_a_declared_range_is_believed(tmp_path: Path) -> None:
    """A dark picture of a format that says what white is stays dark."""
    for name, value in (("a", 400), ("b", 100)):
        (tmp_path / name).mkdir()
        head = b"P5 6 4 4095\n" + np.full(24, value, ">u2").tobytes()
        (tmp_path / name / "0.pgm").write_bytes(head)
    images = folder.read(tmp_path)
    assert images.pixels[:, 0, 0, 0].tolist() == [round(400 * 255 / 4095), round(100 * 255 / 4095)]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-5.0, "values from -5 to -5"),
        (1e6, r"values from 1e\+06"),
        (9.5, "values from 9.5"),
        (-0.1, "100% of its values outside 0 to 1"),
        (float("nan"), r"a/0\.tif \(24 of 24 values are NaN"),
    ],
)
def test_grey_that_is_no_picture_is_refused(tmp_path: Path, value: float, says: str) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((4, 6), value, np.float32)).save(tmp_path / "a" / "0.tif")
    with pytest.raises(ContentError, match=says):
        folder.read(tmp_path)


def test_grey_that_overshoots_its_range_is_clipped_and_counted(tmp_path: Path) -> None:
    for name, values in (("a", [1.004, -0.05, 0.2, *[0.5] * 21]), ("b", [0.5] * 24)):
        (tmp_path / name).mkdir()
        grey = np.array(values, np.float32).reshape(4, 6)
        Image.fromarray(grey).save(tmp_path / name / "0.tif")
    images = folder.read(tmp_path)
    assert images.pixels[0, 0, 0, :4].tolist() == [255, 0, 51, 128]
    assert images.intake == Intake(read=2, scaled=2, white=1.0, clipped=1)


def test_of_several_pictures_the_first_is_read_and_transparency_dropped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first, second = Image.fromarray(NOISE), Image.fromarray(255 - NOISE)
    for name in ("0.tif", "1.png"):
        first.save(tmp_path / "a" / name, save_all=True, append_images=[second])
    first.save(tmp_path / "a" / "2.webp", save_all=True, append_images=[second], lossless=True)
    hidden = first.copy()
    hidden.putalpha(Image.new("L", (6, 4), 7))
    hidden.save(tmp_path / "a" / "3.png")
    images = folder.read(tmp_path)
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == NOISE).all()
    assert images.intake is not None
    assert (images.intake.first_of_several, images.intake.transparent) == (3, 1)


def progressive(side: int, scans: int) -> bytes:
    """A JPEG whose last pass over the picture is written again and again."""
    out = io.BytesIO()
    Image.new("L", (side, side), 90).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * scans + b"\xff\xd9"


def test_passes_over_a_jpeg_are_counted_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(2000, 2000))
    with pytest.raises(ContentError, match="2000×2000 pixels that are passed over very often"):
        read_rgba(path, "--data")
    path.write_bytes(progressive(2000, 4))
    assert read_rgba(path, "--data")[..., :3].shape == (2000, 2000, 3)


def bomb(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "gif":
        screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
        frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2\x4c\1\0;"
        return screen + frame
    if kind == "tile":
        tags = {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 277: 1, 322: 1 << 20, 323: 1 << 20}
        tags |= {324: 8, 325: 8}
        rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4)
    Image.new("1", (9000, 9000)).save(out, kind.upper())
    return out.getvalue()


@pytest.mark.parametrize("kind", ["gif", "tiff", "png", "ppm", "tile"])
def test_dimensions_are_bounded_before_decoding(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(bomb(kind))
    with pytest.raises(ContentError, match=r"pixels, at most 33,554,432 are decoded"):
        read_rgba(path, "--data")


def test_of_a_sparse_file_only_what_the_disk_holds_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.fromarray(NOISE).save(path)
    os.truncate(path, 200 << 20)
    allowance = Allowance()
    allowance.store(path)
    assert allowance.stored < 1 << 20
    with path.open("rb") as file, pytest.raises(TooMuchWork):
        decode(file, allowance)


def test_pillow_says_nothing_beside_the_sentence(tmp_path: Path) -> None:
    """In a process of its own, in which no logging is set up."""
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 2, 277: 278, 273: 8, 278: 8, 279: 64}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4))
    code = (
        "import sys, pathlib; from unbackdoor.runtime.pictures import read_rgba\n"
        "try: read_rgba(pathlib.Path(sys.argv[1]), '--data')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.tif")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def wide_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits with two channels (grey and transparency), three or four; upside down."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, ORIENTATION, 3, 1, 3) + bytes(4)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"eXIf": exif,
        b"IDAT": zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc32(name + content))
        for name, content in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def wide_tiff(values: NDArray[np.uint16], order: str, *, packed: bool) -> bytes:
    """A TIFF of 16 bits and three channels."""
    height, width, channels = values.shape
    content = values.astype(f"{order}u2").tobytes()
    content = zlib.compress(content) if packed else content
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    tags = {256: width, 257: height, 258: 8, 259: 8 if packed else 1, 262: 2, 273: 14}
    tags |= {277: channels, 278: height, 279: len(content)}
    rows = b"".join(
        struct.pack(f"{order}HHII", tag, 3, 3, value)
        if tag == 258
        else struct.pack(f"{order}HHII", tag, 4, 1, value)
        for tag, value in tags.items()
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 14 + len(content))
    return head + bits + content + struct.pack(f"{order}H", len(tags)) + rows + bytes(4)


@pytest.mark.parametrize(("white", "kind"), [(4095, "png"), (65535, "png"), (4095, "tiff")])
def test_colours_of_16_bits_are_scaled_by_the_range_of_the_folder(
    tmp_path: Path, white: int, kind: str
) -> None:
    """The closed form again; the pictures of a PNG lie upside down."""
    (tmp_path / "a").mkdir()
    values = np.random.default_rng(0).integers(0, white + 1, (4, 6, 4), dtype=np.uint16)
    values[0, 0] = white
    if kind == "png":
        forms = [values[..., :3], values, values[..., [0, 3]]]
        files = [wide_png(form) for form in forms]
        seen = [form[::-1, ::-1, [0, 0, 0] if form.shape[2] == 2 else [0, 1, 2]] for form in forms]
    else:
        ways = [(order, packed) for order in "<>" for packed in (False, True)]
        files = [wide_tiff(values[..., :3], order, packed=packed) for order, packed in ways]
        seen = [values[..., :3]] * 4
    for number, content in enumerate(files):
        (tmp_path / "a" / f"{number}.{kind}").write_bytes(content)
    images = folder.read(tmp_path)
    expected = np.rint(np.stack(seen) * (255 / white))
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == expected).all()
    assert images.intake is not None
    assert (images.intake.scaled, images.intake.white) == (len(files), white)
    assert folder.read(tmp_path, 9).shape == (3, 9, 9)
