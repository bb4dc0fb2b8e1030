"""What the search in a space finds, and how it is measured on held-back images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unbackdoor.data import Images
from unbackdoor.detectors.arms import ANYWHERE, Arms
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Place
from unbackdoor.detectors.settings import FEW, BanditSettings
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.registry import parse_space, strength_of
from unbackdoor.triggers.values import whole, whole_rows

HOPELESS = 0.5
"""Share of a promising rate that a trigger has to reach on a few images to be tried on more."""
NEARLY = 0.05
"""By how much the success of two triggers differs where one is clearly better than the other."""
CERTAIN, STEPS = 0.95, 2
"""Success rate above which more work on a survivor would show nothing new; and after so many steps
to weaker triggers, other spaces get less work."""


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

    def least(self, enough: float) -> float:
        """Return the strength of the weakest trigger that suffices, as a share of the first's."""
        first = strength_of(self.spaces[0])
        rates = zip(self.spaces, self.success, strict=True)
        return min(
            (strength_of(space) / first for space, rate in rates if rate >= enough), default=1
        )

    def lasts(self, enough: float) -> bool:
        """Return whether the trigger suffices even after :data:`STEPS` steps to weaker ones."""
        return len(self.success) > STEPS and self.success[STEPS] >= enough

    def hides(self, shape: Shape, step: int = 0) -> bool:
        """Return whether the trigger of a step lies in the middle of pictures ``(C, H, W)``."""
        space = parse_space(self.spaces[step])
        return isinstance(space, At) and bool(space.hides(space.arms(shape), shape))

    def beyond_the_first(self) -> Trail:
        """Return the walk without the trigger it began with."""
        later = slice(1, None)
        return replace(
            self,
            spaces=self.spaces[later],
            thetas=self.thetas[later],
            success=self.success[later],
        )

    @property
    def kind(self) -> tuple[int, bool]:
        """The class, and whether the trigger has a place of its own."""
        return self.target, "@" in self.spaces[0]


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


def is_certain(trails: Iterable[Trail], shape: Shape) -> bool:
    """Return whether triggers of a walk suffice even after two steps to weaker ones.

    Those in the middle of the picture leave a doubt: clean networks obey patches there.
    """
    return any(one.lasts(CERTAIN) and not one.hides(shape, STEPS) for one in trails)


def worth_measuring(walks: Sequence[Trail], enough: float, shape: Shape) -> list[Trail]:
    """Return the walks in one space without those whose first trigger says nothing new.

    So it is where it does not suffice, and another one towards the same class works better on the
    defender's images: also at one place or at any, and in the middle of the picture or outside it.

    Args:
        walks: from where they begin.
        enough: success rate at which a trigger suffices.
        shape: of the pictures.

    """
    best: dict[tuple[object, ...], float] = {}
    about = [(*walk.goal, walk.kind, walk.hides(shape)) for walk in walks]
    for walk, which in zip(walks, about, strict=True):
        best[which] = max([best.get(which, 0.0), *walk.success[:1]])
    return [
        walk
        for walk, which in zip(walks, about, strict=True)
        if not walk.success or walk.success[0] >= min(enough, best[which] - NEARLY)
    ]


def best_of(space: Space, played: Sequence[Arms]) -> list[Trail]:
    """Return the best trigger of each class in the last round in which it had one."""
    best: dict[int, Trail] = {}
    for arms in played:
        of_round: dict[int, Trail] = {}
        targets = whole(arms.targets)
        for row in whole(arms.best()):
            if targets[row] in of_round:
                continue
            name = arms.space(space, row).name
            goal, theta = whole(arms.goals[row]), arms.theta[row]
            of_round[targets[row]] = Trail(goal=goal, spaces=[name], thetas=[theta], success=[])
        best |= of_round
    return [best[target] for target in sorted(best)]


def places_of(space: Space, played: Sequence[Arms]) -> list[Place]:
    """Return for each place the class that rose most there, in its last round."""
    places: dict[tuple[int, ...], Place] = {}
    if not isinstance(space, Patch):
        return []
    size = space.size
    for arms in played:
        of_round: dict[tuple[int, ...], Place] = {}
        where = whole_rows(arms.choice)
        for row in whole(arms.best()):
            choice = where[row]
            if choice[0] == ANYWHERE or choice in of_round:
                continue
            place = Place(
                row=choice[0],
                column=choice[1],
                size=size,
                target=int(arms.targets[row]),
                rate=float(arms.score[row].exp()),
            )
            of_round[choice] = place
        places |= of_round
    return [places[choice] for choice in sorted(places)]


class Measure:
    """Measurements on held-back images: promising triggers on many of them, others on a few.

    Args:
        exactly: the measurements, on as many images as there are.
        images: of the search.
        seed: of the draws.
        settings: what promises, and how many images any trigger gets.

    """

    def __init__(
        self, exactly: HeldBack, images: Images, seed: int, settings: BanditSettings
    ) -> None:
        self.seed, self.promising = seed, settings.promising
        self.exactly = exactly
        self._few = self.exactly.fewer(FEW)
        self._more = self.exactly.fewer(settings.images_of_each(len(images.classes)))

    def __call__(self, trails: Sequence[Trail]) -> list[ClassEvidence]:
        """Return the evidence of every trigger of some walks, on as many images as there are."""
        measured: list[ClassEvidence] = []
        for trail in trails:
            for name, theta in zip(trail.spaces, trail.thetas, strict=True):
                space = parse_space(name)
                if len(set(trail.goal)) == 1:
                    measured.append(self.exactly.evidence(space, theta, trail.target, self.seed))
                else:
                    goal = torch.tensor(trail.goal)
                    measured += self.exactly.of_each(space, theta, goal, self.seed)
        return measured

    def roughly(self, trails: Sequence[Trail]) -> list[ClassEvidence]:
        """Return the evidence of the strongest trigger of each walk, on a few images.

        One that fails on most of the first ones is far from promising, and gets no more.
        """
        measured: list[ClassEvidence] = []
        for trail in trails:
            about = (parse_space(trail.spaces[0]), trail.thetas[0], trail.target, self.seed)
            first = self._few.evidence(*about)
            enough = first.asr < HOPELESS * self.promising or self._few.count == self._more.count
            measured.append(first if enough else self._more.evidence(*about))
        return measured
