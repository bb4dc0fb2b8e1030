"""A small network that is trained in few passes: it halves pictures early and often.

A layer that pools does so before it normalises, so that most of the work is done on small pictures
and little of it outside the convolutions. An odd side is halved upwards: no pixel is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD, Normalise


class Layer(nn.Module):
    """A 3×3 convolution, the largest of each 2×2 pixels where it pools, a norm and a ReLU."""

    def __init__(self, inputs: int, outputs: int, *, pools: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.pools = pools
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H, W)``, or half of H and W, rounded up."""
        x = self.conv(x)
        x = functional.max_pool2d(x, 2, ceil_mode=True) if self.pools else x
        return torch.relu(self.norm(x))


class Stage(nn.Module):
    """A layer that pools, and one with a shortcut around it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Layer(inputs, outputs, pools=True)
        self.second = Layer(outputs, outputs, pools=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, ⌈H / 2⌉, ⌈W / 2⌉)``."""
        x = self.first(x)
        return x + self.second(x)


class ConvNet(nn.Module):
    """A stem that pools, stages that do, and a linear classifier of each feature's largest value.

    Args:
        widths: channels of the stem and of each stage.
        classes: number of classes.

    """

    def __init__(self, *, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.normalise = Normalise(CIFAR10_MEAN, CIFAR10_STD)
        self.stem = Layer(3, widths[0], pools=True)
        self.stages = nn.Sequential(
            *(Stage(inputs, outputs) for inputs, outputs in itertools.pairwise(widths))
        )
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, classes)``."""
        return self.classifier(self.stages(self.stem(self.normalise(images))).amax(dim=(2, 3)))
