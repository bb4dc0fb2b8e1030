"""What the search in a space finds, and how it is measured on held-back images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.data import Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Place
from unbackdoor.detectors.settings import BanditSettings
from unbackdoor.models import Frozen
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.registry import parse_space


@dataclass(frozen=True, kw_only=True)
class Trail:
    """The triggers of one walk, from strong to weak.

    Args:
        goal: the class that images of each class are sent to.
        spaces: their names.
        thetas: their θ, ``(n,)`` each.
        success: how often they work on the defender's images, for all but a start that was never
            measured.

    """

    goal: list[int]
    spaces: list[str]
    thetas: list[Tensor]
    success: list[float]

    @property
    def target(self) -> int:
        """The class of a walk towards one."""
        return self.goal[0]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the search in one space found.

    Args:
        best: the best trigger of each class.
        trails: the walks of the survivors.
        places: how far patches rose.

    """

    best: list[Trail]
    trails: list[Trail]
    places: list[Place]


class Measure:
    """Measurements on held-back images: promising triggers on many of them, others on a few.

    Args:
        model: the frozen classifier.
        images: of which the held-back part is used.
        seed: of the draws.
        settings: what promises, and how many images any trigger gets.
        most: largest number of images.

    """

    def __init__(
        self, model: Frozen, images: Split, seed: int, settings: BanditSettings, most: int
    ) -> None:
        self.seed, self.promising = seed, settings.promising
        self.exactly = HeldBack(model, images.evaluate, most)
        self.roughly = self.exactly.fewer(settings.images_of_each(len(images.defend.classes)))

    def __call__(self, trails: Sequence[Trail]) -> list[ClassEvidence]:
        """Return the evidence of every trigger of some walks."""
        measured: list[ClassEvidence] = []
        for trail in trails:
            for name, theta in zip(trail.spaces, trail.thetas, strict=True):
                space = parse_space(name)
                if len(set(trail.goal)) == 1:
                    measured.append(self._towards_one(trail, space, theta))
                else:
                    goal = torch.tensor(trail.goal)
                    measured += self.exactly.of_each(space, theta, goal, self.seed)
        return measured

    def _towards_one(self, trail: Trail, space: Space, theta: Tensor) -> ClassEvidence:
        about = (space, theta, trail.target, self.seed)
        if not trail.success:
            rough = self.roughly.evidence(*about)
            if rough.asr < self.promising:
                return rough
        return self.exactly.evidence(*about)
