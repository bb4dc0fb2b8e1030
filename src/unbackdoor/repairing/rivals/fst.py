"""FST (Min, Qin, Shen and Cheng, NeurIPS 2023): fine-tuning that shifts the features.

A backdoor survives fine-tuning where clean features and those of the trigger are entangled. FST
begins with a new last layer and drives it away from the old one: it minimises L(f) + α ⟨w, w₀⟩ over
all weights, where w are the weights of the last layer and w₀ those that it had, and scales w to the
norm of w₀ after each step. The inner product is then a multiple of the cosine between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.repairing.rivals.parts import Feed, last_linear
from unbackdoor.rng import initialised_by
from unbackdoor.training import autocast


@dataclass(frozen=True, kw_only=True)
class FstSettings:
    """How FST fine-tunes; the defaults are the published ones.

    Args:
        alpha: α, weight of the inner product.
        epochs: passes over the images.
        batch: images in a step.
        learning_rate: of stochastic gradient descent.
        momentum: of it.
        shift: pixels by which an image is moved at most.

    """

    alpha: float = 0.2
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    shift: int = 4


def fine_tune(
    model: nn.Module, images: Images, settings: FstSettings, *, generator: Generator
) -> int:
    """Fine-tune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits; ends in a linear layer.
        images: clean images with true labels.
        settings: α and the schedule.
        generator: the new last layer, order and augmentation.

    Raises:
        ContentError: the network has no linear layer.

    """
    last, feed, precision = last_linear(model), Feed(model, images), autocast(model, images)
    old = last.weight.detach().clone()
    with initialised_by(generator):
        last.reset_parameters()
    scale(last, old)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=settings.learning_rate, momentum=settings.momentum
    )
    seen = 0
    model.train()
    for x, y in feed.epochs(settings.epochs, settings.batch, settings.shift, generator):
        with precision:
            logits = model(x)
        loss = functional.cross_entropy(logits.float(), y)
        loss = loss + settings.alpha * (last.weight * old).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        scale(last, old)
        seen += len(x)
    model.eval()
    return seen


@torch.no_grad()
def scale(layer: nn.Linear, old: torch.Tensor) -> None:
    """Scale the weights of a layer in place to the norm of older ones."""
    layer.weight *= size(old) / max(size(layer.weight), 1e-12)


def size(weights: torch.Tensor) -> float:
    """Return the norm of weights."""
    return float(weights.detach().double().square().sum()) ** 0.5
