"""SAU (Wei, Zhang, Zha and Wu, NeurIPS 2023): unlearning shared adversarial examples.

A picture with a trigger is an adversarial example of the backdoored network h₀. If the repaired
network h answers it in the same way, the example is *shared*. For each image SAU seeks a shared
example x + δ, ‖δ‖∞ ≤ ρ, by signed gradient steps that minimise

    − β₁ (L(h(x + δ), y) + L(h₀(x + δ), y)) / 2 + β₂ JS(h(x + δ), h₀(x + δ)),

each term only over images where it is not reached yet. Then h takes a step on

    L(h(x), y) − mean over images of 1[h₀ is misled to ỹ] · log(1 − p_ỹ(h, x + δ)).

As in the authors' code, δ is not limited to the range of images and normalisations keep their
statistics.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.repairing.rivals.parts import Feed
from unbackdoor.training import autocast

LEAST = 1e-8
"""The smallest probability of which a logarithm is taken."""


@dataclass(frozen=True, kw_only=True)
class SauSettings:
    """How SAU unlearns; the defaults are the published ones.

    Args:
        rounds: passes over the images.
        batch: images in a step.
        learning_rate: of Adam.
        radius: ρ, the largest change of a value of a picture.
        stride: length of a step of δ.
        steps: of δ.
        adversarial: β₁, weight of misleading both networks.
        shared: β₂, weight of misleading them to the same answer.
        unlearning: weight of unlearning beside that of clean images.
        shift: pixels by which an image is moved at most.

    """

    rounds: int = 100
    batch: int = 256
    learning_rate: float = 1e-4
    radius: float = 0.2
    stride: float = 0.2
    steps: int = 5
    adversarial: float = 0.01
    shared: float = 1.0
    unlearning: float = 1.0
    shift: int = 4


def unlearn(
    model: nn.Module, images: Images, settings: SauSettings, *, generator: Generator
) -> int:
    """Unlearn in place and return the number of images that went through both networks, forward.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        settings: rounds, steps and weights.
        generator: order and augmentation.

    """
    precision, feed = autocast(model, images), Feed(model, images)
    pair = _Pair(model.eval(), copy.deepcopy(model).requires_grad_(False), precision)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for x, y in feed.epochs(settings.rounds, settings.batch, settings.shift, generator):
        moved = x + perturbation(pair, x, y, settings)
        with torch.no_grad():
            before, misled = pair.answers(pair.old, x).argmax(1), pair.answers(pair.old, moved)
        towards = misled.argmax(1)
        counted = (towards != y) & (towards != before)
        clean, stamped = pair.answers(pair.new, torch.cat([x, moved])).chunk(2)
        others = 1 - stamped.softmax(1).gather(1, towards[:, None])[:, 0]
        loss = functional.cross_entropy(clean, y)
        loss = loss - settings.unlearning * (counted * others.clamp_min(1e-6).log()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pair.passes += 4 * len(x)
    return pair.passes


class _Pair:
    """The network that is repaired and the one as it came."""

    def __init__(
        self, new: nn.Module, old: nn.Module, precision: AbstractContextManager[object]
    ) -> None:
        self.new, self.old, self.precision = new, old, precision
        self.passes = 0

    def answers(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` in full precision."""
        with self.precision:
            return model(x).float()


def perturbation(pair: _Pair, x: Tensor, y: Tensor, settings: SauSettings) -> Tensor:
    """Return δ for each image, ``(B, C, H, W)``, from the corner where every value is ρ."""
    networks = (pair.new, pair.old)
    with torch.no_grad():
        usual = [pair.answers(network, x).argmax(1) for network in networks]
    pair.passes += 2 * len(x)
    delta = torch.full_like(x, settings.radius)
    for _ in range(settings.steps):
        delta.requires_grad_()
        answers = [pair.answers(network, x + delta) for network in networks]
        pair.passes += 2 * len(x)
        found = [logits.argmax(1) for logits in answers]
        misled = [now != was for now, was in zip(found, usual, strict=True)]
        shared = misled[0] & misled[1] & (found[0] == found[1])
        if bool(shared.all()):
            break
        wrong = sum(
            ((~done) * functional.cross_entropy(logits, y, reduction="none")).sum()
            for done, logits in zip(misled, answers, strict=True)
        )
        apart = ((~shared) * divergence(*(logits.softmax(1) for logits in answers))).sum()
        loss = settings.shared * apart - settings.adversarial * wrong / 2
        (slope,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() - settings.stride * slope.sign()).clamp(
            -settings.radius, settings.radius
        )
    return delta.detach()


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen–Shannon divergence of each pair of rows, in nats.

    Args:
        one: probabilities ``(B, classes)``.
        other: the same.

    Example:
        >>> certain = torch.eye(2)
        >>> [round(float(value), 3) for value in divergence(certain, certain.flip(0))]
        [0.693, 0.693]

    """
    one, other = one.clamp_min(LEAST), other.clamp_min(LEAST)
    middle = ((one + other) / 2).log()
    return ((one * (one.log() - middle) + other * (other.log() - middle)) / 2).sum(1)
