"""I-BAU (Zeng et al., ICLR 2022): unlearning a universal perturbation, with its implicit gradient.

It solves min_w max_δ E[L(f_w(x + δ), y)] on clean images. The inner maximum is found by gradient
ascent on one δ for all images, away from the network's own answers. The outer gradient has a second
term, because δ*(w) depends on the weights: with the fixed-point map Φ(δ, w) = δ + s ∇_δ E[L − λ
‖δ‖²] it is (∂_w Φ)ᵀ (I − ∂_δ Φ)⁻ᵀ ∇_δ L, whose inverse is the sum of a short Neumann series. As in
the authors' code, δ is not limited to the range of the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.repairing.rivals.parts import Feed
from unbackdoor.training import autocast


@dataclass(frozen=True, kw_only=True)
class IbauSettings:
    """How I-BAU unlearns; the defaults are the published ones.

    Args:
        rounds: how often an inner and an outer problem are solved.
        batch: images in a step.
        learning_rate: of Adam, on the weights.
        ascent: length of an inner step, in units of the gradient.
        decay: λ, penalty on the square of the perturbation's norm.
        share: share of the images in an outer step that are perturbed.
        contraction: s, length of the step in the fixed-point map.
        terms: of the Neumann series.

    """

    version: ClassVar[int] = 1

    rounds: int = 5
    batch: int = 100
    learning_rate: float = 1e-3
    ascent: float = 10.0
    decay: float = 1e-3
    share: float = 0.01
    contraction: float = 0.1
    terms: int = 5


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
    precision = autocast(model, images)
    feed = Feed(model.eval(), images)
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate)
    order = torch.randperm(len(images), generator=generator)
    batches = [feed.labelled(picks) for picks in torch.split(order, settings.batch)]
    first_x, first_y = batches[0]

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with precision:
            logits = model(feed(x))
        return functional.cross_entropy(logits.float(), y)

    def gradient(delta: Tensor, x: Tensor, y: Tensor, *, kept: bool = False) -> Tensor:
        """Return the gradient of the loss in δ, which can itself be differentiated if ``kept``."""
        gain = loss(x + delta, y) - settings.decay * delta.square().sum()
        return torch.autograd.grad(gain, delta, create_graph=kept)[0]

    def step(delta: Tensor) -> Tensor:
        return delta + settings.contraction * gradient(delta, first_x, first_y, kept=True)

    seen = 0
    for _ in range(settings.rounds):
        delta = torch.zeros(1, *images.shape, device=feed.device)
        for x, _ in batches:
            with torch.no_grad():
                predicted = model(x).argmax(1)
            rise = gradient(delta.requires_grad_(), x, predicted)
            delta = (delta + settings.ascent * rise).detach()
            seen += 2 * len(x)
        for x, y in batches:
            share = torch.zeros(len(x), 1, 1, 1, device=feed.device)
            share[torch.randperm(len(x), generator=generator)[: int(settings.share * len(x))]] = 1

            def outer(delta: Tensor, x: Tensor = x, y: Tensor = y, on: Tensor = share) -> Tensor:
                return loss(x + on * delta, y)

            gradients = hypergradient(outer, step, delta, parameters, settings.terms)
            for weight, own in zip(parameters, gradients, strict=True):
                weight.grad = own
            optimiser.step()
            seen += len(x) + len(first_x)
    return seen


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
    own, *direct = torch.autograd.grad(outer(point), [point, *parameters], materialize_grads=True)
    mapped = step(point)
    total = torch.zeros_like(point)
    for _ in range(terms):
        (along,) = torch.autograd.grad(mapped, point, total, retain_graph=True)
        total = along + own
    implicit = torch.autograd.grad(mapped, parameters, total, materialize_grads=True)
    return [one + other for one, other in zip(direct, implicit, strict=True)]
