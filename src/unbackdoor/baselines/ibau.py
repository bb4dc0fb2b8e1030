"""I-BAU (Zeng et al., ICLR 2022): unlearning a universal perturbation, with its implicit gradient.

It solves min_w max_δ E[L(f_w(x + δ), y)] on clean images. The inner maximum is sought by gradient
ascent on one δ for all images. The outer gradient has a second term, because δ*(w) depends on the
weights: with the fixed-point map Φ(δ, w) = δ + s ∇_δ E[L] it is (∂_w Φ)ᵀ (I − ∂_δ Φ)⁻ᵀ ∇_δ L, whose
inverse is the sum of a short Neumann series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.settings import IbauSettings

REGULARISATION = 1e-3


def unlearn(
    model: nn.Module, images: Images, settings: IbauSettings, *, generator: Generator
) -> int:
    """Unlearn in place and return the number of images that went through ``model``, forward.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        settings: rounds, steps and rates.
        generator: order, and which images are perturbed.

    """
    parameters = list(model.parameters())
    device = parameters[0].device
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate)
    seen = 0
    model.eval()
    for _ in range(settings.rounds):
        order = torch.randperm(len(images), generator=generator)
        batches = [
            (images.batch(picks).to(device), images.targets[picks].to(device))
            for picks in torch.split(order, settings.batch)
        ]
        delta = torch.zeros(1, *images.shape, device=device)
        for x, y in batches:
            delta = _rise(delta, settings.ascent, model=model, x=x, y=y).detach()
            seen += len(x)
        delta = delta * min(1.0, settings.ball / max(math.sqrt(float(delta.square().sum())), 1e-12))
        first_x, first_y = batches[0]
        step = partial(_rise, length=settings.contraction, model=model, x=first_x, y=first_y)
        for x, y in batches:
            chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < settings.share
            outer = partial(_loss, model=model, x=x, y=y, share=chosen.to(device))
            slopes = hypergradient(outer, step, delta, parameters, settings.terms)
            for weight, slope in zip(parameters, slopes, strict=True):
                weight.grad = slope
            optimiser.step()
            seen += len(x) + len(first_x)
    return seen


def _loss(delta: Tensor, model: nn.Module, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    return functional.cross_entropy(model(x + share * delta), y)


def _rise(delta: Tensor, length: float, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return Φ(δ, w): one step uphill, differentiable in δ and in the weights."""
    point = delta if delta.requires_grad else delta.clone().requires_grad_()
    everyone = torch.ones(len(x), 1, 1, 1, device=x.device)
    gain = _loss(point, model, x, y, everyone) - REGULARISATION * point.square().sum()
    (slope,) = torch.autograd.grad(gain, point, create_graph=True)
    return point + length * slope


def hypergradient(
    outer: Callable[[Tensor], Tensor],
    step: Callable[[Tensor], Tensor],
    point: Tensor,
    parameters: list[nn.Parameter],
    terms: int,
) -> list[Tensor]:
    """Return the gradient of ``outer`` at a fixed point of ``step``, in the parameters of both.

    Args:
        outer: loss at a point.
        step: Φ, a contraction.
        point: its fixed point for the present parameters.
        parameters: of the network inside both.
        terms: of the Neumann series.

    """
    point = point.detach().requires_grad_()
    slope, *direct = torch.autograd.grad(outer(point), [point, *parameters], materialize_grads=True)
    mapped = step(point)
    total = torch.zeros_like(point)
    for _ in range(terms):
        (along,) = torch.autograd.grad(mapped, point, total, retain_graph=True)
        total = along + slope
    implicit = torch.autograd.grad(mapped, parameters, total, materialize_grads=True)
    return [one + other for one, other in zip(direct, implicit, strict=True)]
