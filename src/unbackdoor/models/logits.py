"""Logits of networks that end in a softmax, whose probabilities leave no gradient to search with."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

SOFTMAX_CALLS = {
    functional.softmax,
    functional.log_softmax,
    torch.softmax,
    torch.log_softmax,
    "softmax",
    "log_softmax",
}
CLOSE = 1e-2
"""How far the sum of probabilities may be from 1, in half precision too."""


def without_softmax(module: nn.Module) -> nn.Module:
    """Return the network without the softmax at its end; itself where there is none to be seen.

    The order of classes and their probabilities stay as they are, only their scale is that of
    logits.
    """
    try:
        traced = fx.symbolic_trace(module)
    except Exception:  # foreign forward code may raise anything
        return module
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node) or not _is_softmax(traced, last):
        return module
    output.replace_input_with(last, last.args[0] if last.args else last.kwargs["input"])
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def are_probabilities(answers: Tensor) -> bool:
    """Return whether every row of answers ``(B, classes)`` is at least 0 and sums to 1."""
    sums = answers.sum(1)
    return bool((answers >= 0).all() and (sums - 1).abs().max() < CLOSE)


def to_logits(probabilities: Tensor) -> Tensor:
    """Return the logarithms, which are logits up to a constant of each row."""
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()


def _is_softmax(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), (nn.Softmax, nn.LogSoftmax))
    return node.op in ("call_function", "call_method") and node.target in SOFTMAX_CALLS
