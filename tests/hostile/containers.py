"""Zip archives that are not what torch.save writes."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import torch

from corpus import Corpus, hostile
from pickled import opens


@hostile
def zip_bomb(c: Corpus, name: str) -> list[str]:
    return c.zipped(
        name, b"\x80\x02}.", ("m/data/0", bytes(200 << 20)), compression=zipfile.ZIP_DEFLATED
    )


@hostile
def zip_whose_members_overlap(c: Corpus, name: str) -> list[str]:
    """A thousand entries of the directory point at one member."""
    path = c.folder / f"{name}.pt"
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr("m/data/0", bytes(1 << 20))
        first = archive.filelist[1]
        for index in range(1, 1000):
            copy = zipfile.ZipInfo(f"m/data/{index}")
            copy.header_offset, copy.file_size = first.header_offset, first.file_size
            copy.compress_size, copy.CRC = first.compress_size, first.CRC
            archive.filelist.append(copy)
    path.write_bytes(body.getvalue())
    return c.scan(path)


@hostile
def zip_with_paths_upwards(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02}.", ("m/../../evil", b"x"))


@hostile
def zip_with_absolute_paths(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02}.", ("/etc/evil", b"x"))


@hostile
def zip_with_two_pickles_of_one_name(c: Corpus, name: str) -> list[str]:
    """One reader takes the first of them, another the last."""
    return c.zipped(name, b"\x80\x02}.", ("m/data.pkl", b"\x80\x02" + opens(c) + b"."))


@hostile
def zip_with_two_pickles_up_to_case(c: Corpus, name: str) -> list[str]:
    """One reader takes the name as it is written, another (torch) does not regard case."""
    return c.zipped(name, b"\x80\x02}.", ("m/DATA.PKL", b"\x80\x02" + opens(c) + b"."))


def divided(content: bytes) -> tuple[bytes, bytearray, bytearray]:
    """Return the members of an archive, its directory and its end record."""
    length, offset = struct.unpack("<II", content[-10:-2])
    end = offset + length
    return content[:offset], bytearray(content[offset:end]), bytearray(content[end:])


def of_one_pickle(content: bytes) -> tuple[bytes, bytearray, bytearray]:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("m/data.pkl", content)
    return divided(body.getvalue())


@hostile
def zip_with_two_directories(c: Corpus, name: str) -> list[str]:
    """Python's zipfile follows the one right before the end, torch the one that the end names."""
    first, hidden, end = of_one_pickle(b"\x80\x02" + opens(c) + b"." + bytes(1000))
    second, seen, _ = of_one_pickle(b"\x80\x02}.")
    seen[42:46] = struct.pack("<I", len(first) - len(hidden))  # zipfile adds what lies between
    end[16:20] = struct.pack("<I", len(first) + len(second))
    path = c.folder / f"{name}.pt"
    path.write_bytes(first + second + hidden + seen + end)
    return c.scan(path)


@hostile
def zip_that_is_encrypted(c: Corpus, name: str) -> list[str]:
    arguments = c.zipped(name, b"\x80\x02}.")
    path = Path(arguments[1])
    content = bytearray(path.read_bytes())
    for start in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[start] |= 1
    path.write_bytes(content)
    return arguments


@hostile
def zip_with_something_behind(c: Corpus, name: str) -> list[str]:
    arguments = c.zipped(name, b"\x80\x02}.")
    path = Path(arguments[1])
    path.write_bytes(path.read_bytes() + b"\x80\x02" + opens(c) + b".")
    return arguments


@hostile
def zip_with_a_directory_that_lies(c: Corpus, name: str) -> list[str]:
    arguments = c.zipped(name, b"\x80\x02}.")
    path = Path(arguments[1])
    content = bytearray(path.read_bytes())
    content[-10:-6] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    return arguments


@hostile
def zip_that_is_cut(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.pt"
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-700])
    return c.scan(path)


@hostile
def zip_of_a_torchscript_program(c: Corpus, name: str) -> list[str]:
    program = ("m/code/__torch__.py", b"class M: pass"), ("m/constants.pkl", b"\x80\x02).")
    return c.zipped(name, b"\x80\x02}.", *program)


@hostile
def zip_of_an_exported_program(c: Corpus, name: str) -> list[str]:
    arguments = c.zipped(
        name, b"\x80\x02}.", ("m/models/model.json", b"{}"), ("m/archive_format", b"pt2")
    )
    path = Path(arguments[1])
    path = path.rename(path.with_suffix(".pt2"))
    return c.scan(path, arch=None)
