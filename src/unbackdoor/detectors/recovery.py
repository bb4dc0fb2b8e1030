"""From a model to the staircase of a class: screen, learn F, evaluate F at the draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.data import Images
from unbackdoor.detectors.objective import Panel, balanced, temperature
from unbackdoor.detectors.screening import Screener, Screening
from unbackdoor.detectors.settings import SearchSettings
from unbackdoor.detectors.steps import Steps
from unbackdoor.mesa import FlowEstimator, Landing, Parts, Stair, Swift, ThriftyFlow
from unbackdoor.mesa.settings import LearningSettings, SwiftSettings
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Progress
from unbackdoor.triggers.family import Space

FADES = (0.8, 0.6)
"""Strengths at which a screened trigger typically works on some images only."""


def panel_of(
    model: Frozen, images: Images, space: Space, settings: SearchSettings, seed: int
) -> Panel:
    """Return F over the images and arms that are the same for all classes."""
    generator = stream(seed, "scan", "panel")
    some = balanced(images, settings.panel, generator)
    return Panel(model, some, space, temperature(model, images), generator)


@dataclass(frozen=True)
class Known:
    """F towards every class at some θ.

    Args:
        theta: ``(B, n)``: uniform draws, then the screened triggers.
        values: ``(B, classes)``.

    """

    theta: Tensor
    values: Tensor


def screen_classes(
    panel: Panel,
    images: Images,
    settings: SearchSettings,
    seed: int,
    progress: Progress,
    classes: Sequence[int] | None = None,
    steps: Steps | None = None,
) -> tuple[Screening, Known]:
    """Screen every class, and evaluate F at the triggers found and at uniform draws.

    Args:
        panel: F towards every class.
        images: the defender's.
        settings: of the screening, and how many uniform draws.
        seed: of every draw.
        progress: where to report.
        classes: the classes to screen; all when left out.
        steps: keeps both results.

    """
    steps = steps or Steps(panel.model)
    screening = steps.keep(
        "screening",
        Screening,
        lambda: Screener(
            model=panel.model,
            images=images,
            space=panel.space,
            temperature=panel.temperature,
            settings=settings.screening,
            generator=stream(seed, "scan", "screening"),
        )(classes, progress, steps.journal),
    )

    def evaluate() -> Known:
        found = screening.theta.flatten(0, 1)
        generator = stream(seed, "scan", "uniform")
        uniform = torch.rand(settings.uniform_draws, found.shape[1], generator=generator)
        theta = torch.cat([uniform, found])
        values: list[Tensor] = []
        with progress.task("uniform draws", len(theta)) as task:
            for some in torch.split(theta, 64):
                values.append(panel(some))
                task.advance(len(some))
        return Known(theta, torch.cat(values))

    return screening, steps.keep("uniform draws", Known, evaluate)


@dataclass(frozen=True)
class ClassObjective:
    """F towards one class, and its values so far.

    Args:
        target: the class.
        panel: the images and arms that volumes and validity refer to.
        theta: ``(B, n)``.
        values: ``(B,)``, F there.

    """

    target: int
    panel: Panel
    theta: Tensor
    values: Tensor


def objective_of_class(
    panel: Panel,
    images: Images,
    triggers: Tensor,
    known: Known,
    target: int,
    settings: SearchSettings,
    seed: int,
) -> ClassObjective:
    """Return F towards one class over a few images that represent many.

    Args:
        panel: the one of the screening.
        images: the defender's.
        triggers: towards the class, from the screening, ``(restarts, n)``.
        known: F towards every class.
        target: the class.
        settings: how many images, and how many images they represent.
        seed: of every draw.

    """
    generator = stream(seed, "scan", "pool", target)
    others = images.subset((images.targets != target).nonzero()[:, 0])
    many = balanced(others, settings.pool, generator)
    pool = Panel(panel.model, many, panel.space, panel.temperature, generator)
    faded = torch.cat([panel.space.weaken(triggers, fade) for fade in FADES])
    few, values = pool.representative(target, faded, settings.panel)
    return ClassObjective(
        target,
        few,
        torch.cat([known.theta, faded]),
        torch.cat([known.values[:, target], values]),
    )


@dataclass(frozen=True)
class _Stairs:
    """A finished staircase."""

    stairs: tuple[Stair, ...]


def recover(
    on: ClassObjective,
    settings: SearchSettings,
    seed: int,
    advance: Callable[[], None] = lambda: None,
    steps: Steps | None = None,
) -> tuple[Stair, ...]:
    """Recover the staircase of triggers towards one class.

    Args:
        on: F towards the class, and its values so far.
        settings: levels and work.
        seed: of every draw.
        advance: called :func:`steps_of_a_staircase` times.
        steps: keeps each stair, or all of them together.

    """
    steps = steps or Steps(on.panel.model)
    if isinstance(settings.learning, SwiftSettings):
        return _swift(on, settings, settings.learning, seed, advance, steps)
    return _thrifty(on, settings, settings.learning, seed, advance, steps)


def _swift(
    on: ClassObjective,
    settings: SearchSettings,
    learning: SwiftSettings,
    seed: int,
    advance: Callable[[], None],
    steps: Steps,
) -> tuple[Stair, ...]:
    """Learn F image by image, and climb the level sets of what is learnt."""
    panel, target = on.panel, on.target
    images = panel.others(target)

    def success(theta: Tensor, which: Tensor) -> Tensor:
        return panel.success(theta, images[which], target)

    def climb() -> _Stairs:
        estimator = Swift(learning, settings.stair_draws, settings.temperature)
        stairs = estimator(
            panel.towards(target),
            settings.betas,
            on.theta.shape[1],
            seed=int(torch.randint(2**31, (), generator=stream(seed, "scan", "swift", target))),
            parts=Parts(success, len(images)),
            known=on.theta,
            advance=advance,
        )
        return _Stairs(stairs)

    return steps.keep(f"class {target} staircase", _Stairs, climb).stairs


def _thrifty(
    on: ClassObjective,
    settings: SearchSettings,
    learning: LearningSettings,
    seed: int,
    advance: Callable[[], None],
    steps: Steps,
) -> tuple[Stair, ...]:
    """Learn the mean of all images, and fit flows to what is learnt."""
    estimator = ThriftyFlow(
        learning,
        FlowEstimator(settings.flow),
        draws=settings.stair_draws,
        temperature=settings.temperature,
    )
    names = ("scan", "staircase", on.target)
    images = stream(seed, *names, "images")

    def keep(beta: float, climb: Callable[[], Landing]) -> Landing:
        return steps.keep(f"class {on.target} stair {beta}", Landing, climb, (images,))

    return estimator(
        on.panel.towards(on.target),
        settings.betas,
        on.theta.shape[1],
        seed=int(torch.randint(2**31, (), generator=stream(seed, *names))),
        noisy=on.panel.noisy(on.target, settings.images_per_draw, images),
        known=(on.theta, on.values),
        advance=advance,
        keep=keep,
    )


def steps_of_a_staircase(settings: SearchSettings) -> int:
    """Return how often :func:`recover` reports progress."""
    stairs = len(settings.betas)
    if isinstance(settings.learning, SwiftSettings):
        return settings.learning.rounds + stairs
    return settings.learning.rounds + stairs - 1 + stairs * settings.flow.steps
