"""ONNX graphs: ONNX's own tests, gradients, batches, other exporters, and the way back."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from conftest import WritePictures
from kills import SMALL
from unbackdoor.app.cli import main
from unbackdoor.detectors.settings import BanditSettings, Round
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import Graph, build, freeze, load, save
from unbackdoor.models.onnx import _node
from unbackdoor.models.onnxtensors import Beside
from unbackdoor.models.operators import OPERATORS, Context
from unbackdoor.runtime.files import sha256_of
from unbackdoor.scanning.settings import BUDGETS

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
REFUSED = {
    "training": "evaluation mode",
    r"averagepool_.d_dilations": "dilated",
    "wrap_pad": "wrap",
    "reduce_m.._empty_set": "non-zero size",
}
"""Conformance tests that are refused, by their names, and a part of the reason."""
KNOWN_KINDS = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}


def conformance() -> list[Any]:
    """ONNX's tests of single operators that are in the table, on types that classifiers use."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for operator in OPERATORS:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"{node.__name__}.{operator.lower()}")
    every = node._NodeTestCases

    def counts(case: Any) -> bool:
        graph = case.model.graph
        kinds = {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]}
        return len(graph.node) == 1 and graph.node[0].op_type in OPERATORS and kinds <= KNOWN_KINDS

    return [case for case in every if case.model is not None and counts(case)]


def test_operators_answer_as_onnx_says_or_refuse() -> None:
    right = 0
    for case in conformance():
        name = case.name
        (proto,) = case.model.graph.node
        node = _node(proto, Beside(Path(), b""), name)
        opset = max(entry.version for entry in case.model.opset_import)
        for given, wanted in case.data_sets:
            values = {
                value.name: torch.from_numpy(np.array(array))
                for value, array in zip(case.model.graph.input, given, strict=True)
            }
            inputs = [values[key] if key else None for key in node.inputs]
            context = Context(opset=opset, batch=1, exported=None)
            reason = next((why for part, why in REFUSED.items() if re.search(part, name)), None)
            if reason is not None:
                with pytest.raises((ValueError, IndexError), match=reason):
                    OPERATORS[node.operator](context, node.attributes, *inputs)
                continue
            had = OPERATORS[node.operator](context, node.attributes, *inputs)
            for have, want in zip(had if isinstance(had, tuple) else (had,), wanted, strict=False):
                np.testing.assert_allclose(
                    have.numpy(), want, rtol=1e-3, atol=1e-5, err_msg=name, strict=True
                )
            right += 1
    assert right > 250


def classifier(path: Path, batch: object = "n", *, seed: int = 0, **entries: Any) -> Path:
    """A small network as an exporter by hand writes it, with most that classifiers consist of."""
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (0.4 * draw.standard_normal(shape)).astype(np.float32)

    weights = {
        "mean": np.full((1, 3, 1, 1), 0.5, np.float32),
        "conv.weight": normal(4, 3, 3, 3),
        "conv.bias": normal(4),
        "bn.scale": 1 + normal(4),
        "bn.bias": normal(4),
        "bn.mean": normal(4),
        "bn.var": np.abs(normal(4)) + 0.5,
        "fc.weight": normal(16, 5),
        "fc.bias": normal(5),
        "target": np.array([batch if isinstance(batch, int) else 0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"]
        ),
        helper.make_node("Sigmoid", ["b"], ["s"]),
        helper.make_node("Mul", ["b", "s"], ["silu"]),
        helper.make_node("AveragePool", ["silu"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Reshape", ["p", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc.weight"], ["product"]),
        helper.make_node("Add", ["product", "fc.bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, 5))],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path, **entries
    )
    return path


def reference(path: Path, images: torch.Tensor) -> np.ndarray:
    return ReferenceEvaluator(str(path)).run(None, {"x": images.numpy()})[0]


def test_a_graph_answers_as_the_reference_and_needs_no_architecture(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx")
    loaded = load(str(path))
    images = torch.rand(6, 3, 8, 8)
    assert isinstance(loaded.module, Graph)
    assert (loaded.arch, loaded.suffix) == ("onnx", ".onnx")
    assert np.allclose(loaded.module(images).detach(), reference(path, images), atol=1e-5)
    with pytest.raises(ArgumentError, match="leave --arch out"):
        load(str(path), "resnet20")


@pytest.mark.parametrize("batch", [1, 4, 10_000])
def test_a_fixed_batch_axis_is_freed(batch: int, tmp_path: Path) -> None:
    free, fixed = (load(str(classifier(tmp_path / f"{b}.onnx", b))).module for b in ("n", batch))
    images = torch.rand(7, 3, 8, 8)
    assert torch.allclose(free(images), fixed(images), atol=1e-6)


def test_gradients_agree_with_finite_differences(tmp_path: Path) -> None:
    graph = load(str(classifier(tmp_path / "m.onnx"))).module.double()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(graph, images)
    assert [name.removeprefix("weight ") for name, _ in graph.named_parameters()] == [
        "conv/weight", "conv/bias", "bn/scale", "bn/bias", "fc/weight", "fc/bias"
    ]  # fmt: skip
    for parameter in graph.parameters():
        assert torch.autograd.grad(graph(images).square().sum(), parameter)[0].abs().sum() > 0


def test_it_can_be_frozen_and_copied(tmp_path: Path) -> None:
    graph = load(str(classifier(tmp_path / "m.onnx"))).module
    images = torch.rand(5, 3, 8, 8)
    assert torch.allclose(freeze(graph, half=False)(images), graph(images), atol=1e-4)


def test_a_changed_graph_goes_back_as_it_came(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx", 1)
    graph = load(str(path)).module
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.add_(0.1)
    save(graph, tmp_path / "fixed.onnx", {"repaired_from": "x"})
    before, after = onnx.load(path), onnx.load(tmp_path / "fixed.onnx")
    onnx.checker.check_model(after)
    assert before.graph.node == after.graph.node
    images = torch.rand(1, 3, 8, 8)
    assert np.allclose(
        reference(tmp_path / "fixed.onnx", images), graph(images).detach(), atol=1e-5
    )
    again = load(str(tmp_path / "fixed.onnx"))
    assert again.facts == {"repaired_from": "x"}
    assert torch.equal(again.module(images), graph(images))


def test_its_weights_can_live_elsewhere_with_the_graph_as_architecture(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx")
    graph = load(str(path)).module
    save(graph, tmp_path / "m.safetensors", {})
    other = classifier(tmp_path / "other.onnx", seed=1)
    loaded = load(str(tmp_path / "m.safetensors"), str(other))
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.module(images), graph(images))


def test_external_data_of_the_same_folder_are_read(tmp_path: Path) -> None:
    options = {"save_as_external_data": True, "location": "m.bin", "size_threshold": 0}
    path = classifier(tmp_path / "m.onnx", **options)
    assert (tmp_path / "m.bin").exists()
    images = torch.rand(2, 3, 8, 8)
    assert np.allclose(load(str(path)).module(images).detach(), reference(path, images), atol=1e-5)


def test_the_hash_covers_the_data_beside_a_graph(tmp_path: Path) -> None:
    path = classifier(tmp_path / "whole.onnx")
    assert load(str(path)).sha256 == sha256_of(path)
    options = {"save_as_external_data": True, "location": "m.bin", "size_threshold": 0}
    path = classifier(tmp_path / "m.onnx", **options)
    first = load(str(path)).sha256
    assert load(str(path)).sha256 == first != sha256_of(path)
    data = bytearray((tmp_path / "m.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.bin").write_bytes(data)
    assert load(str(path)).sha256 != first


FOREIGN = ["squeezenet", "shufflenet", "resnet50", "densenet121"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_graph_of_another_exporter_is_run(name: str, tmp_path: Path) -> None:
    """ONNX ships the graphs of well-known classifiers as Caffe2 exported them, for one image."""
    graph = load(without_softmax(name, tmp_path / "m.onnx")).module
    out = TensorProto.FromString((LIGHT / f"light_{name}_output_0.pb").read_bytes())
    images = torch.zeros(2, 3, 224, 224)
    with torch.no_grad():
        assert graph(images).shape[1:] == tuple(out.dims)[1:]


def without_softmax(name: str, path: Path) -> str:
    """Write such a graph up to its logits.

    All weights are the same, so a thousand equal logits can be immense. Where a processor rounds
    some columns of a product otherwise, a softmax of them is one or the other by chance.
    """
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        model.graph.output[0].name = last.input[0]
        model.graph.node.remove(last)
    onnx.save(model, path)
    return str(path)


def enlivened(name: str, classes: int, path: Path) -> str:
    """Write such a graph, whose weights are all the same, with random ones and few classes."""
    draw = np.random.default_rng(0)
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    norms = {n.input[at] for n in graph.node if n.op_type == "BatchNormalization" for at in (1, 4)}
    unsqueezed = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Unsqueeze"}
    factors = {unsqueezed.get(n.input[1]) for n in graph.node if n.op_type == "Mul"}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        shape = [classes if size == 1000 else int(size) for size in held[node.input[0]]]
        if len(shape) > 1:
            size = 0.01 if shape[0] == classes else 1.0
            weights = size * draw.standard_normal(shape) / np.prod(shape[1:]) ** 0.5
        else:
            weights = np.full(shape, float(bool({*node.output} & (norms | factors))))
        graph.node.remove(node)
        tensor = numpy_helper.from_array(weights.astype(np.float32), node.output[0])
        graph.initializer.append(tensor)
    onnx.save(model, path)
    return str(path)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_graph_of_another_exporter_is_scanned(
    name: str,
    tmp_path: Path,
    write_pictures: WritePictures,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = (Round(arms=1, passes=1, most=1),)
    bandit = BanditSettings(starts=1, rounds=one, walk=1, judge=2, deep=1, walkers=1, evaluate=1)
    small = replace(SMALL, bandit=bandit, uniform_draws=2, panel=2, pool=4, stair_draws=2)
    monkeypatch.setitem(BUDGETS, "quick", small)
    model = enlivened(name, 2, tmp_path / "m.onnx")
    data = write_pictures(tmp_path / "data", classes={"dark": 30, "light": 220}, count=16)
    quick = ["--space", "blend:10x4", "--budget", "quick", "-f", "json"]
    command = ["scan", model, "--data", str(data), *quick]
    code = main(command)
    said = capsys.readouterr()
    assert code in {0, 1, 3}, said.err
    result = json.loads(said.out)
    assert result["verdict"] in {"clean", "backdoored", "inconclusive"}
    assert len(result["classes"]) == 2


@pytest.mark.parametrize("share", [1e-4, 1.0])
def test_a_graph_that_mixes_the_images_of_a_batch_is_refused(share: float, tmp_path: Path) -> None:
    """By however little: what was searched for in batches would say nothing of single images."""
    nodes = [
        *linear("w")[:-1],
        helper.make_node("MatMul", ["v0", "w"], ["own"]),
        helper.make_node("ReduceMean", ["own"], ["all"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["all", "share"], ["part"]),
        helper.make_node("Add", ["own", "part"], ["y"]),
    ]
    path = described(tmp_path / "m.onnx", nodes, [weight("w", 0.1), weight("share", share, 1)])
    with pytest.raises(ContentError, match="to two images together"):
        load(path)


def test_a_command_scans_a_graph_and_says_what_it_adapted(
    tmp_path: Path,
    write_pictures: WritePictures,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Probabilities of two classes, for one image of 8 pixels; the pictures have 10."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    weights = np.repeat(np.array([[-0.1, 0.1]], np.float32), 192, 0)
    constants = {"w": weights, "b": np.array([9.6, -9.6], np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2))],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), model)
    classes = {"dark": 30, "light": 220}
    images = str(write_pictures(tmp_path / "data", classes=classes, count=70, side=10))
    monkeypatch.setitem(BUDGETS, "quick", SMALL)
    command = [
        str(model),
        "--data",
        images,
        "--bag",
        "none",
        "--space",
        "patch:1",
        "--budget",
        "quick",
    ]
    assert main(["scan", *command, "-f", "json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["verdict"], result["model"]["arch"]) == ("clean", "onnx")
    assert [finding["check"] for finding in result["preflight"]] == ["size", "softmax"]
    assert said.err.count("unbackdoor: note: ") == said.err.count("\n") == 2
    wrong = ["repair", "shipped:clean", *command[1:], "-o", str(tmp_path / "x.pt")]
    assert main(wrong) == 2  # two classes for ten
    capsys.readouterr()
    assert main(["repair", *command, "-o", str(tmp_path / "fixed.onnx")]) == 0
    assert "nothing to unlearn" in capsys.readouterr().err
    assert not (tmp_path / "fixed.onnx").exists()


def described(path: Path, nodes: list[Any], weights: list[Any], outputs: int = 1) -> str:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 8, 8))],
        [helper.make_tensor_value_info("yz"[i], TensorProto.FLOAT, None) for i in range(outputs)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


def linear(*names: str) -> list[Any]:
    """A layer, and for further names one scale of the logits each."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["v0"]),
        helper.make_node("MatMul", ["v0", names[0]], ["v1"]),
    ]
    for at, name in enumerate(names[1:], 1):
        nodes.append(helper.make_node("Mul", [f"v{at}", name], [f"v{at + 1}"]))
    nodes[-1].output[0] = "y"
    return nodes


def weight(name: str, value: float, *shape: int) -> Any:
    return numpy_helper.from_array(np.full(shape or (192, 2), value, np.float32), name)


def test_names_that_differ_in_signs_alone_stay_apart(tmp_path: Path) -> None:
    names = ["a.b", "a/b", "a~1b", "a~0b", "a/.b", "a./b"]
    weights = [weight(names[0], 1.0), *(weight(n, i + 2.0, 1) for i, n in enumerate(names[1:]))]
    path = described(tmp_path / "m.onnx", linear(*names), weights)
    graph = load(path).module
    images = torch.rand(2, 3, 8, 8)
    assert np.allclose(graph(images).detach(), reference(Path(path), images), rtol=1e-5)
    save(graph, tmp_path / "m.safetensors", {})
    assert torch.equal(load(str(tmp_path / "m.safetensors"), path).module(images), graph(images))


def sliced(kind: int = TensorProto.FLOAT, value: float = 1.0) -> tuple[list[Any], list[Any]]:
    """A layer of weights of some type behind a slice up to the end, as exporters write it."""
    whole = np.array([np.iinfo(np.int64).max], np.int64)
    weights = [
        helper.make_tensor("w", kind, (192, 2), np.full(384, value)),
        numpy_helper.from_array(np.array([0], np.int64), "starts"),
        numpy_helper.from_array(whole, "ends"),
    ]
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends"], ["part"]),
        helper.make_node("Flatten", ["part"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    return nodes, weights


@pytest.mark.parametrize("external", [False, True])
def test_what_is_no_weight_is_written_as_it_came(external: bool, tmp_path: Path) -> None:
    path = Path(described(tmp_path / "m.onnx", *sliced()))
    if external:
        options = {"save_as_external_data": True, "size_threshold": 0, "location": "m.bin"}
        onnx.save(onnx.load(path), path, **options)
    graph = load(str(path)).module
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.add_(0.5)
    (tmp_path / "elsewhere").mkdir()
    fixed = tmp_path / "elsewhere" / "fixed.onnx"
    save(graph, fixed, {})
    before, after = onnx.load(path).graph.initializer, onnx.load(fixed).graph.initializer
    for old, new in zip(list(before)[1:], list(after)[1:], strict=True):
        assert (old.name, old.raw_data) == (new.name, new.raw_data)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(load(str(fixed)).module(images), graph(images))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_weights_keep_the_type_that_they_have_in_the_file(kind: int, tmp_path: Path) -> None:
    graph = load(described(tmp_path / "m.onnx", *sliced(kind))).module
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.mul_(1.2345)
    save(graph, tmp_path / "fixed.onnx", {})
    assert onnx.load(tmp_path / "fixed.onnx").graph.initializer[0].data_type == kind


def test_a_weight_that_its_type_cannot_hold_is_not_written(tmp_path: Path) -> None:
    graph = load(described(tmp_path / "m.onnx", *sliced(TensorProto.FLOAT16))).module
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.fill_(1e6)
    with pytest.raises(ContentError, match=r"float16.*ends in \.safetensors"):
        save(graph, tmp_path / "fixed.onnx", {})
    assert not (tmp_path / "fixed.onnx").exists()


def test_a_file_that_would_answer_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = load(described(tmp_path / "m.onnx", *sliced())).module
    before = sorted(tmp_path.iterdir())
    real = numpy_helper.from_array
    monkeypatch.setattr(numpy_helper, "from_array", lambda values, name: real(2 * values, name))
    with pytest.raises(ContentError, match="answers otherwise"):
        save(graph, tmp_path / "fixed.onnx", {})
    monkeypatch.setattr(numpy_helper, "from_array", lambda values, name: real(values[:5], name))
    with pytest.raises(ContentError, match="cannot be read back"):
        save(graph, tmp_path / "fixed.onnx", {})
    assert sorted(tmp_path.iterdir()) == before


def test_of_two_outputs_none_is_chosen(tmp_path: Path) -> None:
    nodes = [*linear("w"), helper.make_node("Relu", ["y"], ["z"])]
    path = described(tmp_path / "m.onnx", nodes, [weight("w", 1.0)], 2)
    with pytest.raises(ContentError, match=r"gives 2 outputs \(.y., .z.\); expected one of each"):
        load(path)


def constant(name: str) -> Any:
    return helper.make_node("Constant", [], [name], value=weight("", 1.0))


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        (linear("w"), [weight("w", 1.0), weight("w", 2.0)]),
        ([constant("w"), *linear("w")], [weight("w", 2.0)]),
        ([constant("w"), constant("w"), *linear("w")], []),
        ([*linear("w"), *linear("w")], [weight("w", 1.0)]),
        ([constant("x"), *linear("w")], [weight("w", 1.0)]),
        ([helper.make_node("Split", ["x"], ["s", "s"], axis=1), *linear("w")], [weight("w", 1.0)]),
    ],
    ids=["weights", "constant", "constants", "nodes", "image", "outputs"],
)
def test_a_name_that_is_given_twice_is_refused(
    nodes: list[Any], weights: list[Any], tmp_path: Path
) -> None:
    path = described(tmp_path / "m.onnx", nodes, weights)
    with pytest.raises(ContentError, match=r"is given twice|two weights of the name"):
        load(path)


@pytest.mark.parametrize("shape", [(1, 8, 8, 2), (1, 3, 8), (1, 3, 2000, 8), (-1, 3, 8, 8)])
def test_an_input_that_is_no_picture_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "m.onnx"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    model.graph.input[0].CopyFrom(given)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ContentError, match="expected pictures"):
        load(str(tmp_path / "m.onnx"))


def test_a_graph_that_mixes_in_single_precision_alone_is_refused(tmp_path: Path) -> None:
    """(x + 10⁸) − 10⁸ − x is nothing in double precision, and rounding in single."""
    nodes = [
        *linear("w")[:-1],
        helper.make_node("MatMul", ["v0", "w"], ["own"]),
        helper.make_node("Add", ["own", "large"], ["up"]),
        helper.make_node("Sub", ["up", "large"], ["down"]),
        helper.make_node("Sub", ["down", "own"], ["told"]),
        helper.make_node("ReduceSum", ["told"], ["all"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["all", "share"], ["part"]),
        helper.make_node("Add", ["own", "part"], ["y"]),
    ]
    weights = [weight("w", 0.137), weight("large", 1e8, 1), weight("share", 1.0, 1)]
    with pytest.raises(ContentError, match="to two images together"):
        load(described(tmp_path / "m.onnx", nodes, weights))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.attention = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3), nn.Hardswish())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens).mean(1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make", [Mixer, lambda: build("resnet8-wide", 3)], ids=["transformer", "resnet"]
)
@pytest.mark.parametrize("free", [True, False])
def test_an_export_of_torch_answers_as_the_network(
    make: Callable[[], nn.Module], free: bool, tmp_path: Path
) -> None:
    network = make().eval()
    path = tmp_path / "m.onnx"
    axes = {"x": {0: "n"}} if free else None
    torch.onnx.export(
        network,
        (torch.rand(1, 3, 16, 16),),
        path,
        dynamo=False,
        input_names=["x"],
        dynamic_axes=axes,
    )
    images = torch.rand(3, 3, 16, 16)
    if isinstance(network, Mixer) and not free:  # its heads and images share an axis
        with pytest.raises(ContentError, match="with a free batch axis"):
            load(str(path))
        return
    graph = load(str(path)).module
    assert torch.allclose(graph(images), network(images), atol=1e-4)
