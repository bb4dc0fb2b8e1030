"""Every setting with its default; no heavy import, so that the command line starts at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

FIRST_SHARE = 0.8
"""Of all clean images, the share that a scan and a repair use; the rest is for the scan after."""


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """How images are fitted to a network that somebody else prepared them for.

    Args:
        size: side of the network's square input, to which images are scaled (the shorter side) and
            cropped (the middle); as they are when left out.
        mean: per channel, subtracted from images in [0, 1] before the network.
        std: per channel, divides what is left.
        labels: index in the network's answer of each class of the data, for networks with another
            order of classes, or with more of them.

    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: dict[str, int] | None = None


AS_IT_IS = InputSettings()
"""Images in [0, 1], of the size and with the classes that they have."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe of :func:`unbackdoor.training.fit`.

    Args:
        epochs: passes over the images.
        batch_size: images per step.
        learning_rate: the peak of the one-cycle schedule.
        momentum: of stochastic gradient descent, with Nesterov's correction.
        weight_decay: on every parameter.
        label_smoothing: share of the target mass spread over all classes.
        warm_up: share of the steps in which the learning rate rises.
        shift: pixels by which an image is moved at most.
        scaled: whether the rate of each weight follows its size, so that training does the same to
            networks that are the same function by larger and smaller weights.

    """

    epochs: int = 18
    batch_size: int = 256
    learning_rate: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.2
    shift: int = 4
    scaled: bool = False

    def with_epochs(self, epochs: int | None) -> TrainingSettings:
        """Return the recipe with another number of epochs; itself for None."""
        return self if epochs is None else replace(self, epochs=epochs)


FINE_TUNING = TrainingSettings(epochs=4, learning_rate=0.1)
"""The recipe for implanting into a network that is already trained."""


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What is implanted, in what, and how.

    Args:
        data: name or folder of the training images.
        arch: architecture of a fresh network; with ``start``, only where its file does not say it.
        start: checkpoint to fine-tune; a fresh network is trained when left out.
        trigger: ``bw:N``, ``rgb:SEED``, ``rgb:SEEDxSIZE`` or a PNG file; None for a clean one.
        target: the class that triggered images are sent to.
        rate: share of the training images that is poisoned.
        training: the recipe.
        seed: of every draw.
        device: where to train.

    """

    data: str
    arch: str | None = None
    start: str | None = None
    trigger: str | None = None
    target: int = 0
    rate: float = 0.01
    training: TrainingSettings = TrainingSettings()
    seed: int = 0
    device: str = "cpu"


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


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How a surrogate learns a dear F.

    Args:
        rounds: of climbing, asking and learning before the first stair; before each other there is
            one.
        draws: θ at which F is asked in a round.
        networks: perceptrons in the ensemble.
        hidden: width of their two hidden layers.
        steps: of training in a round, and three times as many at the end.
        batch: values in a step.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        sweeps: Markov moves at each level of a climb.
        climbers: particles in each population.
        surer: how many noisy values the value of a stair's draw is worth.
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


@dataclass(frozen=True, kw_only=True)
class MineSettings:
    """How the paper's generator is fitted.

    Args:
        noise: dimensions of z, a multiple of four.
        components: of a mixture of Gaussians, set at the clusters of a small population, that the
            generator begins as, z then having the dimensions of θ and the component's number; 0 for
            the authors' networks.
        hidden: width of the hidden layers in both networks.
        steps: of the generator.
        statistics_steps: of the statistics network, before each of the generator.
        batch: draws in a step.
        alpha: α, weight of the information.
        shake: standard deviation of the noise on the draw that F is asked at.
        blur: standard deviation of the noise ε on the draw inside the information; 0 is the clean
            draw, None as much as leaves a uniform draw the information of a batch.
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


MINE_PAPER = MineSettings(
    hidden=512,
    shake=0.1,
    average=0.001,
    learning_rate=2e-4,
    statistics_rate=2e-4,
    momentum=0.5,
)
"""As published for CIFAR-10: networks, losses, rates, 620 steps of each network in turn, noise on
the draw that F is asked at, and the clean draw inside the information."""

MINE_CORRECTED = MineSettings(
    components=8,
    steps=1500,
    statistics_steps=2,
    batch=256,
    blur=None,
    learning_rate=5e-4,
)
"""The noised draw inside the information, a statistics network that keeps up, and a generator that
begins where a small population found the modes."""

FLOW = FlowSettings()
"""For any F that costs little: volumes to a tenth of a nat in 27 dimensions."""

LEARNING = LearningSettings()
"""For an F of which a value costs many images."""

SCOUTS = SmcSettings(particles=500, sweeps=8, repeats=1)
"""A small population that tells a flow where the modes of a level set are."""

REFERENCE = SmcSettings()
"""The population that others are measured by."""


@dataclass(frozen=True, kw_only=True)
class ScreeningSettings:
    """The first look at every class.

    Args:
        restarts: triggers searched per class.
        steps: of Adam.
        images_per_step: images for each trigger in a step.
        images_to_judge: of the defender's images, on how many a trigger's success is measured.
        learning_rate: on the logit of θ.

    """

    restarts: int = 4
    steps: int = 120
    images_per_step: int = 4
    images_to_judge: int = 64
    learning_rate: float = 0.2


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """How much work a scan does, and the rule of its verdict.

    Args:
        betas: levels of the stairs, rising.
        screening: the first look.
        learning: how F is learnt.
        flow: how a stair is fitted to what was learnt.
        temperature: T of a stair, in units of the logit of F; the paper's α.
        images_per_draw: images for each θ at which F is asked to learn from it.
        panel: images in the fixed set that volumes and validity refer to.
        pool: images that those of a class stand for.
        uniform_draws: uniform θ by which volumes are bounded from above.
        stair_draws: θ kept per stair.
        evaluate: held-back images on which a trigger's success is measured, at most.
        survives: a class whose screened trigger reaches this ASR gets the full budget.
        backdoored: held-back ASR from which a class is called backdoored.
        clean: held-back ASR up to which a class is called clean.

    """

    betas: tuple[float, ...] = (0.5, 0.8, 0.9)
    screening: ScreeningSettings = ScreeningSettings()
    learning: LearningSettings = LearningSettings()
    flow: FlowSettings = FlowSettings()
    temperature: float = 0.1
    images_per_draw: int = 2
    panel: int = 16
    pool: int = 400
    uniform_draws: int = 512
    stair_draws: int = 400
    evaluate: int = 500
    survives: float = 0.2
    backdoored: float = 0.8
    clean: float = 0.3


@dataclass(frozen=True, kw_only=True)
class RepairSettings:
    """How a backdoor is unlearnt.

    Args:
        share: of the images in a batch, how many carry a trigger (with their true label).
        keep: how much of a label is the answer that the original network gave without a trigger.
        images_seen: how much work, whatever the number of clean images, up to whole epochs.
        training: the recipe; few images are seen in no more epochs than it says.

    """

    share: float = 0.3
    keep: float = 0.5
    images_seen: int = 12_000
    training: TrainingSettings = TrainingSettings(
        epochs=40, batch_size=128, learning_rate=0.03, shift=2, scaled=True
    )

    def recipe(self, images: int) -> TrainingSettings:
        """Return the recipe for so many clean images.

        Example:
            >>> [RepairSettings().recipe(images).epochs for images in (200, 2_000, 8_000, 50_000)]
            [40, 6, 2, 1]

        """
        wanted = max(1, round(self.images_seen / max(1, images)))
        return self.training.with_epochs(min(wanted, self.training.epochs))


@dataclass(frozen=True, kw_only=True)
class ReversalSettings:
    """How Neural Cleanse searches one trigger.

    Args:
        steps: of Adam.
        batch: images in a step.
        learning_rate: on the logit of θ.

    """

    steps: int = 300
    batch: int = 32
    learning_rate: float = 0.1


SCAN = ScanSettings()
REPAIR = RepairSettings()
REVERSAL = ReversalSettings()


@dataclass(frozen=True, kw_only=True)
class SamSettings:
    """How FT-SAM fine-tunes: as published, 100 times 2,500 images, or 31 times 8,000.

    Args:
        rho: ρ, length of the perturbation.
        eta: η, added to the size of each weight.
        training: the recipe; the learning rate falls along a cosine.

    """

    version: ClassVar[int] = 1

    rho: float = 2.0
    eta: float = 0.01
    training: TrainingSettings = TrainingSettings(
        epochs=31, learning_rate=0.01, label_smoothing=0.0, warm_up=0.0
    )


@dataclass(frozen=True, kw_only=True)
class AnpSettings:
    """How ANP searches the neurons to prune; as published.

    Args:
        alpha: α, weight of the loss without perturbation.
        epsilon: ε, largest perturbation, relative to the weight.
        threshold: neurons with a smaller mask are pruned.
        steps: of stochastic gradient descent on the masks.
        batch: images in a step.
        learning_rate: on the masks.
        shift: pixels by which an image is moved at most.

    """

    alpha: float = 0.2
    epsilon: float = 0.4
    threshold: float = 0.2
    steps: int = 2000
    batch: int = 128
    learning_rate: float = 0.2
    shift: int = 4


@dataclass(frozen=True, kw_only=True)
class IbauSettings:
    """How I-BAU unlearns; as published.

    Args:
        rounds: of an inner and an outer problem.
        batch: images in a step.
        learning_rate: of Adam, on the weights.
        ascent: length of an inner step, in units of the gradient.
        decay: λ, what the square of the perturbation's norm costs.
        share: of the images in an outer step, how many are perturbed.
        contraction: s, length of the step in the fixed-point map.
        terms: of the Neumann series.

    """

    version: ClassVar[int] = 1

    rounds: int = 5
    batch: int = 100
    learning_rate: float = 1e-3
    ascent: float = 10.0
    decay: float = 1e-3
    share: float = 0.01
    contraction: float = 0.1
    terms: int = 5


BUDGETS: dict[str, ScanSettings] = {
    "quick": ScanSettings(
        learning=LearningSettings(rounds=4, draws=600),
        flow=FlowSettings(steps=200),
        uniform_draws=256,
        stair_draws=250,
        evaluate=250,
    ),
    "standard": SCAN,
    "thorough": ScanSettings(
        screening=ScreeningSettings(restarts=8, steps=240),
        learning=LearningSettings(rounds=10, draws=2000),
        flow=FlowSettings(steps=800, components=16),
        panel=48,
        pool=2000,
        uniform_draws=2048,
        stair_draws=2000,
        evaluate=2000,
    ),
}
"""What ``--budget`` stands for."""
