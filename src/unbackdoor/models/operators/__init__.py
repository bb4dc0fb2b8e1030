"""The ONNX operators of image classifiers, on tensors; all floating ones are of the weights' type.

Each is a function of a context, the attributes and the inputs (None for one left out), as
https://onnx.ai/onnx/operators/ defines it for the operator set in the context. Values that come
from shapes are integer tensors on the CPU. What is not known exactly is refused with ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.models.operators import layers, pointwise, shapes
from unbackdoor.models.operators.context import Context, TooMuch

__all__ = ["OPERATORS", "Context", "TooMuch"]

OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Abs": pointwise.each(torch.abs),
    "Add": pointwise.pairwise(torch.add),
    "And": pointwise.pairwise(torch.logical_and),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Cast": pointwise.cast,
    "Ceil": pointwise.each(torch.ceil),
    "Clip": pointwise.clip,
    "Concat": shapes.concat,
    "Constant": shapes.constant,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": layers.conv,
    "Div": pointwise.pairwise(pointwise.divide),
    "Dropout": pointwise.dropout,
    "Elu": pointwise.elu,
    "Equal": pointwise.pairwise(torch.eq),
    "Erf": pointwise.each(torch.erf),
    "Exp": pointwise.each(torch.exp),
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Floor": pointwise.each(torch.floor),
    "Gather": shapes.gather,
    "Gelu": pointwise.gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.over_picture(torch.mean),
    "GlobalMaxPool": layers.over_picture(torch.amax),
    "Greater": pointwise.pairwise(torch.gt),
    "GroupNormalization": layers.group_norm,
    "HardSigmoid": pointwise.hard_sigmoid,
    "HardSwish": pointwise.each(functional.hardswish),
    "Identity": pointwise.each(pointwise.same),
    "InstanceNormalization": layers.instance_norm,
    "LRN": layers.local_response,
    "LayerNormalization": layers.layer_norm,
    "LeakyRelu": pointwise.leaky,
    "Less": pointwise.pairwise(torch.lt),
    "Log": pointwise.each(torch.log),
    "LogSoftmax": pointwise.softmax(torch.log_softmax),
    "MatMul": layers.matmul,
    "Max": pointwise.pairwise(torch.maximum),
    "MaxPool": layers.max_pool,
    "Mean": pointwise.mean,
    "Min": pointwise.pairwise(torch.minimum),
    "Mish": pointwise.each(functional.mish),
    "Mod": pointwise.modulo,
    "Mul": pointwise.pairwise(torch.mul),
    "Neg": pointwise.each(torch.neg),
    "Not": pointwise.each(torch.logical_not),
    "Or": pointwise.pairwise(torch.logical_or),
    "PRelu": pointwise.prelu,
    "Pad": shapes.pad,
    "Pow": pointwise.power,
    "Range": shapes.range_,
    "Reciprocal": pointwise.each(torch.reciprocal),
    "ReduceL2": pointwise.reduce(pointwise.norm),
    "ReduceMax": pointwise.reduce(torch.amax),
    "ReduceMean": pointwise.reduce(torch.mean),
    "ReduceMin": pointwise.reduce(torch.amin),
    "ReduceSum": pointwise.reduce(torch.sum),
    "Relu": pointwise.each(torch.relu),
    "Reshape": shapes.reshape,
    "Selu": pointwise.selu,
    "Shape": shapes.shape,
    "Sigmoid": pointwise.each(torch.sigmoid),
    "Sign": pointwise.each(torch.sign),
    "Slice": shapes.slice_,
    "Softmax": pointwise.softmax(torch.softmax),
    "Softplus": pointwise.each(functional.softplus),
    "Softsign": pointwise.each(functional.softsign),
    "Split": shapes.split,
    "Sqrt": pointwise.each(torch.sqrt),
    "Squeeze": shapes.squeeze,
    "Sub": pointwise.pairwise(torch.sub),
    "Sum": pointwise.pairwise(torch.add),
    "Swish": pointwise.swish,
    "Tanh": pointwise.each(torch.tanh),
    "Tile": shapes.tile,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Where": pointwise.where,
}
