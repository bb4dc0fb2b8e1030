"""ONNX files that reach out, grow, or never end."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from corpus import Corpus, hostile


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
def onnx_data_again_and_again(c: Corpus, name: str) -> list[str]:
    """Eighty tensors that are all the same 16 MiB of one file."""
    (c.folder / "again.bin").write_bytes(bytes(16 << 20))
    values: dict[str, Any] = {}
    for index in range(80):
        value = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[1 << 22])
        value.data_location = TensorProto.EXTERNAL
        value.external_data.add(key="location", value="again.bin")
        values[value.name] = value
    return c.graph(name, head(), values)


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
def onnx_for_pictures_of_a_terabyte(c: Corpus, name: str) -> list[str]:
    return c.graph(name, head(), {}, shape=(1, 3, 1 << 19, 1 << 19))


@hostile
def onnx_for_pictures_of_many_gigabytes(c: Corpus, name: str) -> list[str]:
    return c.graph(name, head(), {}, shape=(1, 3, 40_000, 40_000))


@hostile
def onnx_gathers_from_anywhere(c: Corpus, name: str) -> list[str]:
    nodes = [node("Flatten", "x", to="f"), node("Gather", "f", "i", axis=1)]
    return c.graph(name, nodes, {"i": np.array([1 << 40, -(1 << 40)], np.int64)})


@hostile
def onnx_in_a_circle(c: Corpus, name: str) -> list[str]:
    return c.graph(name, [node("Add", "x", "y", to="z"), node("Relu", "z")], {})


@hostile
def onnx_gives_a_weight_twice(c: Corpus, name: str) -> list[str]:
    def change(model: Any) -> None:
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])

    nodes = [node("Flatten", "x", to="f"), node("MatMul", "f", "w")]
    return c.graph(name, nodes, {"w": np.zeros((192, 2), np.float32)}, change=change)


@hostile
def onnx_with_two_outputs(c: Corpus, name: str) -> list[str]:
    def change(model: Any) -> None:
        model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None))

    return c.graph(name, head(), {}, change=change)


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
