"""How much work a detector does. The thresholds of a verdict are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from unbackdoor.errors import expect, expect_above
from unbackdoor.mesa.settings import FlowSettings, LearningSettings, SwiftSettings
from unbackdoor.mesa.testing import check_betas


@dataclass(frozen=True, kw_only=True)
class ScreeningSettings:
    """How every class is screened.

    Args:
        restarts: triggers searched per class.
        steps: of Adam.
        images_per_step: images for each trigger in a step.
        images_to_judge: number of the defender's images on which a trigger's success is measured.
        learning_rate: on the logit of θ.

    """

    restarts: int = 4
    steps: int = 120
    images_per_step: int = 4
    images_to_judge: int = 64
    learning_rate: float = 0.2

    def __post_init__(self) -> None:
        expect(self, 1, inf, "restarts", "steps", "images_per_step", "images_to_judge")
        expect_above(self, 0, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a bandit.

    Args:
        arms: how many of an earlier round go on, but at most half; the first round takes all.
        passes: images that all of them get together; each gets at least :data:`FEWEST`.
        most: images that one of them gets at most.
        nudge: pixels by which patches are moved before it, to where they work best; 0 for none.
        reach: how far Adam can move the logit of a value of θ in the round.
        rises: the search ends after this round if the best arm falls short of a trigger that always
            works by more than this share of what the median arm of the first round fell short by;
            None never ends it.

    """

    arms: int
    passes: int
    most: int
    nudge: int = 0
    reach: float = 7.0
    rises: float | None = None

    def __post_init__(self) -> None:
        expect(self, 1, inf, "arms", "passes", "most")
        expect_above(self, 0, "reach")

    def shared(self, arms: int) -> tuple[int, int]:
        """Return the images in a step and the steps of each of so many arms.

        Example:
            >>> Round(arms=1, passes=3900, most=64).shared(650)
            (1, 6)
            >>> Round(arms=1, passes=3900, most=64).shared(20)
            (5, 13)

        """
        each = max(FEWEST, min(self.most, self.passes // max(1, arms)))
        images = max(1, round((each / 3) ** 0.5))
        return images, round(each / images)


FEWEST = 5
"""Images that an arm gets at least in a round: one in each of five steps."""


FEW, MANY = 24, 120
"""Held-back images on which the best trigger of a class is measured, at least and at most."""


@dataclass(frozen=True, kw_only=True)
class BanditSettings:
    """How much work the search among arms does in each space.

    Args:
        starts: searches towards each class where there is no place to choose.
        rounds: of the bandit.
        look: images on which each usual trigger is tried at each place; at least two, since those
            of a class say nothing of triggers towards it.
        walk: images with which each weaker variant of a survivor is tried.
        judge: the defender's images on which a survivor's success is measured.
        enough: success rate at which a weaker trigger suffices.
        promising: success rate from which a survivor gets more work, and is measured on more
            held-back images.
        deep: images of that work.
        walkers: survivors of a space that are made weaker, at most.
        evaluate: held-back images on which the best triggers of all classes of a space are measured
            together; each gets at least :data:`FEW` and at most :data:`MANY`.
        after: share of the passes that a space gets once triggers were found that suffice when they
            are much weaker.

    """

    starts: int = 2
    rounds: tuple[Round, ...] = (
        Round(arms=1, passes=2_000, most=30),
        Round(arms=80, passes=1_200, most=45, rises=0.7),
        Round(arms=12, passes=1_100, most=90, nudge=2, rises=0.6),
        Round(arms=4, passes=480, most=120, nudge=1),
    )
    look: int = 4
    walk: int = 96
    judge: int = 64
    enough: float = 0.8
    promising: float = 0.5
    deep: int = 400
    walkers: int = 4
    evaluate: int = 800
    after: float = 0.3

    def __post_init__(self) -> None:
        expect(self, 1, inf, "starts", "walk", "judge", "deep", "walkers", "evaluate")
        expect(self, 2, inf, "look")
        expect(self, 0, 1, "enough", "promising", "after")

    def images_of_each(self, classes: int) -> int:
        """Return the held-back images on which the best trigger of each class is measured.

        Example:
            >>> [BanditSettings().images_of_each(classes) for classes in (10, 43, 100)]
            [80, 24, 24]

        """
        return min(MANY, max(FEW, self.evaluate // classes))

    @property
    def passes(self) -> int:
        """Images through the network in the rounds of one space, backward too."""
        return sum(one.passes for one in self.rounds)

    def scaled(self, factor: float) -> BanditSettings:
        """Return the settings with so many times the image passes and survivors."""
        rounds = tuple(
            replace(
                one,
                arms=max(2, round(factor * one.arms)),
                passes=round(factor * one.passes),
                most=round(factor * one.most),
                rises=one.rises if factor >= 1 else None,  # with less work, arms rise later
            )
            for one in self.rounds
        )
        return replace(self, rounds=rounds, walk=max(FEWEST, round(factor * self.walk)))


BANDIT = BanditSettings()


@dataclass(frozen=True, kw_only=True)
class ReversalSettings:
    """How Neural Cleanse searches for one trigger.

    Args:
        steps: of Adam.
        batch: images in a step.
        learning_rate: on the logit of θ.

    """

    steps: int = 300
    batch: int = 32
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        expect(self, 1, inf, "steps", "batch")
        expect_above(self, 0, "learning_rate")


REVERSAL = ReversalSettings()


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much work the search for staircases of triggers does.

    Args:
        betas: levels of the stairs, rising.
        screening: how every class is screened first.
        learning: how F is learnt: image by image (``SwiftSettings``) or as the mean of images.
        flow: how a stair is fitted to the learnt F, where it is learnt as a mean.
        temperature: T of a stair, in units of the logit of F; the paper's α.
        images_per_draw: images for each θ at which F is evaluated for learning.
        panel: images in the fixed set that volumes and validity refer to.
        pool: number of images that the panel of a class represents.
        uniform_draws: uniform θ by which volumes are bounded from above.
        stair_draws: θ kept per stair.
        evaluate: largest number of held-back images on which a trigger's success is measured.
        survives: a class whose screened trigger reaches this ASR gets a staircase.

    """

    betas: tuple[float, ...] = (0.5, 0.8, 0.9)
    screening: ScreeningSettings = ScreeningSettings()
    learning: LearningSettings | SwiftSettings = LearningSettings()
    flow: FlowSettings = FlowSettings()
    temperature: float = 0.1
    images_per_draw: int = 2
    panel: int = 16
    pool: int = 400
    uniform_draws: int = 512
    stair_draws: int = 400
    evaluate: int = 500
    survives: float = 0.2

    def __post_init__(self) -> None:
        check_betas(self.betas)
        expect(
            self,
            1,
            inf,
            "images_per_draw",
            "panel",
            "pool",
            "uniform_draws",
            "stair_draws",
            "evaluate",
        )
        expect(self, 0, inf, "survives")
        expect_above(self, 0, "temperature")
