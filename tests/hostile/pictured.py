"""Pictures, arrays and tables that ask for memory, time, or files of others."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corpus import Corpus, hostile
from pickled import Call
from places import pictures

Header = dict[str, Any]


def clean(data: Path, *more: str) -> list[str]:
    return ["scan", "shipped:clean", "--data", str(data), *more]


def beside(c: Corpus, name: str, file: str, content: bytes, *more: str) -> list[str]:
    """A folder of ordinary pictures with one more file."""
    folder = pictures(c, name)
    (folder / "a" / file).write_bytes(content)
    return clean(folder, *more)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def scans(side: int, count: int) -> bytes:
    """A JPEG whose last pass over the picture is written again and again."""
    content = saved(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + b"\xff\xd9"


@hostile
def jpeg_of_ten_thousand_scans(c: Corpus, name: str) -> list[str]:
    return beside(c, name, "1.jpg", scans(4000, 10_000))


@hostile
def jpeg_of_many_scans_without_a_suffix(c: Corpus, name: str) -> list[str]:
    return beside(c, name, "1", scans(2000, 5_000))


@hostile
def pictures_that_are_large_before_they_are_scaled(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    Image.new("L", (5000, 5000)).save(folder / "a" / "0.png")
    for index in range(1, 300):
        os.link(folder / "a" / "0.png", folder / "a" / f"{index}.png")
    return clean(folder, "--size", "8")


@hostile
def picture_that_is_sparse(c: Corpus, name: str) -> list[str]:
    arguments = beside(c, name, "1.bmp", saved(Image.new("RGB", (8, 8)), "BMP"))
    os.truncate(Path(arguments[-1]) / "a" / "1.bmp", 1 << 40)
    return arguments


@hostile
def webp_that_is_sparse(c: Corpus, name: str) -> list[str]:
    arguments = beside(c, name, "1", saved(Image.new("RGB", (8, 8)), "WEBP"))
    os.truncate(Path(arguments[-1]) / "a" / "1", 255 << 20)
    return arguments


@hostile
def gif_of_four_billion_pixels(c: Corpus, name: str) -> list[str]:
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2\x4c\1\0;"
    return beside(c, name, "1.gif", screen + frame)


@hostile
def gif_of_many_frames(c: Corpus, name: str) -> list[str]:
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2\2\x4c\1\0"
    return beside(c, name, "1.gif", head + frame * 200_000 + b";")


@hostile
def tiff_of_a_billion_pixels(c: Corpus, name: str) -> list[str]:
    picture = Image.new("1", (30_000, 30_000))
    return beside(c, name, "1.tif", saved(picture, "TIFF", compression="group4"))


def tiff(tags: dict[int, int], more: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", more)


TAGS = {256: 8, 257: 8, 258: 8, 259: 5, 262: 1, 277: 1}


@hostile
def tiff_of_a_giant_tile(c: Corpus, name: str) -> list[str]:
    tile = {322: 1 << 20, 323: 1 << 20, 324: 8, 325: 8}
    return beside(c, name, "1.tif", tiff({**TAGS, **tile}))


@hostile
def tiff_whose_pages_are_in_a_circle(c: Corpus, name: str) -> list[str]:
    return beside(c, name, "1.tif", tiff({**TAGS, 273: 8, 278: 8, 279: 64}, more=8))


@hostile
def tiff_of_a_million_strips(c: Corpus, name: str) -> list[str]:
    return beside(c, name, "1.tif", tiff({**TAGS, 257: 1 << 24, 273: 8, 278: 1, 279: 1}))


@hostile
def webp_of_many_pixels(c: Corpus, name: str) -> list[str]:
    body = b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(41)
    size = struct.pack("<I", 12 + len(body))
    return beside(
        c, name, "1.webp", b"RIFF" + size + b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    )


@hostile
def avif_that_is_cut(c: Corpus, name: str) -> list[str]:
    return beside(c, name, "1.avif", saved(Image.new("RGB", (64, 64)), "AVIF")[:-60])


@hostile
def ppm_of_digits(c: Corpus, name: str) -> list[str]:
    """Numbers as text are read in Python, one by one."""
    return beside(c, name, "1.ppm", b"P3 5000 5000 255\n" + b"1 " * 2_000_000)


@hostile
def bmp_of_runs(c: Corpus, name: str) -> list[str]:
    content = bytearray(saved(Image.new("P", (5000, 5000)), "BMP"))
    content[30:34] = struct.pack("<I", 1)
    return beside(c, name, "1.bmp", bytes(content))


@hostile
def png_with_exif_that_points_anywhere(c: Corpus, name: str) -> list[str]:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\1\3\0\xff\xff\xff\xff" * 2000
    return beside(c, name, "1.png", saved(Image.new("RGB", (8, 8)), "PNG", exif=exif))


@hostile
def folders_in_a_circle(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    (folder / "a" / "again").symlink_to(folder)
    return clean(folder)


@hostile
def folders_of_two_hundred_levels(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    deep = folder / "a" / "/".join("d" * 200)
    deep.mkdir(parents=True)
    (deep / "0.png").write_bytes(b"")
    return clean(folder)


@hostile
def pipe_without_a_suffix(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    os.mkfifo(folder / "a" / "pipe")
    return clean(folder)


@hostile
def program_without_a_suffix(c: Corpus, name: str) -> list[str]:
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({c.canary}) (w) file closefile\n"
    return beside(c, name, "1", program.encode())


@hostile
def classes_that_take_the_terminal_over(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    (folder / "\x1b[2J\u202eowned").mkdir()
    return clean(folder)


def header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    out = io.BytesIO()
    stated: Header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, stated)
    return out.getvalue()


def arrays(c: Corpus, name: str, **members: bytes) -> list[str]:
    path = c.folder / f"{name}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(f"{member}.npy", content)
    return clean(path)


@hostile
def npz_of_objects(c: Corpus, name: str) -> list[str]:
    content = pickle.dumps(Call(open, str(c.canary), "w"), 2)
    return arrays(c, name, x=header((1, 8, 8), "|O") + content, y=header((1,)) + b"\0")


@hostile
def npz_bomb(c: Corpus, name: str) -> list[str]:
    return arrays(c, name, x=header((1 << 16, 64, 64)) + bytes(1 << 28), y=header((1 << 16,)))


@hostile
def npz_with_a_shape_that_lies(c: Corpus, name: str) -> list[str]:
    return arrays(c, name, x=header((1 << 20, 8, 8, 3)), y=header((1 << 20,)))


@hostile
def npz_with_a_nested_header(c: Corpus, name: str) -> list[str]:
    text = b"(" * 9000
    return arrays(c, name, x=b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text)


@hostile
def npz_with_labels_of_a_billion(c: Corpus, name: str) -> list[str]:
    labels = header((2,), "<i8") + struct.pack("<qq", 0, 1 << 40)
    return arrays(c, name, x=header((2, 8, 8)) + bytes(128), y=labels)


@hostile
def npz_of_a_device(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.npz").symlink_to("/dev/zero")
    return clean(c.folder / f"{name}.npz")


@hostile
def npy_that_is_sparse(c: Corpus, name: str) -> list[str]:
    for file, shape in (("x", (1 << 30, 8, 8, 3)), ("y", (1 << 30,))):
        path = c.folder / f"{name}_{file}.npy"
        path.write_bytes(header(shape))
        os.truncate(path, path.stat().st_size + int(np.prod(shape)))
    return clean(c.folder / f"{name}_x.npy")


@hostile
def tensors_for_pictures_that_are_a_program(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}-data.pt"
    path.write_bytes(pickle.dumps(Call(open, str(c.canary), "w"), 2))
    return clean(path)


def table(c: Corpus, name: str, rows: str) -> list[str]:
    path = c.folder / f"{name}.csv"
    path.write_text(f"path,label\n{rows}")
    return clean(path)


@hostile
def table_of_paths_upwards(c: Corpus, name: str) -> list[str]:
    return table(c, name, "../../../../etc/passwd,a\n")


@hostile
def table_of_absolute_paths(c: Corpus, name: str) -> list[str]:
    return table(c, name, "/etc/passwd,a\n")


@hostile
def table_of_a_link(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.png").symlink_to("/etc/passwd")
    return table(c, name, f"{name}.png,a\n")


@hostile
def table_of_one_field(c: Corpus, name: str) -> list[str]:
    return table(c, name, '"' + "x" * (8 << 20))


@hostile
def table_of_a_device(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.csv").symlink_to("/dev/zero")
    return clean(c.folder / f"{name}.csv")


@hostile
def table_that_is_sparse(c: Corpus, name: str) -> list[str]:
    arguments = table(c, name, "a.png,a\n")
    os.truncate(arguments[-1], 1 << 40)
    return arguments


def shard(c: Corpus, name: str, *entries: tuple[tarfile.TarInfo, bytes]) -> list[str]:
    path = c.folder / f"{name}.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return clean(path)


def entry(name: str, content: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in more.items():
        setattr(made, key, value)
    return made, content


@hostile
def shard_of_links_and_devices(c: Corpus, name: str) -> list[str]:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    links = [entry(f"{at}.png", type=kind, linkname="/etc/passwd") for at, kind in enumerate(kinds)]
    return shard(c, name, *links, *(entry(f"{at}.cls", b"0") for at in range(4)))


@hostile
def shard_that_leads_upwards(c: Corpus, name: str) -> list[str]:
    content = saved(Image.new("RGB", (8, 8)), "PNG")
    return shard(c, name, entry(f"..{c.canary}", content), entry("../1.cls", b"0"))


@hostile
def shard_that_is_sparse(c: Corpus, name: str) -> list[str]:
    made, _ = entry("1.png")
    made.size = 1 << 42
    path = c.folder / f"{name}.tar"
    path.write_bytes(made.tobuf())
    os.truncate(path, 1 << 42)
    return clean(path)


@hostile
def shard_with_a_member_of_holes(c: Corpus, name: str) -> list[str]:
    """A sparse member in the notation of GNU, which would unpack to a terabyte."""
    holes = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": f"0,1,{(1 << 40) - 1},1",
    }
    return shard(c, name, entry("1.png", b"ab", pax_headers=holes), entry("1.cls", b"0"))


@hostile
def shard_of_a_label_without_end(c: Corpus, name: str) -> list[str]:
    picture = saved(Image.new("RGB", (8, 8)), "PNG")
    return shard(c, name, entry("1.png", picture), entry("1.cls", b"9" * (8 << 20)))


@hostile
def shard_of_very_many_members(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.tar"
    path.write_bytes(entry("1.txt")[0].tobuf() * 200_000)
    return clean(path)


@hostile
def parquet_that_is_none(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", 1 << 31) + b"PAR1")
    return clean(path)
