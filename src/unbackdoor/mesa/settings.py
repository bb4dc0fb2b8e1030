"""How each estimator of a staircase works, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from unbackdoor.errors import expect, expect_above


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """How a stair is fitted.

    Args:
        components: Gaussians in the base.
        transforms: affine coupling layers after them.
        hidden: width of the two hidden layers in each.
        bins: pieces of the spline for each parameter after them; 0 for none.
        steps: optimiser steps for each β.
        draws: θ drawn in a step, over all components.
        learning_rate: of the base; the coupling layers take a tenth.
        hottest: temperature T of the first step, in units of the logit of F.
        coldest: temperature of the last step.
        clip: largest norm of a step's gradient.

    """

    components: int = 8
    transforms: int = 4
    hidden: int = 64
    bins: int = 8
    steps: int = 400
    draws: int = 128
    learning_rate: float = 0.1
    hottest: float = 1.0
    coldest: float = 0.1
    clip: float = 100.0

    def __post_init__(self) -> None:
        expect(self, 1, inf, "components", "hidden", "steps", "draws")
        expect(self, 0, inf, "transforms", "bins")
        expect_above(self, 0, "learning_rate", "hottest", "coldest", "clip")


@dataclass(frozen=True, kw_only=True)
class SmcSettings:
    """How a population climbs through the level sets.

    Args:
        particles: θ in a population.
        survive: share of them that reaches the next level.
        sweeps: Markov moves of every θ at each level, in up to 96 dimensions.
        acceptance: share of proposals to be accepted; the step length follows it.
        step: length of the first step, in (0, 1].
        repeats: independent populations, from which errors are estimated.

    """

    particles: int = 1000
    survive: float = 0.5
    sweeps: int = 10
    acceptance: float = 0.3
    step: float = 0.5
    repeats: int = 6

    def __post_init__(self) -> None:
        expect(self, 1, inf, "particles", "sweeps", "repeats")
        expect(self, 0, 1, "survive", "acceptance", "step")


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How a surrogate learns an expensive F.

    Args:
        rounds: how many rounds of climbing, evaluating F and learning precede the first stair. One
            round precedes each later stair.
        draws: θ at which F is evaluated in a round.
        networks: perceptrons in the ensemble.
        hidden: width of their two hidden layers.
        steps: of training in a round, and three times as many at the end.
        batch: values in a step.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        sweeps: Markov moves at each level of a climb.
        climbers: particles in each population.
        surer: weight in training of the value at a stair's draw, in units of one noisy value.
        islands: parts of the lowest level set from which climbs begin.

    """

    rounds: int = 6
    draws: int = 1000
    networks: int = 10
    hidden: int = 48
    steps: int = 500
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    sweeps: int = 5
    climbers: int = 250
    surer: int = 5
    islands: int = 8

    def __post_init__(self) -> None:
        expect(self, 1, inf, "rounds", "draws", "networks", "hidden", "steps", "batch")
        expect(self, 1, inf, "sweeps", "climbers", "surer", "islands")
        expect_above(self, 0, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class SwiftSettings:
    """How a surrogate learns an expensive F from its parts, and how its level sets are sampled.

    Args:
        rounds: how often, at most, populations climb the level sets of the learnt F and F is
            evaluated on their way.
        settled: no further round follows one whose values were foreseen with a mean error below
            this share of their mean.
        draws: θ at which F is evaluated in a round.
        parts: of F that are evaluated at each of them.
        networks: perceptrons in the ensemble.
        hidden: width of their two hidden layers.
        steps: of training in a round, and twice as many at the end.
        batch: θ in a step.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        sweeps: Markov moves at each level of a climb.
        climbers: particles in the population of each perceptron that looks for draws.
        particles: particles in the population from which the stairs are taken.

    """

    rounds: int = 10
    settled: float = 0.07
    draws: int = 500
    parts: int = 2
    networks: int = 4
    hidden: int = 48
    steps: int = 300
    batch: int = 256
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    sweeps: int = 5
    climbers: int = 250
    particles: int = 6000

    def __post_init__(self) -> None:
        expect(self, 1, inf, "rounds", "draws", "parts", "networks", "hidden", "steps", "batch")
        expect(self, 1, inf, "sweeps", "climbers", "particles")
        expect(self, 0, 1, "settled")
        expect_above(self, 0, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class MineSettings:
    """How the paper's generator is fitted.

    Args:
        noise: dimensions of z, a multiple of four.
        components: number of Gaussians in the mixture that the generator starts from, placed at the
            clusters of a small population. z then has the dimensions of θ plus the number of the
            component. 0 takes the authors' networks.
        hidden: width of the hidden layers in both networks.
        steps: of the generator.
        statistics_steps: of the statistics network, before each of the generator.
        batch: draws in a step.
        alpha: α, weight of the information.
        shake: standard deviation of the noise that is added to the draw before F is evaluated.
        blur: standard deviation of the noise ε that is added to the draw when its information is
            estimated. 0 adds none. None chooses it so that a uniform draw has ln(batch) nats, the
            most that the bound can show.
        average: rate of the moving average that corrects the gradient of the information; 1 for
            none.
        learning_rate: of Adam, for the generator.
        statistics_rate: the same for the statistics network.
        momentum: β₁ of Adam.

    """

    noise: int = 64
    components: int = 0
    hidden: int = 128
    steps: int = 620
    statistics_steps: int = 1
    batch: int = 128
    alpha: float = 0.1
    shake: float = 0.0
    blur: float | None = 0.0
    average: float = 1.0
    learning_rate: float = 1e-3
    statistics_rate: float = 1e-3
    momentum: float = 0.9

    def __post_init__(self) -> None:
        expect(self, 1, inf, "noise", "hidden", "steps", "statistics_steps", "batch")
        expect(self, 0, inf, "components", "alpha", "shake")
        expect_above(self, 0, "average", "learning_rate", "statistics_rate")


MINE_PAPER = MineSettings(
    hidden=512,
    shake=0.1,
    average=0.001,
    learning_rate=2e-4,
    statistics_rate=2e-4,
    momentum=0.5,
)
"""As published for CIFAR-10: networks, losses, rates, and 620 steps of each network in turn. F is
evaluated at a draw with noise, while the information is that of the draw without noise."""


MINE_CORRECTED = MineSettings(
    components=8,
    steps=1500,
    statistics_steps=2,
    batch=256,
    blur=None,
    learning_rate=5e-4,
)
"""The corrected version. The information is that of the draw with noise, the statistics network
takes more steps than the generator, and the generator starts at the modes that a small population
found."""


FLOW = FlowSettings()
"""For any F that costs little: volumes to a tenth of a nat in 27 dimensions."""


LEARNING = LearningSettings()
"""For an F whose every value costs many images."""


SWIFT = SwiftSettings()
"""The same, where F is a mean of parts that can be evaluated one by one."""


SCOUTS = SmcSettings(particles=500, sweeps=8, repeats=1)
"""A small population that finds the modes of a level set for a flow."""
