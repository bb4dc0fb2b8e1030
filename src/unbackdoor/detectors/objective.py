"""The only link from MESA to pictures: F of a model, images, a space of triggers and a target.

F(θ) is a soft attack success rate: the mean, over clean images of other classes with θ applied at a
random arm in each, of sigmoid((z_t − max_{j≠t} z_j) / T). T is a tenth of the median margin by
which the model prefers its first class on clean images, so that F follows the argmax rate and does
not depend on the scale of the logits.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unbackdoor.data import Images
from unbackdoor.mesa import TestingFunction
from unbackdoor.metrics import margins
from unbackdoor.models import Frozen
from unbackdoor.triggers.family import Space

MOST = 256
"""Largest number of clean images whose margins set the temperature."""
BLOCK = 4
"""Images per θ in one round; after each round the θ that cannot reach the level are dropped."""


def gains(logits: Tensor) -> Tensor:
    """Return z_t − max_{j≠t} z_j of every class t, ``(B, classes)`` like the logits."""
    best, runner_up = logits.topk(2, dim=1).values.T
    return logits - torch.where(logits == best[:, None], runner_up[:, None], best[:, None])


def temperature(model: Frozen, images: Images, *, share: float = 0.1) -> float:
    """Return T: ``share`` of the median margin of the first class over some of the clean images."""
    with torch.no_grad():
        some = torch.arange(len(images))[:: -(-len(images) // MOST)]
        logits = torch.cat(
            [model(images.batch(part)).cpu() for part in torch.split(some, images.chunk)]
        )
    return max(share * float(margins(logits, logits.argmax(1)).median()), 1e-6)


def balanced(images: Images, count: int, generator: Generator) -> Images:
    """Draw up to ``count`` images, in equal parts from every class that occurs."""
    shuffled = torch.randperm(len(images), generator=generator)
    rank = torch.empty(len(images), dtype=torch.int64)
    for label in range(len(images.classes)):
        of_class = shuffled[images.targets[shuffled] == label]
        rank[of_class] = torch.arange(len(of_class))
    return images.subset(shuffled[rank[shuffled].argsort(stable=True)][:count])


def probability(
    model: Frozen, images: Images, space: Space, target: int, generator: Generator
) -> TestingFunction:
    """Return the F of Qiao, Yang and Li (2019): the probability of the target, differentiable.

    Each θ is applied to one image of another class, both image and arm drawn anew in each call.

    Args:
        model: the frozen classifier.
        images: clean images.
        space: of the triggers.
        target: the class.
        generator: of images and arms.

    """
    others = (images.targets != target).nonzero()[:, 0]

    def F(theta: Tensor) -> Tensor:  # noqa: N802
        picks = others[torch.randint(len(others), (len(theta),), generator=generator)]
        arms = space.draw_arms(len(theta), images.shape, generator)
        return model(space.apply(images.batch(picks), theta, arms)).softmax(1)[:, target].cpu()

    return F


class Panel:
    """F over one fixed set of images and arms, without gradients.

    Volumes and validity refer to this set. F towards a class leaves out the images of that class.

    Args:
        model: the frozen classifier.
        images: clean images; all of them are used.
        space: of the triggers.
        temperature: T, in units of the logits.
        generator: of the arms.

    """

    def __init__(
        self,
        model: Frozen,
        images: Images,
        space: Space,
        temperature: float,
        generator: Generator,
    ) -> None:
        self.pixels = images.batch(torch.arange(len(images)))
        self.arms = space.draw_arms(len(images), images.shape, generator)
        self.chunk = images.chunk
        self.counts = images.targets[:, None] != torch.arange(len(images.classes))
        self.model, self.space, self.temperature = model, space, temperature

    @torch.no_grad()
    def __call__(self, theta: Tensor) -> Tensor:
        """Return F ``(B, classes)`` towards every class at once for θ ``(B, n)``."""
        images, classes = self.counts.shape
        values: list[Tensor] = []
        for some in torch.split(theta, max(1, self.chunk // images)):
            triggered = self.space.apply(
                self.pixels.repeat(len(some), 1, 1, 1),
                some.repeat_interleave(images, 0),
                self.arms.repeat(len(some), 1),
            )
            logits = self.model(triggered).cpu()
            success = torch.sigmoid(gains(logits) / self.temperature)
            counted = success.reshape(len(some), images, classes) * self.counts
            values.append(counted.sum(1) / self.counts.sum(0).clamp(min=1))
        return torch.cat(values)

    def towards(self, target: int) -> Towards:
        """Return F towards one class, which passes no images of that class through the model."""
        return Towards(self, target)

    def noisy(self, target: int, images_per_draw: int, generator: Generator) -> TestingFunction:
        """Return a noisy F, over ``images_per_draw`` images drawn anew for each θ and call."""
        images = self.others(target)

        def F(theta: Tensor) -> Tensor:  # noqa: N802
            order = torch.rand(len(theta), len(images), generator=generator).argsort(1)
            return self.success(theta, images[order[:, :images_per_draw]], target).mean(1)

        return F

    def representative(self, target: int, theta: Tensor, count: int) -> tuple[Panel, Tensor]:
        """Return a panel of ``count`` representative images, and F over all images, ``(B,)``.

        Some images obey almost any trigger and others hardly any, and this causes most of the
        difference between two panels. So the images are ranked by how often they obey ``theta``,
        and the panel takes them at equal distances in that order (systematic sampling of an ordered
        population: Madow and Madow, 1944).

        Args:
            target: the class of F.
            theta: ``(B, n)``, triggers that some images obey and some do not.
            count: largest number of images.

        """
        images = self.others(target)
        success = self.success(theta, images.expand(len(theta), -1), target)
        count = min(count, len(images))
        middles = ((torch.arange(count) + 0.5) * len(images) / count).long()
        return self._part(images[success.mean(0).argsort(stable=True)[middles]]), success.mean(1)

    def others(self, target: int) -> Tensor:
        """Return the rows of the images that count towards a class, in their order."""
        return self.counts[:, target].nonzero()[:, 0]

    def _part(self, rows: Tensor) -> Panel:
        part = copy.copy(self)
        part.pixels, part.arms = self.pixels[rows], self.arms[rows]
        part.counts = self.counts[rows]
        return part

    @torch.no_grad()
    def success(self, theta: Tensor, images: Tensor, target: int) -> Tensor:
        """Return the soft success ``(B, k)`` of each θ ``(B, n)`` on its own ``images``."""
        values: list[Tensor] = []
        size = max(1, self.chunk // images.shape[1])
        for some, own in zip(torch.split(theta, size), torch.split(images, size), strict=True):
            rows = own.reshape(-1)
            triggered = self.space.apply(
                self.pixels[rows], some.repeat_interleave(own.shape[1], 0), self.arms[rows]
            )
            margin = margins(self.model(triggered).cpu(), torch.full((len(rows),), target))
            values.append(torch.sigmoid(margin / self.temperature).reshape(own.shape))
        return torch.cat(values)


@dataclass(frozen=True)
class Towards:
    """F of a panel towards one class.

    Args:
        panel: images and arms.
        target: the class.

    """

    panel: Panel
    target: int

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F ``(B,)`` for θ ``(B, n)``."""
        images = self.panel.others(self.target)
        return self.panel.success(theta, images.expand(len(theta), -1), self.target).mean(1)

    def at_least(self, theta: Tensor, level: float) -> Tensor:
        """Return F where it reaches ``level``, and elsewhere a lower value from fewer images.

        Images are used in their order, which in a representative panel begins with those that obey
        least. A θ is dropped as soon as it would miss the level even if it worked on all images
        left.
        """
        images = self.panel.others(self.target)
        total = torch.zeros(len(theta))
        alive = torch.arange(len(theta))
        left = len(images)
        for some in torch.split(images, BLOCK):
            success = self.panel.success(theta[alive], some.expand(len(alive), -1), self.target)
            total[alive] += success.sum(1)
            left -= len(some)
            alive = alive[(total[alive] + left) / len(images) >= level]
            if not len(alive):
                break
        return total / len(images)
