"""The few images that a preflight looks at."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.metrics import Classifier
from unbackdoor.models import device_of
from unbackdoor.runtime.progress import Progress

LOOKED_AT = 64


def some_of(images: Images, most: int = LOOKED_AT) -> tuple[Tensor, Tensor]:
    """Return up to so many images in [0, 1], spread evenly over the set, and their labels."""
    some = images.thinned(most)
    return some.batch(torch.arange(len(some))), some.targets


def moved_to(network: nn.Module, images: Tensor) -> Tensor:
    """Return images on the device where a network is."""
    return images.to(device_of(network))


def on_its_device(network: nn.Module) -> Classifier:
    """Return ``network`` as it takes images from anywhere, on the device where it is."""
    device = device_of(network)

    def call(images: Tensor) -> Tensor:
        return network(images.to(device)).to(images.device)

    return call


@torch.no_grad()
def ask(
    network: Classifier,
    images: Images,
    most: int = LOOKED_AT,
    change: Callable[[Tensor], Tensor] = lambda pixels: pixels,
) -> tuple[Tensor, Tensor]:
    """Return what a network answers to some images, and their labels.

    Args:
        network: anywhere.
        images: to choose from.
        most: how many.
        change: what they pass first.

    """
    pixels, labels = some_of(images, most)
    call = on_its_device(network) if isinstance(network, nn.Module) else network
    parts = torch.split(pixels, images.chunk)
    return torch.cat([call(change(part)).float() for part in parts]), labels


@contextmanager
def reported(network: nn.Module, progress: Progress) -> Generator[None]:
    """Have the passes of a network in the block reported: of large pictures they take a minute."""
    with progress.task("check of the model", None) as task:

        def advance(*_: object) -> None:
            task.advance()

        hook = network.register_forward_hook(advance)
        try:
            yield
        finally:
            hook.remove()
