"""Networks of Keras as graphs of ONNX operators: ``.h5`` and ``.keras`` files of Keras 2 and 3.

A network of Keras is a configuration, which is data, and numbers. Each layer becomes the operators
of ONNX that compute the same, so that such a file is run, bounded, and written like any other graph
(:mod:`unbackdoor.models.onnx`), and Keras itself is not needed.

tf2onnx and Keras' own export were not taken: both run what the file describes, and neither reads
what Keras 2 wrote without the TensorFlow of its time.
"""

from __future__ import annotations

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
    ROOTS,
    Array,
    DamagedError,
    KerasFile,
    UnreadableError,
    read_file,
)
from unbackdoor.models.keraslayers import LAYERS, ROLES, Value, activated
from unbackdoor.models.onnxtensors import Beside

OPSET = 20
CONTAINERS = {"Sequential", "Functional", "Model"}
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
        model = _Translation(read_file(path)).model()
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
            given = [Value("images", len(shape))]
            (value,) = self._network(config, given, _root(self.file))
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

    def _network(
        self, config: Mapping[str, Any], given: Sequence[Value], where: tuple[str, ...]
    ) -> list[Value]:
        """Add the layers of a network, and return its outputs."""
        own = _own(config)
        layers = _layers(own)
        names = [_name(layer) for layer in layers]
        own_places = (
            _numbered(layers, where) if self.file.zipped else [(*where, one) for one in names]
        )
        paths = dict(zip(names, own_places, strict=True))
        if config["class_name"] == "Sequential":
            values = list(given)
            for layer in layers:
                values = self._layer(layer, values, paths[_name(layer)])
            return values
        known: dict[tuple[str, int], list[Value]] = {
            (name, 0): [value]
            for (name, _), value in zip(_ends(own["input_layers"]), given, strict=True)
        }
        for layer in layers:
            name = _name(layer)
            for at, inputs in enumerate(_calls(layer)):
                if (name, at) not in known:
                    values = [value for one in inputs for value in known[one]]
                    known[name, at] = self._layer(layer, values, paths[name])
        return [value for end in _ends(own["output_layers"]) for value in known[end]]

    def _layer(
        self, layer: Mapping[str, Any], values: list[Value], where: tuple[str, ...]
    ) -> list[Value]:
        kind: str = layer["class_name"]
        if kind in CONTAINERS:
            return self._network(layer, values, (*where, ROOTS[0]) if self.file.zipped else where)
        if kind in NOTHING:
            return values
        config: Mapping[str, Any] = layer["config"]
        if config.get("data_format", "channels_last") not in {"channels_last", None}:
            raise ValueError("pictures with channels first")
        weights = self._weights(layer, where)
        made = LAYERS[kind](self, config, weights, *values)
        if "activation" in config and kind != "Activation":
            made = activated(self, made, config["activation"])
        return [made]

    def _weights(self, layer: Mapping[str, Any], where: tuple[str, ...]) -> Mapping[str, Array]:
        """Return the numbers of a layer by what they are."""
        if not self.file.zipped:
            return self.file.named(where)
        config, numbers = layer["config"], self.file.numbered(where)
        names = [
            name for name, flag in ROLES.get(layer["class_name"], ()) if config.get(flag, True)
        ]
        return dict(zip(names, numbers, strict=True))


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
    """Return the inputs or outputs of a network: a layer, and which of its calls."""
    if layers and isinstance(layers[0], str):
        layers = [layers]
    return [(str(name), int(at)) for name, at, *_ in layers]


def _calls(layer: Mapping[str, Any]) -> Iterator[list[tuple[str, int]]]:
    """Yield what a layer takes in each of its calls, as Keras 2 or Keras 3 writes it."""
    for call in layer["inbound_nodes"]:
        if isinstance(call, dict):
            yield [*_tensors(cast("dict[str, Any]", call)["args"])]
        else:
            yield _ends(call)


def _tensors(part: Any) -> Iterator[tuple[str, int]]:
    """Yield the values that the arguments of a call name."""
    if isinstance(part, dict):
        name, at, *_ = cast("dict[str, Any]", part)["config"]["keras_history"]
        yield str(name), int(at)
    elif isinstance(part, list):
        for one in cast("list[Any]", part):
            yield from _tensors(one)


def _root(file: KerasFile) -> tuple[str, ...]:
    """Return where the layers of the whole network are kept."""
    first = {path[0] for path in file.arrays}
    return next(((root,) for root in ROOTS if file.zipped and root in first), ())


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
