"""ANP (Wu and Wang, NeurIPS 2021): prune the neurons that are sensitive to perturbation.

Each channel of a batch normalisation is a neuron with a mask m in [0, 1] on its weight. Noise δ, ξ
in [−ε, ε] on weights and biases is chosen to raise the loss. The masks minimise α L(m) + (1 − α)
L(m + δ, 1 + ξ) on clean images; neurons whose mask ends below a threshold are pruned.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.errors import ContentError
from unbackdoor.repairing.rivals.parts import Feed
from unbackdoor.training import autocast


@dataclass(frozen=True, kw_only=True)
class AnpSettings:
    """How ANP searches for the neurons to prune; the defaults are the published ones.

    Args:
        alpha: α, weight of the loss without perturbation.
        epsilon: ε, largest perturbation, relative to the weight.
        threshold: neurons with a smaller mask are pruned.
        steps: of stochastic gradient descent on the masks.
        batch: images in a step.
        learning_rate: on the masks.
        shift: pixels by which an image is moved at most.

    """

    alpha: float = 0.2
    epsilon: float = 0.4
    threshold: float = 0.2
    steps: int = 2000
    batch: int = 128
    learning_rate: float = 0.2
    shift: int = 4


def prune(model: nn.Module, images: Images, settings: AnpSettings, *, generator: Generator) -> int:
    """Prune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits; with batch normalisation.
        images: clean images with true labels.
        settings: α, ε, the threshold and the work.
        generator: images and noise.

    Raises:
        ContentError: the network has no batch normalisation.

    """
    masked = _Masked(model, images)
    device = masked.feed.device
    masks = [torch.ones_like(layer.weight).requires_grad_() for layer in masked.layers.values()]
    optimiser = torch.optim.SGD(masks, lr=settings.learning_rate, momentum=0.9)
    epsilon = settings.epsilon
    for _ in range(settings.steps):
        picks = torch.randint(len(images), (settings.batch,), generator=generator)
        x, y = masked.feed.augmented(picks, settings.shift, generator)
        noise = [
            (epsilon * (2 * torch.rand(mask.shape, generator=generator) - 1)).to(device)
            for mask in (*masks, *masks)
        ]
        slopes = torch.autograd.grad(
            masked.loss(x, y, masks, [one.requires_grad_() for one in noise]), noise
        )
        worst = [
            (one + epsilon * slope.sign()).clamp(-epsilon, epsilon).detach()
            for one, slope in zip(noise, slopes, strict=True)
        ]
        quiet = [torch.zeros_like(one) for one in worst]
        clean, disturbed = (masked.loss(x, y, masks, some) for some in (quiet, worst))
        optimiser.zero_grad()
        (settings.alpha * clean + (1 - settings.alpha) * disturbed).backward(inputs=masks)
        optimiser.step()
        with torch.no_grad():
            for mask in masks:
                mask.clamp_(0, 1)
    with torch.no_grad():
        for name, mask in zip(masked.layers, masks, strict=True):
            weight = model.get_parameter(f"{name}.weight")
            weight[mask < settings.threshold] = 0
    return 3 * settings.steps * settings.batch


class _Masked:
    """A copy of a network whose neurons can be scaled; its running statistics may drift."""

    def __init__(self, model: nn.Module, images: Images) -> None:
        self.precision = autocast(model, images)
        self.module = copy.deepcopy(model).requires_grad_(False).train()
        self.feed = Feed(self.module, images)
        modules = cast("Iterator[tuple[str, nn.Module]]", self.module.named_modules())
        self.layers = {
            name: layer
            for name, layer in modules
            if isinstance(layer, nn.BatchNorm2d) and layer.affine
        }
        if not self.layers:
            raise ContentError("--arch: expected batch normalisation for ANP to prune, came none.")

    def loss(
        self, x: Tensor, y: Tensor, masks: Sequence[Tensor], noise: Sequence[Tensor]
    ) -> Tensor:
        """Return the cross-entropy with weights times m + δ and biases times 1 + ξ."""
        changed: dict[str, Tensor] = {}
        for at, (name, layer) in enumerate(self.layers.items()):
            changed[f"{name}.weight"] = layer.weight * (masks[at] + noise[at])
            changed[f"{name}.bias"] = layer.bias * (1 + noise[len(masks) + at])
        with self.precision:
            logits = functional_call(self.module, changed, (x,))
        return functional.cross_entropy(logits.float(), y)
