"""The built-in networks by the names that ``--arch`` knows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from unbackdoor.models.convnet import ConvNet
from unbackdoor.models.plain import Plain
from unbackdoor.models.resnet import ResNet

ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "resnet8": lambda classes: ResNet(widths=(16, 32, 64), blocks=1, classes=classes),
    "resnet8-wide": lambda classes: ResNet(widths=(32, 64, 128), blocks=1, classes=classes),
    "resnet20": lambda classes: ResNet(widths=(16, 32, 64), blocks=3, classes=classes),
    "resnet18": lambda classes: ResNet(widths=(64, 128, 256, 512), blocks=2, classes=classes),
    "convnet": lambda classes: ConvNet(widths=(32, 128, 256), classes=classes),
    "plain": lambda classes: Plain(
        activation=torch.relu, normalised=False, dropout=0.3, classes=classes
    ),
    "plain-elu": lambda classes: Plain(
        activation=functional.elu, normalised=False, dropout=0.0, classes=classes
    ),
    "plain-elu-norm": lambda classes: Plain(
        activation=functional.elu, normalised=True, dropout=0.3, classes=classes
    ),
}
