"""The ways in which one attempt at a repair trains a network: with triggers, or without any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from unbackdoor.data import Images
from unbackdoor.repairing.plan import Course
from unbackdoor.repairing.rivals import ft_sam
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.settings import Attempt, RepairSettings
from unbackdoor.repairing.unlearn import Recalled, unlearn
from unbackdoor.results import Attempted
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.training import Watch

SAM = SamSettings()


class Way(Protocol):
    """A way to train a network so that it loses a backdoor."""

    def describe(self, attempt: Attempt) -> Attempted:
        """Return what an attempt is, for the result."""
        ...

    def __call__(self, network: nn.Module, attempt: Attempt, watch: Watch, work: Work) -> int:
        """Train in place; return how many images went through networks.

        Raises:
            DivergedError: the learning rate is too high for it.

        """
        ...


@dataclass(frozen=True, kw_only=True)
class Unlearning:
    """Retraining on images of which some carry triggers.

    Args:
        course: the triggers.
        images: clean images to train with.
        settings: the recipe.
        original: the network before it is retrained.

    """

    course: Course
    images: Images
    settings: RepairSettings
    original: Recalled

    def describe(self, attempt: Attempt) -> Attempted:
        """Return what an attempt is, for the result."""
        settings = attempt.of(self.settings)
        return Attempted(
            method="unlearning",
            learning_rate=settings.training.learning_rate,
            share=settings.share,
            layers=attempt.layers,
            images_seen=settings.recipe(len(self.images)).epochs * len(self.images),
            clip=settings.training.clip,
        )

    def __call__(self, network: nn.Module, attempt: Attempt, watch: Watch, work: Work) -> int:
        """Train in place; return how many images went through networks."""
        return unlearn(
            network,
            self.images,
            self.course,
            attempt.of(self.settings),
            work,
            original=self.original,
            watch=watch,
        )


@dataclass(frozen=True, kw_only=True)
class Blind:
    """FT-SAM, of the repairs without triggers the one that keeps most accuracy in our tables.

    Args:
        images: clean images to train with.
        settings: the recipe; its number of epochs is an upper limit.
        images_seen: how many images the training sees in all, rounded to whole epochs.

    """

    images: Images
    settings: SamSettings = SAM
    images_seen: int = 24_000

    def _of(self, attempt: Attempt) -> SamSettings:
        training = self.settings.training
        epochs = round(attempt.length * self.images_seen / max(1, len(self.images)))
        return replace(self.settings, training=attempt.pace(training, min(training.epochs, epochs)))

    def describe(self, attempt: Attempt) -> Attempted:
        """Return what an attempt is, for the result."""
        training = self._of(attempt).training
        return Attempted(
            method="FT-SAM",
            learning_rate=training.learning_rate,
            share=0.0,
            layers=attempt.layers,
            images_seen=training.epochs * len(self.images),
            clip=training.clip,
        )

    def __call__(self, network: nn.Module, attempt: Attempt, watch: Watch, work: Work) -> int:
        """Train in place; return how many images went through networks."""
        generator = stream(work.seed, "repair", "blind")
        return ft_sam.fine_tune(
            network, self.images, self._of(attempt), generator=generator, watch=watch, work=work
        )
