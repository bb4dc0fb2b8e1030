"""ONNX graphs for pictures of any form: not square, channels last, with their data elsewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from drawn_graphs import write
from unbackdoor.errors import ContentError
from unbackdoor.models import load
from unbackdoor.models.graph import ROOM, Graph

Shape = tuple[Any, ...]


def node(kind: str, *inputs: str, to: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


def convolution(last: bool, channels: int = 3) -> tuple[list[Any], dict[str, Any]]:
    """A small network, which tells rows from columns."""
    draw = np.random.default_rng(0)
    nodes = [node("Transpose", "x", to="t", perm=[0, 3, 1, 2])] if last else []
    nodes += [
        node("Conv", "t" if last else "x", "k", to="c", strides=[2, 2]),
        node("Relu", "c", to="r"),
        node("GlobalAveragePool", "r", to="p"),
        node("Flatten", "p", to="f"),
        node("Gemm", "f", "w", to="y"),
    ]
    weights = {"k": (6, channels, 3, 2), "w": (6, 4)}
    return nodes, {k: draw.normal(size=s).astype(np.float32) for k, s in weights.items()}


@pytest.mark.parametrize(
    ("last", "shape", "picture"),
    [
        (False, ("n", 3, 16, 48), (3, 16, 48)),
        (False, ("n", 3, "h", "w"), (3, 12, 20)),
        (True, ("n", 16, 16, 3), (3, 16, 16)),
        (True, (1, 16, 48, 3), (3, 16, 48)),
        (True, ("n", "h", "w", 3), (3, 12, 20)),
        (True, ("n", "h", "w", "c"), (3, 12, 20)),
        (False, ("n", "c", "h", "w"), (3, 12, 20)),
        (True, ("n", 14, 14, 1), (1, 14, 14)),
    ],
)
def test_pictures_of_any_form_get_the_answers_of_the_reference(
    last: bool, shape: Shape, picture: tuple[int, int, int], tmp_path: Path
) -> None:
    nodes, weights = convolution(last, picture[0])
    model = write(tmp_path / "m.onnx", nodes, weights, shape)
    loaded = load(str(tmp_path / "m.onnx")).module
    images = torch.rand(3, *picture)
    given = (images.permute(0, 2, 3, 1) if last else images).numpy()
    reference = ReferenceEvaluator(model)
    wanted = [reference.run(None, {"x": one[None]})[0] for one in given]  # pyright: ignore
    assert np.allclose(loaded(images).detach().numpy(), np.concatenate(wanted), atol=1e-4)
    assert isinstance(loaded, Graph)
    assert loaded.sides == (picture[1:] if isinstance(shape[2 if not last else 1], int) else None)


@pytest.mark.parametrize(("count", "picture"), [(192, (3, 8, 8)), (784, (1, 28, 28))])
def test_rows_of_pixels_are_taken_as_square_pictures(
    count: int, picture: tuple[int, int, int], tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    nodes = [
        node("Gemm", "x", "w", to="h"),
        node("Relu", "h", to="r"),
        node("Gemm", "r", "v", to="y"),
    ]
    weights = {"w": draw.normal(size=(count, 9)), "v": draw.normal(size=(9, 4))}
    named = {key: value.astype(np.float32) for key, value in weights.items()}
    model = write(tmp_path / "m.onnx", nodes, named, ("n", count))
    loaded = load(str(tmp_path / "m.onnx")).module
    assert isinstance(loaded, Graph)
    assert loaded.picture == picture
    images = torch.rand(3, *picture)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": images.flatten(1).numpy()})  # pyright: ignore
    assert np.allclose(loaded(images).detach().numpy(), wanted, atol=1e-4)
    write(tmp_path / "free.onnx", nodes, named, ("n", "f"))
    with pytest.raises(ContentError, match="rows of any length, not pictures"):
        load(str(tmp_path / "free.onnx"))
    write(tmp_path / "odd.onnx", nodes, named, ("n", 200))
    with pytest.raises(ContentError, match="rows of 200 numbers, not pictures"):
        load(str(tmp_path / "odd.onnx"))


def test_pictures_without_an_axis_for_channels_are_grey(tmp_path: Path) -> None:
    """So are networks of Keras exported that begin with ``Flatten(input_shape=(28, 28))``."""
    nodes = [node("Reshape", "x", "s", to="f"), node("Gemm", "f", "w", to="y")]
    draw = np.random.default_rng(0).normal(size=(784, 4)).astype(np.float32)
    weights = {"s": np.array([-1, 784]), "w": draw}
    images = torch.rand(3, 1, 28, 28)
    for shape in (("n", 28, 28), (1, 28, 28)):
        model = write(tmp_path / "m.onnx", nodes, weights, shape)
        loaded = load(str(tmp_path / "m.onnx")).module
        assert isinstance(loaded, Graph)
        assert loaded.picture == (1, 28, 28)
        (wanted,) = ReferenceEvaluator(model).run(None, {"x": images[:, 0].numpy()})  # pyright: ignore
        assert np.allclose(loaded(images).detach().numpy(), wanted, atol=1e-4)
    for shape in ((3, 28, 28), ("n", 28, 14), ("n", "h", "w")):
        write(tmp_path / "other.onnx", nodes, weights, shape)
        with pytest.raises(ContentError, match="expected pictures"):
            load(str(tmp_path / "other.onnx"))


def opened(path: Path) -> nn.Module:
    """Type the command of the refusal, and read what it makes."""
    with pytest.raises(ContentError, match="python -c ") as caught:
        load(str(path))
    command = str(caught.value).rpartition("python -c ")[2]
    code, made = re.fullmatch(r"('.*') makes (.*\.onnx) with .*", command).groups()  # pyright: ignore
    subprocess.run([sys.executable, "-c", *shlex.split(code)], check=True)
    return load(made).module


@pytest.mark.parametrize("form", ["two outputs", "training"])
def test_logits_are_cut_out_of_a_graph_of_several_ends(form: str, tmp_path: Path) -> None:
    """A graph of training takes the true classes too, and gives its accuracy alone."""
    nodes = [
        node("Conv", "im:0", "k", to="c"),
        node("GlobalAveragePool", "c", to="p"),
        node("Flatten", "p", to="it's:0"),
        node("ArgMax", "it's:0", to="best", axis=1),
        node("ArgMax", "true:0", to="right", axis=1),
        node("Equal", "best", "right", to="same"),
        helper.make_node("Cast", ["same"], ["float"], to=TensorProto.FLOAT),
        node("ReduceMean", "float", to="accuracy:0", keepdims=0),
    ]
    kernels = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {
            "im:0": ("n", 3, 8, 8),
            "true:0": ("n", 4),
            "it's:0": ("n", 4),
            "c": ("n", 4, 6, 6),
            "accuracy:0": (),
        }.items()
    }
    training = form == "training"
    graph = helper.make_graph(
        nodes if training else nodes[:3],
        "g",
        [values["im:0"], values["true:0"]] if training else [values["im:0"]],
        [values["accuracy:0"]] if training else [values["c"], values["it's:0"]],
        [numpy_helper.from_array(kernels, "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path / "my $net.onnx"
    onnx.save(model, path)
    with pytest.raises(ContentError, match=r"2 inputs \(.* 1 output " if training else "1 input "):
        load(str(path))
    images = torch.rand(2, 3, 8, 8)
    wanted = nn.functional.conv2d(images, torch.from_numpy(kernels)).mean((2, 3))
    assert torch.allclose(opened(path)(images), wanted, atol=1e-5)


def external(folder: Path, location: str) -> Path:
    nodes, weights = convolution(last=False)
    model = write(folder / "whole.onnx", nodes, weights, ("n", 3, 8, 8))
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.external_data_helper.convert_model_to_external_data(
        model, location=location, size_threshold=0
    )
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def test_data_in_a_folder_beside_the_graph(tmp_path: Path) -> None:
    path = external(tmp_path, "weights/deeper/m.data")
    images = torch.rand(2, 3, 8, 8)
    whole = load(str(tmp_path / "whole.onnx")).module
    loaded = load(str(path))
    assert torch.equal(loaded.module(images), whole(images))
    (tmp_path / "weights/deeper/m.data").write_bytes(bytes(100_000))
    assert load(str(path)).sha256 != loaded.sha256


@pytest.mark.parametrize("way", ["file", "folder", "upwards", "absolute"])
def test_data_outside_the_folder_are_refused(way: str, tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    path = external(inside, "weights/m.data")
    data = inside / "weights" / "m.data"
    if way == "file":
        data.rename(tmp_path / "m.data")
        data.symlink_to(tmp_path / "m.data")
    elif way == "folder":
        data.parent.rename(tmp_path / "weights")
        (inside / "weights").symlink_to(tmp_path / "weights")
    elif way == "absolute":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = str(tmp_path / "m.data")
        data.rename(tmp_path / "m.data")
        path.write_bytes(model.SerializeToString())
    else:
        data.rename(tmp_path / "m.data")
        path.write_bytes(path.read_bytes().replace(b"weights/m.data", b"s/../../m.data"))
        (inside / "s").mkdir()
    with pytest.raises(ContentError, match="no file of its folder"):
        load(str(path))


def test_only_so_many_images_go_through_at_a_time_as_memory_allows(tmp_path: Path) -> None:
    """A value of 12 million numbers for each image: five at a time, whatever the batch."""
    nodes = [
        node("Flatten", "x", to="f"),
        node("Tile", "f", "n", to="t"),
        node("ReduceMean", "t", to="q", axes=[1], keepdims=1),
        node("Gemm", "f", "w", to="g"),
        node("Add", "g", "q", to="y"),
    ]
    weights = {"n": np.array([1, 1000]), "w": np.eye(12288, 4, dtype=np.float32)}
    write(tmp_path / "m.onnx", nodes, weights, ("n", 3, 64, 64))
    graph = load(str(tmp_path / "m.onnx")).module
    assert isinstance(graph, Graph)
    assert graph.most == ROOM // (1001 * 12288) == 5
    images = torch.rand(7, 3, 64, 64)
    flat = images.flatten(1)
    wanted = flat[:, :4] + flat.mean(1, keepdim=True)
    assert torch.allclose(graph(images), wanted, atol=1e-4)


def test_graphs_of_too_many_inputs_or_values_are_refused(tmp_path: Path) -> None:
    head = [node("Flatten", "x", to="f"), node("Gemm", "f", "w", to="g")]
    weights = {"w": np.eye(192, 4, dtype=np.float32)}
    many = [node("Concat", *["g"] * 200_000, to="c", axis=1), node("ReduceMean", "c", to="y")]
    write(tmp_path / "many.onnx", [*head, *many], weights, ("n", 3, 8, 8))
    with pytest.raises(ContentError, match="4 inputs each"):
        load(str(tmp_path / "many.onnx"))
    kept = [node("Tile", "f", "n", to="t0")]
    kept += [node("Relu", f"t{i}", to=f"t{i + 1}") for i in range(150)]
    kept += [node("ReduceMean", "t150", to="q", axes=[1]), node("Add", "g", "q", to="y")]
    weights["n"] = np.array([1, 10_000])
    write(tmp_path / "kept.onnx", [*head, *kept], weights, ("n", 3, 8, 8))
    with pytest.raises(ContentError, match="for a gradient"):
        load(str(tmp_path / "kept.onnx"))
