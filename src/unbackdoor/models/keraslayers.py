"""What the layers of Keras compute, as operators of ONNX.

Pictures are kept with channels first. Where Keras flattens or reshapes them, they are first laid
out as Keras has them, with channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from unbackdoor.models.kerasfiles import Array

ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "gelu": ("Gelu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
}
"""Activations that are one operator."""


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name, and how many axes it has beside the batch.

    One of three axes is a picture, with its channels first.
    """

    name: str
    axes: int


class Writer(Protocol):
    """Where the operators of a graph are collected."""

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        ...

    def number(self, array: Any, kind: type[np.generic] = np.float32) -> str:
        """Add a constant, and return its name."""
        ...


def pair(value: Any) -> list[int]:
    """Return a size down and across, which may be one number for both."""
    both: list[Any] = [*value] if isinstance(value, list | tuple) else [value, value]
    one, other = both
    return [int(one), int(other)]


def _window(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a window moves, as attributes of an operator."""
    same = {"same": "SAME_UPPER", "valid": "VALID"}[str(config["padding"]).lower()]
    return {"strides": pair(config["strides"]), "auto_pad": same}


def _picture(value: Value) -> Value:
    if value.axes != 3:
        raise ValueError(f"a picture is expected, came a value of {value.axes} axes")
    return value


def _convolved(
    t: Writer, config: Mapping[str, Any], value: Value, kernel: Array, group: int
) -> str:
    return t.node(
        "Conv",
        _picture(value).name,
        t.number(kernel),
        group=group,
        kernel_shape=list(kernel.shape[2:]),
        dilations=pair(config.get("dilation_rate", 1)),
        **_window(config),
    )


def _shifted(t: Writer, name: str, weights: Mapping[str, Array]) -> str:
    """Add the bias of the channels, if there is one."""
    if "bias" not in weights:
        return name
    return t.node("Add", name, t.number(weights["bias"].reshape(-1, 1, 1)))


def _depthwise(kernel: Array) -> tuple[Array, int]:
    """Return a kernel ``(h, w, c, m)`` as that of a convolution in c groups."""
    height, width, channels, times = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * times, 1, height, width), channels


def _conv(
    t: Writer, config: Mapping[str, Any], weights: Mapping[str, Array], value: Value
) -> Value:
    kernel = weights["kernel"].transpose(3, 2, 0, 1)
    name = _convolved(t, config, value, kernel, int(config.get("groups", 1)))
    return Value(_shifted(t, name, weights), 3)


def _depthwise_conv(
    t: Writer, config: Mapping[str, Any], weights: Mapping[str, Array], value: Value
) -> Value:
    name = _convolved(t, config, value, *_depthwise(weights["kernel"]))
    return Value(_shifted(t, name, weights), 3)


def _separable_conv(
    t: Writer, config: Mapping[str, Any], weights: Mapping[str, Array], value: Value
) -> Value:
    name = _convolved(t, config, value, *_depthwise(weights["depthwise_kernel"]))
    pointwise = weights["pointwise_kernel"].transpose(3, 2, 0, 1)
    name = t.node("Conv", name, t.number(pointwise), kernel_shape=[1, 1])
    return Value(_shifted(t, name, weights), 3)


def _dense(
    t: Writer, config: Mapping[str, Any], weights: Mapping[str, Array], value: Value
) -> Value:
    del config
    if value.axes != 1:
        raise ValueError("a dense layer over more than one axis")
    more = [t.number(weights["bias"])] if "bias" in weights else []
    return Value(t.node("Gemm", value.name, t.number(weights["kernel"]), *more), 1)


def _norm(
    t: Writer, config: Mapping[str, Any], weights: Mapping[str, Array], value: Value
) -> Value:
    axis: Any = config.get("axis", -1)
    if value.axes == 2 or axis not in (-1, value.axes, [-1], [value.axes]):
        raise ValueError("a normalisation over another axis than the last")
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    every = (
        weights.get("gamma", np.ones_like(mean)),
        weights.get("beta", np.zeros_like(mean)),
        mean,
        variance,
    )
    numbers = [t.number(one) for one in every]
    epsilon = float(config.get("epsilon", 1e-3))
    return Value(t.node("BatchNormalization", value.name, *numbers, epsilon=epsilon), value.axes)


def _pool(operator: str) -> Callable[..., Value]:
    def pool(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
        size = pair(config["pool_size"])
        window = _window({**config, "strides": config.get("strides") or size})
        return Value(t.node(operator, _picture(value).name, kernel_shape=size, **window), 3)

    return pool


def _over_picture(operator: str) -> Callable[..., Value]:
    def whole(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
        name = t.node(operator, _picture(value).name)
        return Value(name, 3) if config.get("keepdims") else Value(t.node("Flatten", name), 1)

    return whole


def _as_keras(t: Writer, value: Value) -> str:
    """Return a value as Keras lays it out: a picture with its channels last."""
    if value.axes != 3:
        return value.name
    return t.node("Transpose", value.name, perm=[0, 2, 3, 1])


def _flatten(t: Writer, config: object, weights: object, value: Value) -> Value:
    del config, weights
    return Value(t.node("Flatten", _as_keras(t, value)), 1)


def _reshape(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    target = [int(size) for size in config["target_shape"]]
    if len(target) not in {1, 2, 3}:
        raise ValueError(f"a shape of {len(target)} axes")
    shape = t.number([0, *target], np.int64)
    name = t.node("Reshape", _as_keras(t, value), shape)
    if len(target) == 3:
        name = t.node("Transpose", name, perm=[0, 3, 1, 2])
    return Value(name, len(target))


def _padded(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    rows, columns = (pair(side) for side in config["padding"])
    pads = [0, 0, rows[0], columns[0], 0, 0, rows[1], columns[1]]
    return Value(t.node("Pad", _picture(value).name, t.number(pads, np.int64)), 3)


def _joined(operator: str) -> Callable[..., Value]:
    def join(t: Writer, config: object, weights: object, *values: Value) -> Value:
        del config, weights
        if len({value.axes for value in values}) != 1:
            raise ValueError("values of different axes together")
        name = values[0].name
        for other in values[1:]:
            name = t.node(operator, name, other.name)
        return Value(name, values[0].axes)

    return join


def _concatenated(t: Writer, config: Mapping[str, Any], _: object, *values: Value) -> Value:
    axes = values[0].axes
    if config.get("axis", -1) not in {-1, axes} or {value.axes for value in values} != {axes}:
        raise ValueError("values joined along another axis than the last")
    names = [value.name for value in values]
    return Value(t.node("Concat", *names, axis=1 if axes == 3 else axes), axes)


def _relu(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    most, slope = config.get("max_value"), config.get("negative_slope") or 0
    if config.get("threshold") or (most is not None and slope):
        raise ValueError("a ReLU with a threshold")
    if most is not None:
        name = t.node("Clip", value.name, t.number(0.0), t.number(float(most)))
    else:
        name = t.node("LeakyRelu", value.name, alpha=float(slope))
    return Value(name, value.axes)


def _leaky(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    slope = float(config.get("negative_slope", config.get("alpha", 0.3)))
    return Value(t.node("LeakyRelu", value.name, alpha=slope), value.axes)


def _elu(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    return Value(t.node("Elu", value.name, alpha=float(config.get("alpha", 1.0))), value.axes)


def _rescaled(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    name = value.name
    for operator, key in (("Mul", "scale"), ("Add", "offset")):
        number = np.asarray(config[key], np.float32)
        if number.ndim > 1 or (number.ndim and value.axes == 2):
            raise ValueError(f"a {key} of {number.ndim} axes")
        number = number.reshape(-1, 1, 1) if number.ndim and value.axes == 3 else number
        name = t.node(operator, name, t.number(number))
    return Value(name, value.axes)


def _softmax(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    if config.get("axis", -1) not in {-1, value.axes}:
        raise ValueError("a softmax over another axis than the last")
    return activated(t, value, "softmax")


def _activation(t: Writer, config: Mapping[str, Any], _: object, value: Value) -> Value:
    return activated(t, value, config["activation"])


def activated(t: Writer, value: Value, activation: Any) -> Value:
    """Return a value after an activation, by its name."""
    if isinstance(activation, dict):
        inside = cast("dict[str, Any]", activation)
        activation = (
            inside["config"] if inside["class_name"] == "function" else inside["class_name"]
        )
    name = value.name
    if activation in {None, "linear"}:
        return value
    if activation == "softmax":
        name = t.node("Softmax", name, axis=1 if value.axes == 3 else -1)
    elif activation == "relu6":
        name = t.node("Clip", name, t.number(0.0), t.number(6.0))
    elif activation in {"swish", "silu"}:
        name = t.node("Mul", name, t.node("Sigmoid", name))
    elif activation in ACTIVATIONS:
        operator, attributes = ACTIVATIONS[activation]
        name = t.node(operator, name, **attributes)
    else:
        raise ValueError(f"an activation {str(activation)[:80]!r}")
    return Value(name, value.axes)


LAYERS: dict[str, Callable[..., Value]] = {
    "Activation": _activation,
    "Add": _joined("Add"),
    "AveragePooling2D": _pool("AveragePool"),
    "BatchNormalization": _norm,
    "Concatenate": _concatenated,
    "Conv2D": _conv,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv,
    "ELU": _elu,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _over_picture("GlobalAveragePool"),
    "GlobalMaxPooling2D": _over_picture("GlobalMaxPool"),
    "LeakyReLU": _leaky,
    "MaxPooling2D": _pool("MaxPool"),
    "Multiply": _joined("Mul"),
    "ReLU": _relu,
    "Rescaling": _rescaled,
    "Reshape": _reshape,
    "SeparableConv2D": _separable_conv,
    "Softmax": _softmax,
    "Subtract": _joined("Sub"),
    "ZeroPadding2D": _padded,
}
"""The layers that are known, by the names of their classes."""
ROLES = {
    "Conv2D": (("kernel", ""), ("bias", "use_bias")),
    "Dense": (("kernel", ""), ("bias", "use_bias")),
    "DepthwiseConv2D": (("kernel", ""), ("bias", "use_bias")),
    "SeparableConv2D": (("depthwise_kernel", ""), ("pointwise_kernel", ""), ("bias", "use_bias")),
    "BatchNormalization": (
        ("gamma", "scale"),
        ("beta", "center"),
        ("moving_mean", ""),
        ("moving_variance", ""),
    ),
}
"""The numbers of layers that have some, in their order, and what says whether they are there."""
