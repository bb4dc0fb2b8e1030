"""From a panel to the staircase of a class: F is looked at everywhere, then learnt, then asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.data import Images
from unbackdoor.mesa import FlowEstimator, Stair, ThriftyFlow
from unbackdoor.models import Frozen
from unbackdoor.progress import Progress
from unbackdoor.rng import stream
from unbackdoor.scanning.objective import Panel, temperature
from unbackdoor.scanning.screening import Screening, screen
from unbackdoor.settings import ScanSettings
from unbackdoor.triggers import TriggerSpace


def panel_of(
    model: Frozen, images: Images, space: TriggerSpace, settings: ScanSettings, seed: int
) -> Panel:
    """Return the images and places that a scan with this seed refers to."""
    heat = temperature(model, images)
    return Panel(model, images, space, heat, settings.panel, stream(seed, "scan", "panel"))


@dataclass(frozen=True)
class Known:
    """F towards every class at some θ.

    Args:
        theta: ``(B, n)``: uniform draws, then the screened triggers.
        values: ``(B, classes)``.

    """

    theta: Tensor
    values: Tensor


def first_look(
    panel: Panel,
    images: Images,
    settings: ScanSettings,
    seed: int,
    progress: Progress,
    classes: Sequence[int] | None = None,
) -> tuple[Screening, Known]:
    """Screen every class, and ask the panel about what was found and about uniform draws.

    Args:
        panel: F towards every class.
        images: the defender's.
        settings: of the screening, and how many uniform draws.
        seed: of every draw.
        progress: where to report.
        classes: which are screened; every one when left out.

    """
    screening = screen(
        panel.model,
        images,
        panel.space,
        panel.temperature,
        settings.screening,
        classes=classes,
        generator=stream(seed, "scan", "screening"),
        progress=progress,
    )
    found = screening.theta.flatten(0, 1)
    generator = stream(seed, "scan", "uniform")
    uniform = torch.rand(settings.uniform_draws, found.shape[1], generator=generator)
    theta = torch.cat([uniform, found])
    values: list[Tensor] = []
    with progress.task("uniform draws", len(theta)) as task:
        for some in torch.split(theta, 64):
            values.append(panel(some))
            task.advance(len(some))
    return screening, Known(theta, torch.cat(values))


def recover(
    panel: Panel,
    target: int,
    known: Known,
    settings: ScanSettings,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Stair, ...]:
    """Recover the staircase of triggers towards one class.

    Args:
        panel: the images and places that volumes and validity refer to.
        target: the class.
        known: where to begin.
        settings: levels and work.
        seed: of every draw.
        advance: called :func:`steps_of_a_staircase` times.

    """
    estimator = ThriftyFlow(
        settings.learning,
        FlowEstimator(settings.flow),
        draws=settings.stair_draws,
        temperature=settings.temperature,
    )
    names = ("scan", "staircase", target)
    return estimator(
        panel.towards(target),
        settings.betas,
        known.theta.shape[1],
        seed=int(torch.randint(2**31, (), generator=stream(seed, *names))),
        noisy=panel.noisy(target, settings.images_per_draw, stream(seed, *names, "images")),
        known=(known.theta, known.values[:, target]),
        advance=advance,
    )


def steps_of_a_staircase(settings: ScanSettings) -> int:
    """Return how often :func:`recover` reports progress."""
    stairs = len(settings.betas)
    return settings.learning.rounds + stairs - 1 + stairs * settings.flow.steps
