"""A cheap first search: a few reverse-engineered triggers per class, all classes in one batch.

Adam optimises several triggers per class, with random images and arms at each step, to raise the
margin towards the class. Where there is a backdoor, the working triggers form a large region: the
screening finds a point of it, and the flow recovers its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.reversal import descend
from unbackdoor.detectors.settings import ScreeningSettings
from unbackdoor.metrics import margins
from unbackdoor.models import Frozen
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent
from unbackdoor.triggers.family import Space


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The reverse-engineered triggers of every class.

    Args:
        theta: ``(classes, restarts, n)`` in [0, 1], in the order of the classes screened.
        asr: ``(classes, restarts)``, argmax attack success on the defender's images.

    """

    theta: Tensor
    asr: Tensor


@dataclass(frozen=True, kw_only=True)
class Screener:
    """Searches triggers towards several classes at once.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: where to search.
        temperature: T of the objective, in units of the logits.
        settings: restarts, steps, images.
        generator: of starts, images and arms.

    """

    model: Frozen
    images: Images
    space: Space
    temperature: float
    settings: ScreeningSettings
    generator: Generator

    def __call__(
        self,
        classes: Sequence[int] | None = None,
        progress: Progress | None = None,
        journal: Journal = FORGETFUL,
    ) -> Screening:
        """Search.

        Args:
            classes: the classes to search; all when left out.
            progress: where to report.
            journal: saves the search at regular steps.

        """
        settings = self.settings
        screened = torch.tensor(range(len(self.images.classes)) if classes is None else classes)
        targets = screened.repeat_interleave(settings.restarts)
        dimensions = self.space.dimensions(self.images.shape)
        with (progress or Silent()).task("screening", settings.steps) as task:
            theta, kept = descend(
                self.space.begin(
                    torch.rand(len(targets), dimensions, generator=self.generator),
                    self.images.shape,
                ),
                lambda x: self._add_gradient(x, targets),
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                generators=[self.generator],
                task=task,
                journal=journal,
            )
        self.model.count(kept * len(targets) * settings.images_per_step, backward=True)
        shape = (len(screened), settings.restarts, -1)
        return Screening(
            theta=theta.reshape(shape), asr=self._success(theta, targets).reshape(shape[:2])
        )

    def _add_gradient(self, x: Tensor, targets: Tensor) -> None:
        """Add the gradient of the loss to ``x.grad``, as many triggers at a time as fit."""
        each = self.settings.images_per_step
        picks = _others(self.images, targets, each, self.generator)
        arms = self.space.draw_arms(len(picks), self.images.shape, self.generator)
        room = self.model.at_once(self.images.shape)
        triggers = torch.split(torch.arange(len(targets)), max(1, room // each))
        for some, part in product(triggers, torch.split(torch.arange(each), room)):
            at = slice(int(some[0]), int(some[-1]) + 1)
            rows = (some[:, None] * each + part).reshape(-1)
            theta = torch.sigmoid(x[at]).repeat_interleave(len(part), 0)
            logits = self.model(self.space.apply(self.images.batch(picks[rows]), theta, arms[rows]))
            wanted = targets[at].repeat_interleave(len(part)).to(logits.device)
            gain = margins(logits, wanted) / self.temperature
            (functional.softplus(-gain).sum() / each).backward()

    @torch.no_grad()
    def _success(self, theta: Tensor, targets: Tensor) -> Tensor:
        """Return how often each θ ``(B, n)`` works on the defender's images, ``(B,)``."""
        each = self.settings.images_to_judge
        picks = _others(self.images, targets, each, self.generator)
        arms = self.space.draw_arms(len(picks), self.images.shape, self.generator)
        every, wanted = theta.repeat_interleave(each, 0), targets.repeat_interleave(each)
        hits: list[Tensor] = []
        for rows in torch.split(torch.arange(len(picks)), self.images.chunk):
            pixels = self.images.batch(picks[rows])
            logits = self.model(self.space.apply(pixels, every[rows], arms[rows]))
            hits.append(logits.argmax(1).cpu() == wanted[rows])
        return torch.cat(hits).reshape(-1, each).double().mean(1)


def _others(images: Images, targets: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw ``count`` positions of images of other classes for each target, as one flat tensor."""
    order = images.targets.argsort(stable=True)
    counts = torch.bincount(images.targets, minlength=len(images.classes))
    first = counts.cumsum(0) - counts
    draw = torch.rand(len(targets), count, generator=generator)
    allowed = (len(images) - counts[targets])[:, None]
    position = (draw * allowed).long().minimum(allowed - 1)
    position += torch.where(position >= first[targets][:, None], counts[targets][:, None], 0)
    return order[position.reshape(-1)]
