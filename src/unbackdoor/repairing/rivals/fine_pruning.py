"""Fine-pruning (Liu, Dolan-Gavitt and Garg, RAID 2018): prune what sleeps, then fine-tune.

Clean images leave the channels that serve a backdoor alone asleep. The channels of the last
convolution are pruned in the order of their mean activation on clean images, the least active
first, until accuracy on those images would fall by more than a tolerance; then the rest is
fine-tuned. Where batch normalisation follows the convolution, a channel is pruned behind it. The
paper looks at accuracy after each channel, here it is looked at after each twentieth of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.metrics import accuracy
from unbackdoor.models import freeze
from unbackdoor.repairing.rivals.fine_tuning import TUNING
from unbackdoor.repairing.rivals.parts import Feed
from unbackdoor.training import TrainingSettings, fit


@dataclass(frozen=True, kw_only=True)
class PruningSettings:
    """How fine-pruning prunes and fine-tunes.

    Args:
        tolerance: the largest fall of accuracy by pruning.
        looks: in how many equal parts the channels are pruned, at most.
        training: the recipe of the fine-tuning.

    """

    tolerance: float = 0.04
    looks: int = 20
    training: TrainingSettings = TUNING


def prune(
    model: nn.Module, images: Images, settings: PruningSettings, *, generator: Generator
) -> int:
    """Prune and fine-tune ``model`` in place; return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits; with a convolution.
        images: clean images with true labels.
        settings: what pruning may cost, and the recipe.
        generator: order and augmentation.

    Raises:
        ContentError: the network has no convolution.

    """
    weights, activity = _channels(model, images)
    order = activity.argsort()
    least = accuracy(freeze(model), images) - settings.tolerance
    passes, pruned = 2 * len(images), 0
    for look in range(1, settings.looks):
        count = round(look * len(order) / settings.looks)
        kept = [weight.detach().clone() for weight in weights]
        _silence(weights, order[:count])
        passes += len(images)
        if accuracy(freeze(model), images) < least:
            with torch.no_grad():
                for weight, before in zip(weights, kept, strict=True):
                    weight.copy_(before)
            break
        pruned = count
    hooks: list[Any] = [weight.register_hook(_asleep(order[:pruned])) for weight in weights]
    try:
        passes += fit(model, images, settings.training, generator=generator)
    finally:
        for hook in hooks:
            hook.remove()
    return passes


@torch.no_grad()
def _channels(model: nn.Module, images: Images) -> tuple[list[nn.Parameter], Tensor]:
    """Return the weights of the channels, by their first axis, and how active each is."""
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    convolutions = [at for at, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise ContentError("--arch: expected a convolution for fine-pruning to prune, came none.")
    last = layers[convolutions[-1]]
    for norm in layers[convolutions[-1] + 1 :][:1]:
        last = norm if norm.weight.shape[:1] == last.weight.shape[:1] else last
    sums: list[Tensor] = []

    def remember(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        sums.append(output.float().relu().mean((2, 3)).sum(0).cpu())

    feed = Feed(model, images)
    hook = last.register_forward_hook(remember)
    model.eval()
    try:
        for picks in torch.split(torch.arange(len(images)), images.chunk):
            model(feed.labelled(picks)[0])
    finally:
        hook.remove()
    return list(last.parameters(recurse=False)), torch.stack(sums).sum(0)


@torch.no_grad()
def _silence(weights: Sequence[nn.Parameter], channels: Tensor) -> None:
    for weight in weights:
        weight[channels.to(weight.device)] = 0


def _asleep(channels: Tensor) -> Callable[[Tensor], Tensor]:
    def without(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[channels.to(gradient.device)] = 0
        return gradient

    return without
