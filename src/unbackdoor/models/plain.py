"""Networks without shortcuts, as they were usual before these: with biases, and dropout for some.

Their layers are normalised after the activation or not at all, so that the size of their weights
means something: what suits a network whose layers are normalised may not suit them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD, Normalise


class Block(nn.Module):
    """A 3×3 convolution with biases, an activation, and what follows it.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        activation: after the convolution.
        normalised: whether batch normalisation follows.
        pools: whether the largest of each 2×2 values is taken.

    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: Callable[[Tensor], Tensor],
        *,
        normalised: bool,
        pools: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1)
        nn.init.kaiming_normal_(self.conv.weight)
        self.activation = activation
        self.norm = nn.BatchNorm2d(outputs) if normalised else nn.Identity()
        self.pools = pools

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H, W)``, or half of H and W, rounded up."""
        x = self.norm(self.activation(self.conv(x)))
        return functional.max_pool2d(x, 2, ceil_mode=True) if self.pools else x


class Plain(nn.Module):
    """Six convolutions of which every other pools, dropout, and a linear classifier.

    Args:
        widths: channels of each layer.
        activation: after each convolution.
        normalised: whether batch normalisation follows the activation.
        dropout: share of the features that is left out in training.
        classes: number of classes.

    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (24, 48, 48, 96, 96, 128),
        activation: Callable[[Tensor], Tensor],
        normalised: bool,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(CIFAR10_MEAN, CIFAR10_STD)
        self.blocks = nn.Sequential(
            *(
                Block(inputs, outputs, activation, normalised=normalised, pools=number % 2 == 0)
                for number, (inputs, outputs) in enumerate(
                    zip((3, *widths[:-1]), widths, strict=True)
                )
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, classes)``."""
        x = functional.adaptive_max_pool2d(self.blocks(self.normalise(images)), 2)
        return self.classifier(self.dropout(torch.flatten(x, 1)))
