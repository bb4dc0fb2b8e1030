"""A bandit over arms: many cheap searches at once, and most of the work for those that rise.

An arm is a class, a place (or another choice without a gradient, or a restart), and θ in one space
of triggers. All arms of a space are optimised in one batch; after each round only the best go on,
with more steps and more images (successive halving: Jamieson and Talwalkar, 2016). A place is a
discrete choice with many bad optima, so places are enumerated rather than learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.objective import margins
from unbackdoor.detectors.reversal import descend
from unbackdoor.detectors.settings import Round
from unbackdoor.models import Frozen
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Task
from unbackdoor.triggers.family import Space


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Searches in one space, a row for each.

    Args:
        targets: the class, ``(a,)`` int64.
        choice: the arm that every picture gets, ``(a, k)`` int64; rows of -1 draw another for each
            picture.
        theta: ``(a, n)`` in [0, 1].
        rate: soft success in the last steps, ``(a,)`` in [0, 1].

    """

    targets: Tensor
    choice: Tensor
    theta: Tensor
    rate: Tensor

    def __len__(self) -> int:
        """Return a, how many there are."""
        return len(self.targets)

    def rows(self, which: Tensor) -> Arms:
        """Return some of them."""
        return Arms(
            targets=self.targets[which],
            choice=self.choice[which],
            theta=self.theta[which],
            rate=self.rate[which],
        )

    def best(self, count: int) -> Tensor:
        """Return the positions of the ``count`` best, best first."""
        return self.rate.argsort(descending=True, stable=True)[:count]


@dataclass(frozen=True, kw_only=True)
class Bandit:
    """The searches in one space.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: of the triggers.
        temperature: T of the objective, in units of the logits.
        generator: of starts, images and arms.

    """

    model: Frozen
    images: Images
    space: Space
    temperature: float
    generator: Generator

    def start(self, targets: Tensor, choice: Tensor) -> Arms:
        """Return arms with random θ."""
        n = self.space.dimensions(self.images.shape)
        theta = torch.rand(len(targets), n, generator=self.generator)
        return Arms(targets=targets, choice=choice, theta=theta, rate=torch.zeros(len(targets)))

    def play(
        self,
        arms: Arms,
        settings: Round,
        task: Task | None = None,
        journal: Journal = FORGETFUL,
    ) -> Arms:
        """Return the arms after a round: θ has moved, and its success is known."""
        late: list[Tensor] = []
        each = settings.images

        def add_gradient(x: Tensor) -> None:
            late.append(self._add_gradient(x, arms, each))
            del late[: -max(1, settings.steps // 2)]

        theta, kept = descend(
            arms.theta,
            add_gradient,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            generators=[self.generator],
            task=task,
            journal=journal,
        )
        self.model.count(kept * len(arms) * each, backward=True)
        return replace(arms, theta=theta, rate=torch.stack(late).mean(0))

    def _add_gradient(self, x: Tensor, arms: Arms, each: int) -> Tensor:
        """Add the gradient of the loss to ``x.grad``; return the soft success of each arm."""
        picks = others(self.images, arms.targets, each, self.generator)
        drawn = self.space.draw_arms(len(picks), self.images.shape, self.generator)
        chosen = arms.choice.repeat_interleave(each, 0)
        chosen = torch.where(chosen < 0, drawn, chosen)
        room = max(1, self.model.at_once(self.images.shape) // each)
        success: list[Tensor] = []
        for some in torch.split(torch.arange(len(arms)), room):
            at = slice(int(some[0]), int(some[-1]) + 1)
            rows = slice(at.start * each, at.stop * each)
            theta = torch.sigmoid(x[at]).repeat_interleave(each, 0)
            pixels = self.images.batch(picks[rows])
            logits = self.model(self.space.apply(pixels, theta, chosen[rows]))
            wanted = arms.targets[at].repeat_interleave(each).to(logits.device)
            gain = margins(logits, wanted) / self.temperature
            (functional.softplus(-gain).sum() / each).backward()
            success.append(-functional.softplus(-gain.detach()).cpu().reshape(-1, each).mean(1))
        return torch.cat(success)


def others(images: Images, targets: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw ``count`` positions of images of other classes for each target, as one flat tensor.

    Arms are compared on the same images as far as possible, because images differ more than arms:
    every target gets the first that are not of its class, in one random order.
    """
    order = torch.randperm(len(images), generator=generator)
    labels = images.targets[order]
    first = {
        target: order[(labels != target).nonzero()[:, 0].repeat(count)[:count]]
        for target in targets.unique().tolist()
    }
    return torch.cat([first[target] for target in targets.tolist()])


def halve(
    bandit: Bandit, arms: Arms, rounds: Sequence[Round], journal: Journal = FORGETFUL
) -> list[Arms]:
    """Return the arms after each round, of which only the best take part in the next."""
    played: list[Arms] = []
    for number, settings in enumerate(rounds):
        arms = arms.rows(arms.best(settings.arms)) if number else arms
        arms = bandit.play(arms, settings, journal=journal)
        played.append(arms)
    return played
