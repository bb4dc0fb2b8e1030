"""The few images that a preflight looks at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.metrics import Classifier
from unbackdoor.models import device_of

LOOKED_AT = 64


def some_of(images: Images) -> tuple[Tensor, Tensor]:
    """Return up to 64 images in [0, 1], spread evenly over the set, and their labels."""
    count = len(images)
    picks = torch.linspace(0, count - 1, min(LOOKED_AT, count)).round().long()
    return images.batch(picks), images.targets[picks]


def on_its_device(network: nn.Module) -> Classifier:
    """Return ``network`` as it takes images from anywhere, on the device where it is."""
    device = device_of(network)

    def call(images: Tensor) -> Tensor:
        return network(images.to(device)).to(images.device)

    return call


@torch.no_grad()
def look_at(network: Classifier, images: Images) -> tuple[Tensor, Tensor]:
    """Return what a network answers to some images, and their labels."""
    pixels, labels = some_of(images)
    return network(pixels).float(), labels
