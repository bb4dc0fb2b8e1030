"""The logits of networks that end in a softmax: probabilities leave a search no gradient."""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import fx, nn
from torch.nn import functional

from unbackdoor.models.adapt import Adapted, Log, Odds, Pair

SOFTMAX_CALLS = {
    functional.softmax,
    functional.log_softmax,
    torch.softmax,
    torch.log_softmax,
    "softmax",
    "log_softmax",
}


SIGMOID_CALLS = {torch.sigmoid, functional.sigmoid, "sigmoid"}
LAYERS = (nn.Softmax, nn.LogSoftmax)


def without_softmax(module: nn.Module) -> nn.Module:
    """Return the network without its last softmax or sigmoid and the logarithm that undoes it.

    Far from a decision, probabilities are rounded to 0, and their logarithm has no gradient. The
    logits are equal to it up to a constant of each row. Where the softmax cannot be seen, the
    network is returned as it is.
    """
    if not isinstance(module, Adapted) or not len(module.after):
        return module
    *after, last = module.after
    if isinstance(last, Log):
        bare = _stripped(module.network, LAYERS, SOFTMAX_CALLS)
    elif isinstance(last, Odds):
        bare, after = _stripped(module.network, (nn.Sigmoid,), SIGMOID_CALLS), [*after, Pair()]
    else:
        return module
    return module if bare is None else Adapted(bare, before=[*module.before], after=after)


def _stripped(
    module: nn.Module, layers: tuple[type[nn.Module], ...], calls: Container[object]
) -> nn.Module | None:
    """Return a network without such a layer or call at its end; None where none is seen."""
    try:
        traced = fx.symbolic_trace(module)
    except Exception:  # foreign forward code may raise anything
        return None
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node):
        return None
    if last.op == "call_module":
        seen = isinstance(traced.get_submodule(str(last.target)), layers)
    else:
        seen = last.op in ("call_function", "call_method") and last.target in calls
    if not seen:
        return None
    output.replace_input_with(last, last.args[0] if last.args else last.kwargs["input"])
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced
