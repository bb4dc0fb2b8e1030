"""FT-SAM (Zhu et al., ICCV 2023): fine-tuning on clean images, away from sharp minima.

Plain fine-tuning barely moves a backdoored network, because the weights that a backdoor lives on
are large and clean images have no gradient there. Adaptive sharpness-aware minimisation (Kwon et
al., ICML 2021) takes the gradient at w + ε with ε = ρ T² ∇L(w) / ‖T ∇L(w)‖ and T = |w| + η, which
perturbs large weights most.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.settings import SamSettings, TrainingSettings
from unbackdoor.training import augment

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fine_tune(
    model: nn.Module, images: Images, settings: SamSettings, *, generator: Generator
) -> int:
    """Fine-tune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        settings: ρ, η and the recipe.
        generator: order and augmentation.

    """
    recipe = settings.training
    parameters = list(model.parameters())
    device = parameters[0].device
    optimiser = torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    seen = 0
    model.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), generator=generator)
        for picks in torch.split(order, recipe.batch_size):
            x = augment(images.batch(picks), recipe.shift, generator).to(device)
            y = images.targets[picks].to(device)
            optimiser.zero_grad()
            _loss(model, x, y, recipe).backward()
            kept = [weight.detach().clone() for weight in parameters]
            with torch.no_grad():
                for weight, offset in zip(parameters, ascent(parameters, settings), strict=True):
                    weight += offset
            optimiser.zero_grad()
            with _statistics_kept(model):
                _loss(model, x, y, recipe).backward()
            with torch.no_grad():
                for weight, before in zip(parameters, kept, strict=True):
                    weight.copy_(before)
            optimiser.step()
            seen += 2 * len(picks)
    model.eval()
    return seen


def ascent(parameters: Sequence[nn.Parameter], settings: SamSettings) -> list[Tensor]:
    """Return ε for each parameter, by the gradients that they hold."""
    slopes = [_slope(weight) for weight in parameters]
    scales = [weight.detach().abs() + settings.eta for weight in parameters]
    pairs = list(zip(scales, slopes, strict=True))
    norm = math.sqrt(sum(float((t * g).square().sum()) for t, g in pairs))
    return [settings.rho * t.square() * g / max(norm, 1e-12) for t, g in pairs]


def _slope(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()


@contextmanager
def _statistics_kept(model: nn.Module) -> Yields[None]:
    """Keep the running statistics of batch normalisation, which w + ε has no part in."""
    layers = [layer for layer in model.modules() if isinstance(layer, BATCH_NORMS)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _loss(model: nn.Module, x: Tensor, y: Tensor, recipe: TrainingSettings) -> Tensor:
    return functional.cross_entropy(model(x), y, label_smoothing=recipe.label_smoothing)
