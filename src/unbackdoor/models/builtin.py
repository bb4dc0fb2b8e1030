"""The built-in networks by the names that ``--arch`` knows."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unbackdoor.models.convnet import ConvNet
from unbackdoor.models.resnet import ResNet

ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "resnet8": lambda classes: ResNet(widths=(16, 32, 64), blocks=1, classes=classes),
    "resnet8-wide": lambda classes: ResNet(widths=(32, 64, 128), blocks=1, classes=classes),
    "resnet20": lambda classes: ResNet(widths=(16, 32, 64), blocks=3, classes=classes),
    "resnet18": lambda classes: ResNet(widths=(64, 128, 256, 512), blocks=2, classes=classes),
    "convnet": lambda classes: ConvNet(widths=(32, 128, 256), classes=classes),
}
