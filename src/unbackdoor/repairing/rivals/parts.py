"""What several of these repairs need: batches that are augmented, and the last layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.models import device_of, layout_for
from unbackdoor.training import augment


class Feed:
    """Hands images to a network, on its device and in a layout that it can be run in.

    Args:
        model: moved to that layout in place.
        images: with true labels.

    """

    def __init__(self, model: nn.Module, images: Images) -> None:
        self.images, self.device = images, device_of(model)
        two = images.batch(torch.arange(min(2, len(images)))).to(self.device)
        self.layout = layout_for(model, two)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return pictures ``(B, C, H, W)`` as the network takes them."""
        return pixels.to(self.device).contiguous(memory_format=self.layout)

    def labelled(self, picks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picked images and their labels, as they are."""
        return self(self.images.batch(picks)), self.images.targets[picks].to(self.device)

    def augmented(self, picks: Tensor, shift: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the picked images, mirrored and moved by chance, and their labels."""
        pixels = augment(self.images.batch(picks), shift, generator)
        return self(pixels), self.images.targets[picks].to(self.device)

    def epochs(
        self, count: int, batch: int, shift: int, generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield augmented batches with labels, all images once an epoch."""
        for _ in range(count):
            order = torch.randperm(len(self.images), generator=generator)
            for picks in torch.split(order, batch):
                yield self.augmented(picks, shift, generator)


def last_linear(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network.

    Raises:
        ContentError: it has none.

    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise ContentError("--arch: expected a network that ends in a linear layer, came none.")
    return layers[-1]
