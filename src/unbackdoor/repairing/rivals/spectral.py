"""Spectral signatures (Tran, Li and Madry, NeurIPS 2018): poisoned images in the training set.

In a backdoored network, the features of the poisoned images of a label have another mean than those
of the clean ones. So they differ along the direction of greatest variance: the outlier score of an
image is the squared projection of its centred features on the top right singular vector. From each
label the images with the highest scores are removed, 1.5 times as many as there may be poisoned
images in all, and the network is trained again on the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from unbackdoor.repairing.rivals.parts import last_linear

MARGIN = 1.5
"""Ratio of the removed images to those that may be poisoned."""


@torch.no_grad()
def penultimate(module: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return the inputs of the last linear layer, ``(n, features)`` on the CPU.

    Args:
        module: the network.
        batches: images ``(B, C, H, W)`` in [0, 1], on any device.

    Raises:
        ContentError: the network has no linear layer.

    """
    last = last_linear(module)
    seen: list[Tensor] = []

    def remember(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].float().cpu())

    device = last.weight.device
    hook = last.register_forward_pre_hook(remember)
    module.eval()
    try:
        for images in batches:
            module(images.to(device))
    finally:
        hook.remove()
    return torch.cat(seen)


def scores(features: Tensor) -> Tensor:
    """Return the outlier score of each image of one label.

    Args:
        features: ``(n, d)``.

    Example:
        >>> scores(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [4.0, 1.0]])).tolist()
        [1.0, 1.0, 1.0, 9.0]

    """
    centred = features - features.mean(0)
    directions = cast(Tensor, torch.linalg.eigh(centred.T @ centred).eigenvectors)
    return (centred @ directions[:, -1]).square()


def suspects(features: Tensor, labels: Tensor, poisoned: int) -> Tensor:
    """Return a mask of the images to remove, ``(n,)`` bool.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``, as an attacker may have changed them.
        poisoned: how many poisoned images there may be in all.

    """
    removed = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        own = (labels == label).nonzero()[:, 0]
        count = max(0, min(round(MARGIN * poisoned), len(own) - 1))
        if not count:
            continue
        removed[own[scores(features[own]).topk(count).indices]] = True
    return removed


def separation(values: Tensor, poisoned: Tensor) -> float:
    """Return how well a score detects poisoned images: area under the ROC curve, 0.5 for chance.

    Args:
        values: the scores ``(n,)``, high for poisoned images.
        poisoned: ``(n,)`` bool, the truth.

    Example:
        >>> separation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([False, True, True]))
        1.0

    """
    ones, zeros = int(poisoned.sum()), int((~poisoned).sum())
    return float((ranks(values)[poisoned].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value, from 1 on; equal values get their mean rank.

    Example:
        >>> ranks(torch.tensor([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]

    """
    ordered = values.sort().values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto + 1).double() / 2
