"""The law of the triggers that a detector found: MESA in the space of the best one.

F is taken at the place where the trigger was found, over a few images that represent many. Where θ
has more than :data:`MOST_DIMENSIONS` values no density is estimated, nor where the staircase does
not reach its first level though triggers are known that do: a narrow summit is lost where a wide
hill is easier to climb. The draws are then the best triggers of several searches, which is all that
a repair needs.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from unbackdoor.data import Images
from unbackdoor.detectors.arms import ANYWHERE, Bandit
from unbackdoor.detectors.evidence import LogVolume, StairRecord
from unbackdoor.detectors.objective import Panel
from unbackdoor.detectors.recovery import (
    Known,
    objective_of_class,
    panel_of,
    recover,
    steps_of_a_staircase,
)
from unbackdoor.detectors.settings import Round, SearchSettings
from unbackdoor.detectors.stairs import to_records
from unbackdoor.detectors.steps import Steps
from unbackdoor.mesa import Stair
from unbackdoor.mesa.uniform import log_volume_upper_bound
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.fixed import At

MOST_DIMENSIONS = 192
"""Values of θ up to which a density is estimated: a patch of 8×8 pixels."""
RESTARTS = 4
"""Searches in the space of the trigger; each gets as many images as the panel stands for."""
MANY = 16
"""The same where the draws are what the searches find."""


def law(
    model: Frozen,
    images: Images,
    space: Space,
    target: int,
    theta: Tensor,
    settings: SearchSettings,
    work: Work,
) -> tuple[list[LogVolume], list[StairRecord]]:
    """Return how much room there is for triggers at each β, and draws of them.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: of the trigger that was found.
        target: its class.
        theta: the trigger, ``(n,)``.
        settings: levels and work.
        work: seed, progress and journal.

    """
    panel = panel_of(model, images, space, settings, work.seed)
    steps = Steps(model, work.journal.within(f"law {target}"))

    def searched(starts: int, name: str) -> Tensor:
        effort = Round(arms=starts, passes=starts * settings.pool, most=settings.pool)
        generator = stream(work.seed, "law", name, target)
        return steps.keep(name, Tensor, lambda: _restarts(panel, images, target, effort, generator))

    def without_density(draws: Tensor) -> tuple[list[LogVolume], list[StairRecord]]:
        values = steps.keep("values", Tensor, lambda: panel.towards(target)(draws))
        stair = Stair(beta=settings.betas[0], draws=draws, log_q=None, values=values)
        return [], to_records([stair])

    few = len(theta) <= MOST_DIMENSIONS
    found = torch.cat([theta[None], searched(RESTARTS if few else MANY, "restarts")])
    if not few:
        return without_density(found)

    def evaluate() -> Known:
        generator = stream(work.seed, "law", "uniform", target)
        uniform = torch.rand(settings.uniform_draws, len(theta), generator=generator)
        every = torch.cat([uniform, found])
        return Known(every, panel(every))

    known = steps.keep("uniform draws", Known, evaluate)
    total = steps_of_a_staircase(settings)
    with work.progress.task(f"staircase of {images.classes[target]}", total) as task:
        on = objective_of_class(panel, images, found, known, target, settings, work.seed)
        stairs = recover(on, settings, work.seed, task.advance, steps)
    values = known.values[:, target]
    uniform, theirs = values[: settings.uniform_draws], values[settings.uniform_draws :]
    if stairs[0].valid_fraction == 0 and bool((theirs >= stairs[0].beta).any()):
        return without_density(torch.cat([found, searched(MANY - RESTARTS, "more restarts")]))
    volumes = [
        LogVolume(
            beta=stair.beta,
            value=stair.log_volume,
            upper_bound=log_volume_upper_bound(int((uniform >= stair.beta).sum()), len(uniform)),
        )
        for stair in stairs
    ]
    return volumes, to_records(stairs)


def _restarts(
    panel: Panel, images: Images, target: int, effort: Round, generator: Generator
) -> Tensor:
    """Return triggers of the panel's space that a search finds, ``(starts, n)``."""
    space = panel.space
    bandit = Bandit(
        model=panel.model,
        images=images,
        space=space.space if isinstance(space, At) else space,
        temperature=panel.temperature,
        generator=generator,
    )
    if isinstance(space, At):
        choice = torch.tensor([space.arm])
    else:
        columns = space.coarse_arms(images.shape).shape[1]
        choice = torch.full((1, columns), ANYWHERE)
    arms = bandit.start(torch.full((effort.arms,), target), choice.expand(effort.arms, -1))
    return bandit.play(arms, effort).theta
