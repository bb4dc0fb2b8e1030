"""A cheap first look at every class: a few reversed triggers each, all classes in one batch.

Plain Adam on the pixels of several patches per class, random images and places at each step, the
margin towards the class as the gain. A backdoor is a wide door: this finds it, and what it misses
in shape the flow recovers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.objective import CHUNK, margins
from unbackdoor.detectors.settings import ScreeningSettings
from unbackdoor.models import Frozen
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress
from unbackdoor.runtime.snapshot import Snapshot, take
from unbackdoor.triggers import TriggerSpace

OFTEN = 20


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The reversed triggers of every class.

    Args:
        theta: ``(classes, restarts, n)`` in [0, 1], in the order of the classes screened.
        asr: ``(classes, restarts)``, argmax attack success on the defender's images.

    """

    theta: Tensor
    asr: Tensor


def screen(
    model: Frozen,
    images: Images,
    space: TriggerSpace,
    temperature: float,
    settings: ScreeningSettings,
    *,
    classes: Sequence[int] | None = None,
    generator: Generator,
    progress: Progress,
    journal: Journal = FORGETFUL,
) -> Screening:
    """Search triggers towards every class at once.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: where to search.
        temperature: T of the objective, in units of the logits.
        settings: restarts, steps, images.
        classes: which; every one when left out.
        generator: of starts, images and places.
        progress: where to report.
        journal: keeps the search every :data:`OFTEN` steps.

    """
    screened = torch.tensor(range(len(images.classes)) if classes is None else classes)
    targets = screened.repeat_interleave(settings.restarts)
    start = torch.rand(len(targets), space.dimensions, generator=generator)
    x = torch.logit(start, eps=1e-3).requires_grad_()
    optimiser = torch.optim.Adam([x], lr=settings.learning_rate)
    per_step = settings.images_per_step
    wanted = targets.repeat_interleave(per_step)
    first = 0
    if (kept := journal.read("search", Snapshot)) is not None:
        x.data.copy_(kept.tensors["x"])
        kept.restore(optimiser, [generator])
        first = kept.done
        model.count(first * len(wanted), backward=True)
    with progress.task("screening", settings.steps) as task:
        task.advance(first)
        for step in range(first, settings.steps):
            picks = _others(images, targets, per_step, generator)
            places = space.places(len(wanted), images.shape, generator)
            theta = torch.sigmoid(x).repeat_interleave(per_step, 0)
            logits = _in_chunks(model, images, space, theta, picks, places)
            loss = functional.softplus(-margins(logits, wanted) / temperature).sum() / per_step
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if (step + 1) % OFTEN == 0:
                journal.write("search", take(step + 1, {"x": x}, optimiser, [generator]))
            task.advance()
    theta = torch.sigmoid(x.detach())
    picks = _others(images, targets, settings.images_to_judge, generator)
    places = space.places(len(picks), images.shape, generator)
    with torch.no_grad():
        logits = _in_chunks(
            model,
            images,
            space,
            theta.repeat_interleave(settings.images_to_judge, 0),
            picks,
            places,
        )
    hits = logits.argmax(1) == targets.repeat_interleave(settings.images_to_judge)
    shape = (len(screened), settings.restarts, -1)
    return Screening(theta=theta.reshape(shape), asr=hits.reshape(shape).double().mean(2))


def _others(images: Images, targets: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw ``count`` positions of images of other classes for each target, all in a row."""
    order = images.targets.argsort(stable=True)
    counts = torch.bincount(images.targets, minlength=len(images.classes))
    first = counts.cumsum(0) - counts
    draw = torch.rand(len(targets), count, generator=generator)
    allowed = (len(images) - counts[targets])[:, None]
    position = (draw * allowed).long().minimum(allowed - 1)
    position += torch.where(position >= first[targets][:, None], counts[targets][:, None], 0)
    return order[position.reshape(-1)]


def _in_chunks(
    model: Frozen,
    images: Images,
    space: TriggerSpace,
    theta: Tensor,
    picks: Tensor,
    places: Tensor,
) -> Tensor:
    return torch.cat(
        [
            model(space.stamp(images.batch(picks[rows]), theta[rows], places[rows]))
            for rows in torch.split(torch.arange(len(picks)), CHUNK)
        ]
    )
