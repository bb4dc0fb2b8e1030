"""How much work a detector does. The thresholds of a verdict are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
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
