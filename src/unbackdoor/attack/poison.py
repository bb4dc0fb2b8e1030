"""Poisoning: a fixed share of the training images carries a trigger and the attacker's label."""

from __future__ import annotations

import copy

import torch
from torch import Generator, Tensor

from unbackdoor.attack.backdoor import Backdoor
from unbackdoor.data.images import Images
from unbackdoor.rng import stream


class Poison:
    """The attacker's change of batches, for :func:`unbackdoor.training.fit`.

    Which images are poisoned is drawn once, among those of classes that are sent to another one;
    triggers are applied after augmentation, at new random arms each time unless theirs are fixed.

    Further images, the *cover*, carry a trigger and keep their label. If the trigger is to work for
    some classes only, they are images of the other classes with the trigger itself. Otherwise they
    are images of any class with a distorted trigger, so that the network learns the exact one: each
    value of θ is moved by up to twice its mean distance from the middle. For a warp of WaNet's
    strength 0.5 these are up to 0.5 pixels, as in its noise mode.

    Args:
        images: the training set.
        backdoor: what is planted.
        generator: the choice of images, then the arms and the distortions.

    """

    def __init__(self, images: Images, backdoor: Backdoor, generator: Generator) -> None:
        self.backdoor, self.generator = backdoor, generator
        labels, triggers = images.targets, backdoor.triggers
        self.trigger_of = torch.full((len(images),), -1)
        moved = (backdoor.goal.of(labels) != labels).nonzero()[:, 0]
        order = moved[torch.randperm(len(moved), generator=generator)]
        each = min(round(backdoor.rate * len(images)), len(moved) // len(triggers))
        for index in range(len(triggers)):
            self.trigger_of[order[index * each : (index + 1) * each]] = index
        self.poisoned = self.trigger_of >= 0
        others = backdoor.goal.of(labels) == labels
        for index, trigger in enumerate(triggers):
            count = round(backdoor.cover_of(trigger) * len(images))
            free = self.trigger_of < 0
            if backdoor.goal.picks_sources:
                free &= others
            rows = free.nonzero()[:, 0]
            if count:
                order = torch.randperm(len(rows), generator=generator)
                self.trigger_of[rows[order[:count]]] = index

    @property
    def cover(self) -> Tensor:
        """Which images carry a trigger and keep their label, ``(n,)`` bool."""
        return (self.trigger_of >= 0) & ~self.poisoned

    def within(self, rows: Tensor) -> Poison:
        """Return the same poison for the subset of the training set at these positions."""
        part = copy.copy(self)
        part.poisoned, part.trigger_of = self.poisoned[rows], self.trigger_of[rows]
        return part

    def __call__(self, images: Tensor, labels: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
        """Stamp and relabel the poisoned images of a batch; the others pass unchanged."""
        shape = (images.shape[1], images.shape[2], images.shape[3])
        carried, poisoned = self.trigger_of[picks], self.poisoned[picks]
        images = images.clone()
        for index, trigger in enumerate(self.backdoor.triggers):
            which = (carried == index).nonzero()[:, 0]
            if not len(which):
                continue
            theta = trigger.theta.expand(len(which), -1)
            if not self.backdoor.goal.picks_sources:
                theta = self._distorted(theta, ~poisoned[which])
            arms = trigger.space.draw_arms(len(which), shape, self.generator)
            images[which] = trigger.space.apply(images[which], theta, arms)
        return images, torch.where(poisoned, self.backdoor.goal.of(labels), labels)

    def _distorted(self, theta: Tensor, which: Tensor) -> Tensor:
        """Return triggers ``(b, n)``, those of ``which`` ``(b,)`` distorted."""
        if not bool(which.any()):
            return theta
        reach = 2 * (theta - 0.5).abs().mean(1, keepdim=True)
        noise = 2 * torch.rand(theta.shape, generator=self.generator) - 1
        return torch.where(which[:, None], (theta + reach * noise).clamp(0, 1), theta)


def poison_of(images: Images, backdoor: Backdoor, seed: int) -> Poison:
    """Return the attacker's change of the training images, the same for the same seed."""
    return Poison(images, backdoor, stream(seed, "attack", "poison"))
