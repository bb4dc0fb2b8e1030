"""Networks of Keras as graphs of ONNX operators: ``.h5`` and ``.keras`` files of Keras 2 and 3.

A network of Keras is a configuration, which is data, and numbers. Each layer becomes the operators
of ONNX that compute the same, so that such a file is run, bounded, and written like any other graph
(:mod:`unbackdoor.models.onnx`), and Keras itself is not needed.

tf2onnx and Keras' own export were not taken: both run what the file describes, and neither reads
what Keras 2 wrote without the TensorFlow of its time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from unbackdoor.errors import ContentError, brief, few, printable
from unbackdoor.models import onnx
from unbackdoor.models.contents import keras_command
from unbackdoor.models.graph import Graph
from unbackdoor.models.kerasfiles import (
    Array,
    DamagedError,
    KerasFile,
    UnreadableError,
    read_file,
)
from unbackdoor.models.keraslayers import LAYERS, ROLES, Value, activated, pair
from unbackdoor.models.onnxtensors import Beside

OPSET = 20
CONTAINERS = {"Sequential", "Functional", "Model"}
MOST_CALLS = 5_000
"""Calls of layers in a network, at most."""
NOTHING = {
    *("InputLayer", "Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout"),
    *("GaussianNoise", "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom"),
    *("RandomContrast", "RandomTranslation", "RandomBrightness"),
}
"""Layers that do nothing outside training."""


def read(path: Path) -> tuple[Graph, dict[str, Any]]:
    """Return the network of a file as a graph, and the provenance that it holds, none.

    Raises:
        ArgumentError: the packages h5py and onnx are not installed.
        ContentError: it is damaged, has layers that are not known, or cannot be run.
        OSError: the file cannot be read.

    """
    content = path.read_bytes()
    try:
        model = _Translation(read_file(content)).model()
    except DamagedError as error:
        raise ContentError(f"MODEL: {path} is damaged ({error}); fetch or save it anew.") from error
    except UnreadableError as error:
        raise ContentError(
            f"MODEL: {path} cannot be read as a network of Keras here ({error}); "
            f"{keras_command(path)}."
        ) from error
    return onnx.graph_of(model, path, Beside(path.parent, content))


class _Translation:
    """Collects the operators and the numbers of one network."""

    def __init__(self, file: KerasFile) -> None:
        self.file = file
        self._nodes: list[Any] = []
        self._numbers: list[Any] = []
        self._used: list[tuple[str, ...]] = []
        self._calls = 0

    def model(self) -> Any:
        """Return the message of ONNX.

        Raises:
            UnreadableError: the configuration is not what Keras writes, or has unknown layers.

        """
        from onnx import TensorProto, helper

        config = self.file.config
        try:
            unknown = {*_classes(config)} - {*LAYERS, *NOTHING, *CONTAINERS}
            if unknown:
                names = [printable(name)[:80] for name in sorted(unknown)]
                raise UnreadableError(f"layers that are not known: {few(names, 4)}")
            shape = _input_shape(config)
            picture = [shape[2], *shape[:2]] if len(shape) == 3 else shape
            image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, *picture])
            _check_row(shape)
            root = (self.file.root,) if self.file.root else ()
            value = self._network(config, Value("images", len(shape)), root)
            if value.axes != 1:
                raise UnreadableError(f"an output of {value.axes} axes")
            self._check_used()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UnreadableError(f"not as Keras writes it: {brief(error)}") from error
        except RecursionError as error:
            raise UnreadableError("networks in networks without an end") from error
        logits = helper.make_tensor_value_info(value.name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "keras", [image], [logits], self._numbers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        from onnx import helper

        name = f"{operator} {len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def number(self, array: Any, kind: type[np.generic] = np.float32) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = f"number {len(self._numbers)}"
        plain = np.ascontiguousarray(array, kind)
        self._numbers.append(numpy_helper.from_array(plain.reshape(np.shape(array)), name))
        return name

    def _network(self, config: Mapping[str, Any], given: Value, where: tuple[str, ...]) -> Value:
        """Add the layers of a network, and return its output."""
        own = _own(config)
        layers = _layers(own)
        names = [_name(layer) for layer in layers]
        named = [(*where, name) for name in names]
        places = [*_numbered(layers, where)] if self.file.root else named
        if config["class_name"] == "Sequential":
            value = given
            for layer, place in zip(layers, places, strict=True):
                value = self._layer(layer, [value], place)
            return value
        ((first, _),) = _ends(own["input_layers"])
        known: dict[tuple[str, int], Value] = {(first, 0): given}
        for layer, name, place in zip(layers, names, places, strict=True):
            for at, inputs in enumerate(_calls(layer)):
                if (name, at) not in known:
                    known[name, at] = self._layer(layer, [known[one] for one in inputs], place)
        (last,) = _ends(own["output_layers"])
        return known[last]

    def _layer(
        self, layer: Mapping[str, Any], values: list[Value], where: tuple[str, ...]
    ) -> Value:
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise UnreadableError("more calls of layers than a network has")
        kind: str = layer["class_name"]
        _check_own(layer)
        if kind in CONTAINERS:
            (value,) = values
            return self._network(
                layer, value, (*where, self.file.root) if self.file.root else where
            )
        weights = self._weights(layer, where)
        if kind in NOTHING:
            (value,) = values
            return value
        config: Mapping[str, Any] = layer["config"]
        if config.get("data_format", "channels_last") not in {"channels_last", None}:
            raise ValueError("pictures with channels first")
        made = LAYERS[kind](self, config, weights, *values)
        if "activation" in config and kind != "Activation":
            made = activated(self, made, config["activation"])
        return made

    def _weights(self, layer: Mapping[str, Any], where: tuple[str, ...]) -> Mapping[str, Array]:
        """Return the arrays of a layer by what they are, exactly those that it has."""
        config, kind = layer["config"], layer["class_name"]
        roles = [name for name, flag in ROLES.get(kind, ()) if config.get(flag, True)]
        if self.file.root:
            paths = dict(zip(roles, self.file.numbered(where), strict=True))
        else:
            found = self.file.named(where)
            if kind == "DepthwiseConv2D" and "depthwise_kernel" in found:
                found["kernel"] = found.pop("depthwise_kernel")
            if {*found} != {*roles}:
                raise ValueError(f"{_name(layer)[:80]} with {sorted(found)} for {sorted(roles)}")
            paths = {role: found[role] for role in roles}
        if roles and paths[roles[0]] in self._used:
            raise ValueError(f"{_name(layer)[:80]}, a layer that is used twice")
        self._used += paths.values()
        weights = {role: self.file.arrays[path] for role, path in paths.items()}
        _check_shapes(config, kind, weights)
        return weights

    def _check_used(self) -> None:
        """Raise unless every array is that of a layer, and Keras would take the same ones."""
        if len(self._used) != len(self.file.arrays):
            raise UnreadableError("arrays that no layer has")
        for measured in (True, False):  # what layers measure comes behind what they learn
            ours, theirs = (
                [path for path in paths if path[-1].startswith("moving_") == measured]
                for paths in (self._used, self.file.order)
            )
            if self.file.order and ours != theirs:
                raise UnreadableError("arrays in another order than its layers")


def _check_row(shape: Sequence[int | None]) -> None:
    """Raise where pictures of colour come as one row, whose order nobody knows."""
    (size, *more) = shape
    if not more and (size is None or math.isqrt(size) ** 2 != size):
        raise UnreadableError(f"pictures that come as a row of {size}")


def _check_own(layer: Mapping[str, Any]) -> None:
    """Raise where a layer is not that of Keras of this name."""
    module, name = layer.get("module", "keras"), layer.get("registered_name")
    if not re.match(r"(keras|tf_keras|tensorflow\.python\.keras)(\.|$)", str(module)):
        raise UnreadableError(f"a class of its own, {printable(str(module))[:80]}")
    if name not in (None, layer["class_name"]):
        raise UnreadableError(f"a class of its own, {printable(str(name))[:80]}")


def _check_shapes(config: Mapping[str, Any], kind: str, weights: Mapping[str, Array]) -> None:
    """Raise where arrays are not of the sizes that the configuration says."""
    if kind not in ROLES or kind == "BatchNormalization":
        sizes = {array.shape for array in weights.values()}
        if len(sizes) > 1 or any(len(size) != 1 for size in sizes):
            raise ValueError(f"arrays of shapes {sorted(sizes)}")
        return
    kernel = weights[ROLES[kind][0][0]]
    last = weights.get("pointwise_kernel", kernel)
    out = last.shape[-1] * (last.shape[-2] if kind == "DepthwiseConv2D" else 1)
    asked = config.get("units", config.get("filters", out))
    window = config.get("kernel_size", list(kernel.shape[:2]))
    axes = 2 if kind == "Dense" else 4
    alike = kind == "Dense" or [*kernel.shape[:2]] == pair(window)
    if len(kernel.shape) != axes or asked != out or not alike:
        raise ValueError(f"a kernel of shape {kernel.shape}")
    if "bias" in weights and weights["bias"].shape != (out,):
        raise ValueError(f"a bias of shape {weights['bias'].shape}")


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _own(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration in one; that of a network may be the list of its layers."""
    own: Any = config["config"]
    return {"layers": own} if isinstance(own, list) else own


def _layers(own: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*own["layers"]]


def _classes(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the class of a layer, and of all that are in it."""
    yield str(config["class_name"])
    if "layers" in (own := _own(config)):
        for layer in _layers(own):
            yield from _classes(layer)


def _input_shape(config: Mapping[str, Any]) -> list[int | None]:
    """Return the axes of the pictures that a network takes, without the batch."""
    own = _own(config)
    layers = _layers(own)
    first = layers[0]
    if config["class_name"] != "Sequential":
        ((name, _),) = _ends(own["input_layers"])
        (first,) = [layer for layer in layers if _name(layer) == name]
    if first["class_name"] in CONTAINERS:
        return _input_shape(first)
    asked = _own(first)
    every = (asked.get("batch_input_shape"), asked.get("batch_shape"), own.get("build_input_shape"))
    given: list[Any] = [list(shape) for shape in every if shape]
    axes: list[int | None] = given[0][1:]
    if len(axes) not in {1, 2, 3}:
        raise ValueError(f"an input of {len(axes)} axes")
    return axes


def _ends(layers: Any) -> list[tuple[str, int]]:
    """Return the inputs or outputs of a network or a call: a layer, and which of its calls."""
    if layers and isinstance(layers[0], str):
        layers = [layers]
    ends: list[tuple[str, int]] = []
    for name, at, which, *more in layers:
        for options in more:
            _check_options(options)
        ends.append(_end(name, at, which))
    return ends


def _end(name: object, at: object, which: object) -> tuple[str, int]:
    if not isinstance(name, str) or not isinstance(at, int) or which != 0:
        raise ValueError("a layer with several outputs")
    return name, at


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise where a call says more than what it is given."""
    for name, value in options.items():
        if value not in (None, False):
            raise ValueError(f"a call with {str(name)[:80]}")


def _calls(layer: Mapping[str, Any]) -> Iterator[list[tuple[str, int]]]:
    """Yield what a layer takes in each of its calls, as Keras 2 or Keras 3 writes it."""
    for call in layer["inbound_nodes"]:
        if isinstance(call, dict):
            told = cast("dict[str, Any]", call)
            _check_options(told.get("kwargs") or {})
            yield [*_tensors(told["args"])]
        else:
            yield _ends(call)


def _tensors(part: Any) -> Iterator[tuple[str, int]]:
    """Yield the values that the arguments of a call name."""
    if isinstance(part, list):
        for one in cast("list[Any]", part):
            yield from _tensors(one)
    elif isinstance(part, dict):
        yield _end(*cast("dict[str, Any]", part)["config"]["keras_history"])
    else:
        raise ValueError("a layer that is given a number")  # noqa: TRY004


def _numbered(layers: Sequence[Any], where: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the group of each layer in a zip archive: its kind, and a number from the second on."""
    counts: dict[str, int] = {}
    for layer in layers:
        kind = re.sub(r"\W+", "", str(layer["class_name"]))
        kind = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts.get(kind, 0)
        counts[kind] = count + 1
        yield (*where, f"{kind}_{count}" if count else kind)
