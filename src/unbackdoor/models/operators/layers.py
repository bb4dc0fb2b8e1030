"""Convolutions, pools, norms and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.models.operators.context import Attributes, Context, common


def _margins(
    a: Attributes, x: Tensor, kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return strides, dilations, and what is added before and behind each axis."""
    axes = len(kernel)
    strides = a.get("strides") or [1] * axes
    dilations = a.get("dilations") or [1] * axes
    pads = a.get("pads") or [0] * (2 * axes)
    if min(strides) < 1 or min(dilations) < 1 or min(pads) < 0 or min(kernel) < 1:
        raise ValueError("a window of no size")
    if len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes:
        raise ValueError("a window of other axes than the picture")
    before, behind = list(pads[:axes]), list(pads[axes:])
    if (mode := a.get("auto_pad", "NOTSET")) in {"SAME_UPPER", "SAME_LOWER"}:
        for axis, size in enumerate(x.shape[2:]):
            span = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + span - size, 0)
            less, more = total // 2, total - total // 2
            before[axis], behind[axis] = (less, more) if mode == "SAME_UPPER" else (more, less)
    return list(strides), list(dilations), before, behind


def _padded(
    c: Context, x: Tensor, before: list[int], behind: list[int], value: float = 0.0
) -> Tensor:
    if not any(before) and not any(behind):
        return x
    sizes = [size + b + e for size, b, e in zip(x.shape[2:], before, behind, strict=True)]
    c.room((*x.shape[:2], *sizes))
    sides = [side for pair in zip(reversed(before), reversed(behind), strict=True) for side in pair]
    return functional.pad(x, sides, value=value)


def conv(
    c: Context, a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    kernel = list(weight.shape[2:])
    strides, dilations, before, behind = _margins(a, x, kernel)
    even = before == behind
    padding = before if even else [0] * len(kernel)
    if not even:
        x = _padded(c, x, before, behind)
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, d, p in zip(x.shape[2:], kernel, strides, dilations, padding, strict=True)
    ]
    shape = (len(x), len(weight), *sizes)
    c.room(shape)
    c.multiply(math.prod(shape) * math.prod(weight.shape[1:]))
    if c.dry:
        return c.blank(x, shape)
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(kernel)]
    return run(x, weight, bias, strides, padding, dilations, a.get("group", 1))


def _window(
    a: Attributes, x: Tensor
) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, dilations, pads before and behind, and what rounding up adds."""
    kernel = list(a["kernel_shape"])
    strides, dilations, before, behind = _margins(a, x, kernel)
    more = [0] * len(kernel)
    if a.get("ceil_mode", 0):
        for axis, size in enumerate(x.shape[2:]):
            span = dilations[axis] * (kernel[axis] - 1) + 1
            free = size + before[axis] + behind[axis] - span
            steps = -(-free // strides[axis])
            if steps * strides[axis] >= size + before[axis]:
                steps -= 1  # no window begins in what was added behind
            more[axis] = max(steps * strides[axis] - free, 0)
    return kernel, strides, dilations, before, behind, more


def max_pool(c: Context, a: Attributes, x: Tensor) -> Tensor:
    kernel, strides, dilations, before, behind, more = _window(a, x)
    x = _padded(c, x, before, [e + m for e, m in zip(behind, more, strict=True)], -torch.inf)
    run = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[
        len(kernel)
    ]
    return run(x, kernel, strides, 0, dilations)


def average_pool(c: Context, a: Attributes, x: Tensor) -> Tensor:
    kernel, strides, dilations, before, behind, more = _window(a, x)
    if max(dilations) > 1:
        raise ValueError("an average over a dilated window, which is not known here")
    none = [0] * len(kernel)
    counted = torch.ones_like(x[:1, :1])
    counted = _padded(c, counted, before, behind, 1.0 if a.get("count_include_pad") else 0.0)
    counted, x = (
        _padded(c, counted, none, more),
        _padded(c, x, before, [e + m for e, m in zip(behind, more, strict=True)]),
    )
    pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[
        len(kernel)
    ]
    return pool(x, kernel, strides) / pool(counted, kernel, strides)


def over_picture(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(c: Context, a: Attributes, x: Tensor) -> Tensor:
        return reduce(x, dim=tuple(range(2, x.ndim)), keepdim=True)

    return operator


def batch_norm(
    c: Context,
    a: Attributes,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> Tensor:
    if a.get("training_mode"):
        raise ValueError("a batch norm that trains; export the network in evaluation mode")
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def layer_norm(
    c: Context, a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True)
    result = centred * torch.rsqrt(variance + a.get("epsilon", 1e-5)) * scale
    return result if bias is None else result + bias


def instance_norm(c: Context, a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


def group_norm(c: Context, a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = int(a["num_groups"])
    if c.opset < 21:  # one scale for each group, not for each channel
        each = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return functional.group_norm(x, groups, scale, bias, a.get("epsilon", 1e-5))


def local_response(c: Context, a: Attributes, x: Tensor) -> Tensor:
    size = int(a["size"])
    squares = functional.pad(x.square().unsqueeze(1), (0, 0, 0, 0, (size - 1) // 2, size // 2))
    total = sum(squares[:, :, shift : shift + x.shape[1]] for shift in range(size))
    scale = a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * torch.as_tensor(total)[:, 0]
    return x / scale.pow(a.get("beta", 0.75))


def matmul(c: Context, a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    shape = [*common(x.shape[:-2], y.shape[:-2]), *x.shape[-2:-1], *y.shape[-1:][: y.ndim - 1]]
    c.room(shape)
    c.multiply(math.prod(shape) * x.shape[-1])
    return c.blank(x, shape) if c.dry else torch.matmul(x, y)


def gemm(c: Context, a: Attributes, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    x, y = (x.T if a.get("transA") else x), (y.T if a.get("transB") else y)
    result = matmul(c, a, x, y) * a.get("alpha", 1.0)
    return result if bias is None else result + bias * a.get("beta", 1.0)
