"""The logits of networks that end in a softmax: probabilities leave a search no gradient."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn import functional

from unbackdoor.models.adapt import Adapted, Log

SOFTMAX_CALLS = {
    functional.softmax,
    functional.log_softmax,
    torch.softmax,
    torch.log_softmax,
    "softmax",
    "log_softmax",
}


def without_softmax(module: nn.Module) -> nn.Module:
    """Return the network without its last softmax and the logarithm that undoes it.

    Far from a decision, probabilities are rounded to 0, and their logarithm has no gradient. The
    logits are equal to it up to a constant of each row. Where the softmax cannot be seen, the
    network is returned as it is.
    """
    if not isinstance(module, Adapted) or not len(module.after):
        return module
    *after, last = module.after
    bare = _stripped(module.network) if isinstance(last, Log) else None
    return module if bare is None else Adapted(bare, before=[*module.before], after=after)


def _stripped(module: nn.Module) -> nn.Module | None:
    """Return a network without the softmax at its end; None where none is seen."""
    try:
        traced = fx.symbolic_trace(module)
    except Exception:  # foreign forward code may raise anything
        return None
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node) or not _is_softmax(traced, last):
        return None
    output.replace_input_with(last, last.args[0] if last.args else last.kwargs["input"])
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _is_softmax(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), (nn.Softmax, nn.LogSoftmax))
    return node.op in ("call_function", "call_method") and node.target in SOFTMAX_CALLS
