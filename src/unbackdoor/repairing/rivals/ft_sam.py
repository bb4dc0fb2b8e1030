"""FT-SAM (Zhu et al., ICCV 2023): fine-tuning on clean images, away from sharp minima.

Plain fine-tuning barely moves a backdoored network, because the weights that carry a backdoor are
large, and clean images have no gradient there. Adaptive sharpness-aware minimisation (Kwon et al.,
ICML 2021) takes the gradient at w + ε with ε = ρ T² ∇L(w) / ‖T ∇L(w)‖ and T = |w| + η, which
perturbs large weights most.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images
from unbackdoor.runtime.work import Work
from unbackdoor.training import TrainingSettings, Watch, fit


@dataclass(frozen=True, kw_only=True)
class SamSettings:
    """How FT-SAM fine-tunes: the published work of 100 epochs of 2,500 images, or 31 of 8,000.

    Args:
        rho: ρ, length of the perturbation.
        eta: η, added to the size of each weight.
        training: the recipe; the learning rate falls along a cosine.

    """

    version: ClassVar[int] = 1

    rho: float = 2.0
    eta: float = 0.01
    training: TrainingSettings = TrainingSettings(
        epochs=31, learning_rate=0.01, label_smoothing=0.0, warm_up=0.0
    )


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fine_tune(
    model: nn.Module,
    images: Images,
    settings: SamSettings,
    *,
    generator: Generator,
    watch: Watch | None = None,
    work: Work | None = None,
) -> int:
    """Fine-tune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        settings: ρ, η and the recipe.
        generator: order and augmentation.
        watch: looks at the network meanwhile.
        work: progress and journal; neither when left out.

    """
    work = work or Work(seed=0)
    return 2 * fit(
        model,
        images,
        settings.training,
        generator=generator,
        uphill=partial(climbed, settings=settings),
        watch=watch,
        description="retraining",
        progress=work.progress,
        journal=work.journal,
    )


@contextmanager
def climbed(model: nn.Module, settings: SamSettings) -> Yields[None]:
    """Keep the parameters at w + ε while the context lasts, with ε from their present gradients.

    The running statistics of batch normalisation do not change meanwhile.
    """
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    kept = [weight.detach().clone() for weight in parameters]
    layers = [layer for layer in model.modules() if isinstance(layer, BATCH_NORMS)]
    momenta = [layer.momentum for layer in layers]
    with torch.no_grad():
        for weight, offset in zip(parameters, ascent(parameters, settings), strict=True):
            weight += offset
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        with torch.no_grad():
            for weight, before in zip(parameters, kept, strict=True):
                weight.copy_(before)


def ascent(parameters: Sequence[nn.Parameter], settings: SamSettings) -> list[Tensor]:
    """Return ε for each parameter, from the present gradients."""
    gradients = [_gradient(weight) for weight in parameters]
    scales = [weight.detach().abs() + settings.eta for weight in parameters]
    pairs = list(zip(scales, gradients, strict=True))
    norm = math.sqrt(sum(float((t * g).square().sum()) for t, g in pairs))
    return [settings.rho * t.square() * g / max(norm, 1e-12) for t, g in pairs]


def _gradient(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
