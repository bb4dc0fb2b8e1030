"""Safetensors whose headers lie."""

from __future__ import annotations

import json

import safetensors.torch
import torch

from corpus import ARCH, Corpus, hostile


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


@hostile
def tensors_whose_name_is_of_dots(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"a." * 2_000_000 + "w": entry([1], 0, 4)}, bytes(4))


@hostile
def tensors_without_bytes_for_many_classes(c: Corpus, name: str) -> list[str]:
    return c.tensors(name, {"classifier.weight": entry([100_000, 0], 0, 0)})
