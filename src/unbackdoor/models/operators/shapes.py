"""Operators that arrange values, and those that make shapes."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.models.operators.context import Attributes, Context, common, integers
from unbackdoor.models.operators.pointwise import axes_of


def reshape(c: Context, a: Attributes, x: Tensor, target: Tensor | None = None) -> Tensor:
    sizes = integers(target if target is not None else a["shape"])
    if not a.get("allowzero"):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    known = math.prod(size for size in sizes if size != -1)
    free = -1 in sizes
    if known != x.numel() if not free else sizes[0] != -1 and sizes[0] == c.exported:
        sizes = c.rebatched(sizes)
    return x.reshape(sizes)


def flatten(c: Context, a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    return x.reshape(math.prod(x.shape[: axis if axis >= 0 else x.ndim + axis]), -1)


def transpose(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return x.permute(a.get("perm") or list(range(x.ndim))[::-1])


def squeeze(c: Context, a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = axes_of(a, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(c: Context, a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = axes_of(a, given) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def concat(c: Context, a: Attributes, *values: Tensor) -> Tensor:
    return torch.cat(values, a["axis"])


def split(c: Context, a: Attributes, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    sizes = given if given is not None else a.get("split")
    if sizes is not None:
        return tuple(torch.split(x, integers(sizes), axis))
    size = len(x.transpose(0, axis))
    return tuple(torch.split(x, max(-(-size // int(a["num_outputs"])), 1), axis))


def slice_(c: Context, a: Attributes, x: Tensor, *given: Tensor | None) -> Tensor:
    starts, ends, axes, steps = cast(
        "tuple[Any, ...]", (*(given or (a["starts"], a["ends"], a.get("axes"))), None, None)[:4]
    )
    first = integers(starts)
    where = range(len(first)) if axes is None else integers(axes)
    strides = [1] * len(first) if steps is None else integers(steps)
    for axis, start, end, step in zip(where, first, integers(ends), strides, strict=True):
        picks = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(picks), dtype=torch.int64, device=x.device))
    return x


def gather(c: Context, a: Attributes, x: Tensor, picks: Tensor) -> Tensor:
    axis = a.get("axis", 0) % max(x.ndim, 1)
    c.room((*x.shape[:axis], *picks.shape, *x.shape[axis + 1 :]))
    rows = picks.reshape(-1).long().to(x.device)
    chosen = x.index_select(axis, torch.where(rows < 0, rows + len(x.transpose(0, axis)), rows))
    return chosen.reshape((*x.shape[:axis], *picks.shape, *x.shape[axis + 1 :]))


def shape(c: Context, a: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[a.get("start", 0) : a.get("end")], dtype=torch.int64)


def expand(c: Context, a: Attributes, x: Tensor, target: Tensor) -> Tensor:
    sizes = common(x.shape, c.rebatched(integers(target)))
    c.room(sizes)
    return x.expand(sizes)


def tile(c: Context, a: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    c.room([size * times for size, times in zip(x.shape, integers(repeats), strict=True)])
    return x.repeat(integers(repeats))


def pad(
    c: Context,
    a: Attributes,
    x: Tensor,
    given: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    pads = integers(given if given is not None else a.get("pads") or a["paddings"])
    where = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in integers(axes)]
    around = [[0, 0] for _ in range(x.ndim)]
    for index, axis in enumerate(where):
        around[axis] = [pads[index], pads[index + len(where)]]
    c.room([size + max(sum(side), 0) for size, side in zip(x.shape, around, strict=True)])
    sides = [side for pair in reversed(around) for side in pair]
    if (mode := a.get("mode", "constant")) == "constant":
        filled = float(value) if value is not None else a.get("value", 0.0)
        return functional.pad(x, sides, value=filled)
    modes = {"edge": "replicate", "reflect": "reflect"}
    if mode not in modes or any(sides[2 * (x.ndim - 2) :]):
        raise ValueError(f"a pad by {mode} of such axes, which is not known here")
    return functional.pad(x, sides[: 2 * (x.ndim - 2)], mode=modes[mode])


def constant(c: Context, a: Attributes) -> Tensor:
    kinds = {"value_int": torch.int64, "value_ints": torch.int64}
    ((name, value),) = a.items()
    return (
        c.precise(value)
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=kinds.get(name, c.precision))
    )


def constant_of_shape(c: Context, a: Attributes, shape: Tensor) -> Tensor:
    value = c.precise(a.get("value", torch.zeros(1)))
    c.room(integers(shape))
    return value.reshape(1).expand(integers(shape) or (1,)).reshape(integers(shape))


def range_(c: Context, a: Attributes, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    first, last, by = start.item(), end.item(), step.item()
    c.room([max(math.ceil((last - first) / by), 0)])
    return torch.arange(first, last, by, dtype=start.dtype)
