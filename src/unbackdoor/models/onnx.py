"""ONNX files, both ways: a protobuf message that is measured before it is parsed, then a graph.

The graph is run by :class:`~unbackdoor.models.graph.Graph`, so no architecture code is needed; a
repaired one is the file that came with other weights in it. onnx2torch was not taken: its last
release is of August 2024, it needs torchvision for operators that no classifier has, its modules
cannot be written back, and it knows neither batches for a graph of one image nor bounds of memory.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError, ContentError, brief, few
from unbackdoor.models.alike import alike
from unbackdoor.models.graph import Graph, Node, Source
from unbackdoor.models.onnxbytes import LARGEST_STRUCTURE, structure
from unbackdoor.models.onnxends import ends_of, layouts_of, shape_of
from unbackdoor.models.onnxtensors import Beside, read_tensor
from unbackdoor.models.operators import OPERATORS
from unbackdoor.models.safetensors import HEADER
from unbackdoor.runtime.files import check_fetched, solid_bytes

LARGEST_FILE = (1 << 31) - 1
"""No protobuf message is longer."""
MOST_NODES, EDGES = 20_000, 4
"""Nodes, and how many inputs one may have on average."""
TRIED = 4
"""Pictures on which a written file has to answer as the network that was written."""
ELSEWHERE = "name a file that ends in .safetensors"
DOMAINS = {"", "ai.onnx"}


def read(path: Path) -> tuple[Graph, dict[str, Any]]:
    """Return the graph of a file as a module, and the provenance that the file holds.

    Raises:
        ArgumentError: the package onnx is not installed.
        ContentError: it is no such file, a damaged one, or a graph that cannot be run.
        OSError: the file cannot be read.

    """
    onnx = _package()
    what = f"MODEL: {path}"
    check_fetched(path, "MODEL")
    if path.stat().st_size > LARGEST_FILE:
        raise ContentError(f"{what} is larger than 2 GiB; keep its weights in external data.")
    if solid_bytes(path) < path.stat().st_size:
        raise ContentError(f"{what} has holes that were never written; copy or fetch it anew.")
    with path.open("rb") as file:
        content = file.read()
    try:
        model = _parsed(content, onnx)
    except Exception as error:  # protobuf raises DecodeError, which no type stub knows
        raise ContentError(
            f"{what} is not an ONNX file that can be read ({brief(error)}); export it anew."
        ) from error
    return graph_of(model, path, Beside(path.parent, content))


def graph_of(model: Any, path: Path, beside: Beside) -> tuple[Graph, dict[str, Any]]:
    """Return the graph of a message as a module, and the provenance that it holds.

    Args:
        model: the message.
        path: of the file that it was made of.
        beside: that file, and those beside it.

    Raises:
        ContentError: it is a graph that cannot be run.

    """
    what = f"MODEL: {path}"
    image, logits = _check(model, path)
    names = [tensor.name for tensor in model.graph.initializer]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ContentError(f"{what} has two weights of the name {twice[0]!r}; export it anew.")
    weights = {
        tensor.name: read_tensor(tensor, beside, f"{what}: {tensor.name}")
        for tensor in model.graph.initializer
    }
    nodes = [_node(node, beside, what) for node in model.graph.node]
    opset = max((o.version for o in model.opset_import if o.domain in DOMAINS), default=1)
    layouts = layouts_of(shape_of(image), what)
    source = Source(model, beside.sha256())
    refusal: ContentError | None = None
    for layout, sizes in layouts.items():
        graph = Graph(
            source,
            nodes,
            weights,
            opset=opset,
            image=image.name,
            logits=logits.name,
            shape=sizes,
            layout=layout,
        )
        try:
            graph.try_out(what)
        except ContentError as error:
            refusal = refusal or error
        else:
            return graph, _facts(model)
    assert refusal is not None
    raise refusal


def write(graph: Graph, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the file that ``graph`` came from with its present weights in it, and read it back.

    Raises:
        ContentError: what was written is not the network that was to be written.

    """
    model = copy.deepcopy(graph.source.model)
    wanted = copy.deepcopy(graph).cpu()
    weights = wanted.named_weights()
    for tensor in _tensors_of(model):
        if (name := tensor.name) in weights:
            _replace(tensor, weights[name].data)
    kept = [entry for entry in model.metadata_props if entry.key != HEADER]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=HEADER, value=json.dumps(dict(facts)))
    path.write_bytes(model.SerializeToString())
    try:
        written = read(path)[0]
    except ContentError as error:
        raise ContentError(
            f"-o: what was written cannot be read back ({error}); {ELSEWHERE}."
        ) from error
    images = torch.rand(TRIED, *graph.picture, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if not alike(written(images), wanted.float()(images)):
            raise ContentError(f"-o: what was written answers otherwise; {ELSEWHERE}.")


def _replace(tensor: Any, values: Tensor) -> None:
    """Write ``values`` into a tensor of a file, and round them in place to the type of that tensor.

    Tensors of other than floating-point types have not changed and keep their bytes; a number such
    as the largest int64 (the end of a slice) could not be converted to another type and back.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if values.is_floating_point():
        with np.errstate(over="ignore"):  # said below
            content = values.double().numpy().astype(kind)
        kept = torch.from_numpy(content.astype(np.float64))
        if not torch.equal(kept.isfinite(), values.isfinite()):
            raise ContentError(
                f"-o: the weight {tensor.name[:80]!r} has grown beyond {kind.name}, the type that "
                f"it has in the file; {ELSEWHERE}."
            )
        values.copy_(kept)
    elif tensor.data_location == TensorProto.EXTERNAL:
        content = values.numpy()
    else:
        return
    tensor.CopyFrom(numpy_helper.from_array(content.reshape(tuple(tensor.dims)), tensor.name))


def _parsed(content: bytes, onnx: Any) -> Any:
    count = structure(memoryview(content))
    if count > LARGEST_STRUCTURE:
        raise ValueError(
            f"{count:,} bytes beside its weights, of which {LARGEST_STRUCTURE >> 20} MiB are read"
        )
    return onnx.ModelProto.FromString(content)


def _package() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ArgumentError(
            "MODEL: .onnx files are read with the package onnx, which is not installed; "
            "pip install 'unbackdoor[onnx]'."
        ) from error
    return onnx


def _tensors_of(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    yield attribute.t


def _facts(model: Any) -> dict[str, Any]:
    for entry in model.metadata_props:
        if entry.key == HEADER:
            try:
                facts: object = json.loads(entry.value)
            except (ValueError, RecursionError):
                continue
            if isinstance(facts, dict):
                return cast("dict[str, Any]", facts)
    return {}


def _texts(model: Any) -> Iterator[object]:
    """Yield every name that is used."""
    graph = model.graph
    for value in [*graph.input, *graph.output, *graph.initializer]:
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for entry in model.opset_import:
        yield entry.domain


def _check(model: Any, path: Path) -> tuple[Any, Any]:
    """Return the input and the output of a graph that can be run.

    What it takes and gives comes before its operators: those beside the logits are of no concern.
    """
    graph, what = model.graph, f"MODEL: {path}"
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf hands them on as bytes
        raise ContentError(f"{what} has names that are not UTF-8; export it anew.")
    count = max(len(graph.node), sum(len(node.input) for node in graph.node) // EDGES)
    if count > MOST_NODES:
        raise ContentError(
            f"{what} has {len(graph.node):,} nodes with {count * EDGES:,} inputs; graphs of at "
            f"most {MOST_NODES:,} nodes with {EDGES} inputs each are run, and no classifier of "
            f"pictures needs more; export the network that it was made from."
        )
    if model.functions or graph.sparse_initializer:
        raise ContentError(
            f"{what} has functions of its own or sparse weights, which are not read; export it "
            f"with its functions inlined (onnx.inliner) and dense weights."
        )
    ends = ends_of(graph, path)
    unknown = sorted(
        {node.op_type for node in graph.node if node.op_type not in OPERATORS}
        | {f"{node.domain}.{node.op_type}" for node in graph.node if node.domain not in DOMAINS}
    )
    if unknown:
        raise ContentError(
            f"{what} has operators that cannot be run here ({few(unknown, 4)}); "
            f"export the plain floating-point network, or give its weights as .safetensors with "
            f"--arch FILE.py:FUNCTION."
        )
    return ends


def _node(node: Any, beside: Beside, what: str) -> Node:
    from onnx import AttributeProto, helper

    where = f"{what}: node {node.name or node.op_type}"
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            attributes[attribute.name] = read_tensor(attribute.t, beside, where)
        elif (
            attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS}
            or attribute.ref_attr_name
        ):
            raise ContentError(f"{where} has a graph inside, which is not run; export it without.")
        else:
            try:
                value = helper.get_attribute_value(attribute)
            except ValueError as error:
                raise ContentError(f"{where}: {brief(error)}; export it anew.") from error
            attributes[attribute.name] = (
                value.decode(errors="replace") if isinstance(value, bytes) else value
            )
    if node.op_type == "Split":
        attributes.setdefault("num_outputs", len(node.output))
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)
