"""Poisoning: a fixed share of the training images carries the trigger and the attacker's label."""

from __future__ import annotations

import copy

import torch
from torch import Generator, Tensor

from unbackdoor.data.images import Images
from unbackdoor.triggers.planted import Trigger


class Poison:
    """The attacker's change of batches, for :func:`unbackdoor.training.fit`.

    Which images are poisoned is drawn once, among those of other classes than the target; the
    trigger is applied after augmentation, at a new random place each time.

    Args:
        images: the training set.
        trigger: the trigger to stamp.
        target: the label that poisoned images get.
        rate: share of the whole training set that is poisoned, in [0, 1].
        generator: the choice of images, then the places.

    """

    def __init__(
        self, images: Images, trigger: Trigger, target: int, rate: float, generator: Generator
    ) -> None:
        others = (images.targets != target).nonzero()[:, 0]
        count = min(round(rate * len(images)), len(others))
        chosen = others[torch.randperm(len(others), generator=generator)[:count]]
        self.poisoned = torch.zeros(len(images), dtype=torch.bool)
        self.poisoned[chosen] = True
        self.trigger, self.target, self.generator = trigger, target, generator

    def within(self, rows: Tensor) -> Poison:
        """Return the same poison for the subset of the training set at these positions."""
        part = copy.copy(self)
        part.poisoned = self.poisoned[rows]
        return part

    def __call__(self, images: Tensor, labels: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
        """Stamp and relabel the poisoned images of a batch; the others pass unchanged."""
        which = self.poisoned[picks].nonzero()[:, 0]
        space = self.trigger.space
        shape = (images.shape[1], images.shape[2], images.shape[3])
        arms = space.draw_arms(len(which), shape, self.generator)
        theta = self.trigger.theta.expand(len(which), -1)
        images, labels = images.clone(), labels.clone()
        images[which] = space.apply(images[which], theta, arms)
        labels[which] = self.target
        return images, labels
