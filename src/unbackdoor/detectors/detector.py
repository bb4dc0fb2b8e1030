"""The contract of detectors: from a model, clean images and spaces of triggers to evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.metrics import attack_success, confusion, correct, predict
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.values import to_bytes


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
            spaces: where to search.
            work: seed, progress and journal.

        """
        ...


class HeldBack:
    """Measurements on held-back images, which are the same for every detector.

    Args:
        model: the classifier.
        images: held back.
        most: largest number of images on which a trigger's success is measured.

    """

    def __init__(self, model: Frozen, images: Images, most: int) -> None:
        self.model, self.images = model, images
        self.some = images.thinned(most)
        self.predicted = predict(model, images)

    @property
    def accuracy(self) -> float:
        """Share of the images that the model classifies correctly."""
        return correct(self.predicted, self.images)

    def success(self, space: Space, theta: Tensor, target: int, seed: int) -> float:
        """Return the attack success rate of θ ``(n,)`` at random arms."""
        places = stream(seed, "scan", "success", "evaluate", target)
        return attack_success(self.model, self.some, space, theta[None], target, generator=places)

    def evidence(self, space: Space, theta: Tensor, target: int, seed: int) -> ClassEvidence:
        """Return the evidence that a class's best trigger θ ``(n,)`` is: its success rate."""
        asr = self.success(space, theta, target, seed)
        return ClassEvidence(
            index=target,
            name=self.images.classes[target],
            space=space.name,
            statistic=asr,
            best=to_bytes(theta),
            asr=asr,
            confusion=confusion(self.predicted, self.images, target),
        )
