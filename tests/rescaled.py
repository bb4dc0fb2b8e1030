"""The same network by weights of another size, as a normalisation behind them hides."""

from __future__ import annotations

import torch
from torch import nn


def resized(model: nn.Module, times: float) -> nn.Module:
    """Return the same function, with the weights before its normalisation of another size."""
    conv, norm = model.get_submodule("0"), model.get_submodule("1")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        conv.weight.mul_(times)
        conv.bias.mul_(times)
        norm.running_mean.mul_(times)
        norm.running_var.mul_(times**2)
    return model
