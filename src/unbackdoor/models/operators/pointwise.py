"""Operators that work value by value, and those that gather an axis into one value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.models.operators.context import Attributes, Context, common, integers

FLOATS = {1, 10, 11, 16}
INTEGERS = {
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}
"""Numbers of types in ``Cast``."""


def each(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(c: Context, a: Attributes, x: Tensor) -> Tensor:
        return function(x)

    return operator


def pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def operator(c: Context, a: Attributes, *values: Tensor) -> Tensor:
        result = values[0]
        for value in values[1:]:
            c.room(common(result.shape, value.shape))
            value = value.to(result.device) if not value.ndim or not result.ndim else value
            result = function(result, value)
        return result

    return operator


def divide(x: Tensor, y: Tensor) -> Tensor:
    whole = not (x.is_floating_point() or y.is_floating_point())
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def power(c: Context, a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return pairwise(torch.pow)(c, a, x, y).to(x.dtype)


def modulo(c: Context, a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return pairwise(torch.fmod if a.get("fmod") else torch.remainder)(c, a, x, y)


def mean(c: Context, a: Attributes, *values: Tensor) -> Tensor:
    return pairwise(torch.add)(c, a, *values) / len(values)


def where(c: Context, a: Attributes, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    c.room(common(condition.shape, x.shape, y.shape))
    return torch.where(condition, x, y)


def leaky(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, a.get("alpha", 0.01))


def elu(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return functional.elu(x, a.get("alpha", 1.0))


def selu(c: Context, a: Attributes, x: Tensor) -> Tensor:
    alpha, gamma = (
        a.get("alpha", 1.67326319217681884765625),
        a.get("gamma", 1.05070102214813232421875),
    )
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def same(x: Tensor) -> Tensor:
    return x


def norm(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keep).sqrt()


def dropout(
    c: Context,
    a: Attributes,
    x: Tensor,
    ratio: Tensor | None = None,
    training: Tensor | None = None,
) -> Tensor:
    if training is not None and bool(training):
        raise ValueError("dropout that is on; export the network in evaluation mode")
    return x


def prelu(c: Context, a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    c.room(common(x.shape, slope.shape))
    return torch.where(x < 0, x * slope, x)


def hard_sigmoid(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1)


def gelu(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=a.get("approximate", "none"))


def swish(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return x * torch.sigmoid(a.get("alpha", 1.0) * x)


def clip(
    c: Context, a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    low = low if low is not None else a.get("min")
    high = high if high is not None else a.get("max")
    if low is not None:
        x = torch.maximum(x, torch.as_tensor(low, dtype=x.dtype, device=x.device))
    if high is not None:
        x = torch.minimum(x, torch.as_tensor(high, dtype=x.dtype, device=x.device))
    return x


def cast(c: Context, a: Attributes, x: Tensor) -> Tensor:
    kind = a.get("to")
    if kind in FLOATS:
        return x if x.is_floating_point() else x.to(c.precision)
    if kind not in INTEGERS:
        raise ValueError(f"a cast to type {kind}, which is not known here")
    return x.to(INTEGERS[kind])


def softmax(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(c: Context, a: Attributes, x: Tensor) -> Tensor:
        if c.opset >= 13:
            return function(x, a.get("axis", -1))
        axis = a.get("axis", 1) % max(x.ndim, 1)
        return function(x.flatten(axis), -1).reshape(x.shape) if x.ndim else function(x, -1)

    return operator


def reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(c: Context, a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = axes_of(a, given)
        if not axes:
            if a.get("noop_with_empty_axes"):
                return x
            axes = list(range(x.ndim))
        return function(x, tuple(axes), bool(a.get("keepdims", 1)))

    return operator


def axes_of(a: Attributes, given: Tensor | None) -> list[int] | None:
    """Return axes from an input (newer operator sets) or an attribute (older ones)."""
    axes = given if given is not None else a.get("axes")
    return None if axes is None else integers(axes)
