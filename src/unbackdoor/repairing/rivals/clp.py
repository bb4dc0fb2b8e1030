"""CLP (Zheng, Tang, Li and Liu, ECCV 2022): prune the channels that change most, without data.

A trigger is small and has a large effect, so the channels that carry it have large Lipschitz
constants. Channel k of a convolution with weights W_k, behind which a batch normalisation scales by
γ_k / σ_k, has the bound ‖W_k‖₂ · |γ_k / σ_k|, with the spectral norm of W_k as a matrix of input
channels by kernel. Channels above the mean of their layer plus u standard deviations are pruned.
The paper's networks all have batch normalisation; where none follows, γ_k / σ_k is 1 here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images


@dataclass(frozen=True, kw_only=True)
class ClpSettings:
    """Which channels CLP prunes.

    Args:
        u: standard deviations above the mean from which a channel is pruned.

    """

    u: float = 3.0


def prune(model: nn.Module, images: Images, settings: ClpSettings, *, generator: Generator) -> int:
    """Prune ``model`` in place and return 0, since no image goes through it.

    Args:
        model: any network; without convolutions nothing is pruned.
        images: not used.
        settings: which channels.
        generator: not used.

    """
    del images, generator
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        if not isinstance(layer, nn.Conv2d):
            continue
        norm = after if isinstance(after, nn.BatchNorm2d) else None
        norm = norm if norm is not None and norm.num_features == layer.out_channels else None
        bounds = lipschitz(layer, norm)
        pruned = bounds > bounds.mean() + settings.u * bounds.std()
        with torch.no_grad():
            for weight in (norm or layer).parameters(recurse=False):
                weight[pruned] = 0
    return 0


@torch.no_grad()
def lipschitz(layer: nn.Conv2d, norm: nn.BatchNorm2d | None) -> Tensor:
    """Return the bound of each channel of a convolution, ``(channels,)``.

    Args:
        layer: the convolution.
        norm: the batch normalisation behind it, if there is one.

    """
    matrices = layer.weight.detach().float().flatten(2)
    bounds = cast(Tensor, torch.linalg.svdvals(matrices))[:, 0]
    if norm is None:
        return bounds
    deviation = 1.0 if norm.running_var is None else (norm.running_var + norm.eps).sqrt()
    scale = norm.weight if norm.affine else torch.ones_like(bounds)
    return bounds * (scale / deviation).abs()
