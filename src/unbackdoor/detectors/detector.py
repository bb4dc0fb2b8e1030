"""The contract of detectors: from a model, clean images and spaces of triggers to evidence."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Generator, Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.evidence import ClassEvidence, Evidence, Pictures
from unbackdoor.metrics import attack_success, confusion, correct, guessed, predict_by, sent_by
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.values import to_bytes, whole


class Detector(Protocol):
    """A way to look for backdoors. How much work it does is part of its own settings."""

    @property
    def name(self) -> str:
        """The name in evidence and tables."""
        ...

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Look for triggers towards every class, without any knowledge of an attack.

        Args:
            model: the frozen classifier, which counts its passes.
            images: clean images to search with, and others, held back, to measure on.
            spaces: where to search; a method that has a kind of trigger of its own, or none at
                all, does not read them.
            work: seed, progress and journal.

        """
        ...


FIRM = 0.5
"""A lead is clear if it is at least this share of that of the typical clean image."""
CONTRAST = 256
"""Largest number of images from which their contrast is measured."""


class HeldBack:
    """Measurements on held-back images, which are the same for every detector.

    Args:
        model: the classifier.
        images: held back.
        most: largest number of images on which a trigger's success is measured.

    """

    def __init__(self, model: Frozen, images: Images, most: int) -> None:
        self.model, self.images = model, images
        self._began = model.passes, model.backward_passes
        self.some = images.thinned(most)
        self.predicted, leads = predict_by(model, images)
        self.lead = FIRM * float(leads.median())

    def fewer(self, most: int) -> HeldBack:
        """Return the same measurements on at most so many images."""
        part = copy.copy(self)
        part.some = self.images.thinned(most)
        return part

    @property
    def accuracy(self) -> float:
        """Share of the images that the model classifies correctly."""
        return correct(self.predicted, self.images)

    @property
    def pictures(self) -> Pictures:
        """Their size, and how far their pixels can move."""
        some = self.images.thinned(CONTRAST)
        x = some.batch(torch.arange(len(some)))
        contrast = float(torch.maximum(x, 1 - x).mean())
        return Pictures(side=min(self.images.shape[1:]), contrast=contrast)

    @property
    def guesses(self) -> bool:
        """Whether it does no better than chance; see :func:`~unbackdoor.metrics.guessed`."""
        return guessed(self.predicted, self.images.targets)

    def collected(self, detector: str, classes: list[ClassEvidence]) -> Evidence:
        """Return the evidence of a detector, with all passes since these measurements began.

        Args:
            detector: its name.
            classes: what it found.

        """
        forward, backward = self._began
        return Evidence(
            detector=detector,
            classes=classes,
            accuracy=self.accuracy,
            image_passes=self.model.passes - forward,
            image_passes_backward=self.model.backward_passes - backward,
            pictures=self.pictures,
            count=len(self.images.classes),
        )

    def nothing(self, space: Space) -> Evidence:
        """Return the evidence of a model that was not searched: triggers that change little."""
        n = space.dimensions(self.images.shape)
        return Evidence(
            detector="none",
            classes=[
                self._record(index, space, torch.full((n,), 0.5), 0.0, 0.0)
                for index in range(len(self.images.classes))
            ],
            accuracy=self.accuracy,
            image_passes=0,
            image_passes_backward=0,
            pictures=self.pictures,
            count=len(self.images.classes),
        )

    def sources(self, space: Space, theta: Tensor, target: int, seed: int) -> list[float]:
        """Return for each class the share of its images that θ ``(n,)`` sends to the target."""
        generator = stream(seed, "scan", "sources", target)
        occurring = set(whole(self.some.targets))
        return [
            attack_success(
                self.model,
                self.some,
                space,
                theta[None],
                target,
                generator=generator,
                source=source,
            )
            if source in occurring - {target}
            else 0.0
            for source in range(len(self.images.classes))
        ]

    @property
    def count(self) -> int:
        """On how many images a trigger's success is measured."""
        return len(self.some)

    def success(
        self, space: Space, theta: Tensor, target: int, seed: int
    ) -> tuple[float, float | None]:
        """Return the attack success rate of θ ``(n,)`` at random arms, and that by a clear lead."""
        images = self.some
        if not bool((images.targets != target).any()):  # the other classes are rare
            others = (self.images.targets != target).nonzero()[:, 0]
            images = self.images.subset(others).thinned(len(images))
        places = stream(seed, "scan", "success", "evaluate", target)
        wanted = torch.full_like(images.targets, target)
        return self._sent(images, space, theta, wanted, places)

    def _sent(
        self, images: Images, space: Space, theta: Tensor, wanted: Tensor, places: Generator
    ) -> tuple[float, float | None]:
        """Return both rates; where clean images have no lead, there is no clear one."""
        rate, firm = sent_by(
            self.lead, self.model, images, space, theta[None], wanted, generator=places
        )
        return rate, firm if self.lead > 0 else None

    def of_each(self, space: Space, theta: Tensor, goal: Tensor, seed: int) -> list[ClassEvidence]:
        """Return the evidence of a trigger that sends each class to a class of its own.

        The rate is one: that of all images that are answered right and whose class has a goal.

        Args:
            space: of the trigger.
            theta: the trigger, ``(n,)``.
            goal: where images of each class are sent, ``(classes,)``; itself is left out.
            seed: of the arms.

        """
        right = self.images.subset((self.predicted == self.images.targets).nonzero()[:, 0])
        some = right.thinned(len(self.some))
        arms = stream(seed, "scan", "success", "of each")
        wanted = goal[some.targets]
        rates = self._sent(some, space, theta, wanted, arms)
        return [
            self._record(target, space, theta, *rates, goal=whole(goal))
            for target in sorted(set(whole(goal[goal != torch.arange(len(goal))])))
        ]

    def evidence(self, space: Space, theta: Tensor, target: int, seed: int) -> ClassEvidence:
        """Return the evidence that a class's best trigger θ ``(n,)`` is: its success rate."""
        return self._record(target, space, theta, *self.success(space, theta, target, seed))

    def without_trigger(self, target: int, statistic: float) -> ClassEvidence:
        """Return the evidence of a detector that looks for no trigger: its statistic of a class."""
        return ClassEvidence(
            index=target,
            name=self.images.classes[target],
            space="",
            statistic=statistic,
            best=b"",
            asr=0.0,
            confusion=confusion(self.predicted, self.images, target),
        )

    def _record(
        self,
        target: int,
        space: Space,
        theta: Tensor,
        asr: float,
        firm: float | None,
        goal: Sequence[int] = (),
    ) -> ClassEvidence:
        return ClassEvidence(
            index=target,
            name=self.images.classes[target],
            space=space.name,
            statistic=asr,
            best=to_bytes(theta),
            asr=asr,
            firm=firm,
            # With a goal the rate is of images that are answered right without a trigger.
            confusion=0.0 if goal else confusion(self.predicted, self.images, target),
            goal=[*goal],
        )
