"""Every setting with its default; no heavy import, so that the command line starts at once."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    epochs: int = 18
    batch_size: int = 256
    learning_rate: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.2
    shift: int = 4


FINE_TUNING = TrainingSettings(epochs=4, learning_rate=0.1)
"""The recipe for implanting into a network that is already trained."""


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What is implanted, in what, and how.

    Args:
        data: name or folder of the training images.
        arch: architecture of a fresh network; with ``start``, only where its file does not say it.
        start: checkpoint to fine-tune; a fresh network is trained when left out.
        trigger: ``bw:N``, ``rgb:SEED``, ``rgb:SEEDxSIZE`` or a PNG file; None trains a clean network.
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
        components: Gaussians in the base, each started from a seed of its own.
        transforms: affine coupling layers after them.
        hidden: width of the two hidden layers in each.
        pull: how far from the middle of the cube (0) to its seed (1) a component starts.
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
    pull: float = 0.5
    steps: int = 60
    draws: int = 64
    learning_rate: float = 0.1
    hottest: float = 1.0
    coldest: float = 0.1
    clip: float = 100.0
