"""Backdoors under which each class goes to a class of its own (all-to-all).

A search towards one class cannot see them: whatever the class, images of few classes go there. So
a bandit looks for triggers under which images are answered *wrong*, whatever the answer. Then a
look asks where images of each class go. With M[s, t], the mean of σ(margin of t / T) over images of
s that are answered right without a trigger, the goal of a trigger is argmax_{t≠s} M[s, t] for each
s, and its score the mean of the maximum over s. In a clean network the answers scatter. Triggers
whose score is high are optimised towards their goals.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from unbackdoor.data import Images
from unbackdoor.detectors.arms import AWAY, Arms, Bandit, choices
from unbackdoor.detectors.objective import balanced
from unbackdoor.detectors.settings import Round
from unbackdoor.metrics import predict
from unbackdoor.models import Frozen
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.registry import family_of
from unbackdoor.triggers.values import whole

PLANTED = ("patch", "blend", "warp")
"""Families with which such backdoors are planted in the literature (BadNets, Blended, WaNet)."""
AGAIN = 4
"""Images of each class in a look."""
POOL = 10
"""Images of each class from which those come that are answered right."""
RISES = 0.45
"""Score from which a trigger gets more work."""
STARTS = 2
"""Searches where there is no place to choose."""
PLACES = (
    Round(arms=1, passes=640, most=40),
    Round(arms=8, passes=320, most=50),
    Round(arms=2, passes=160, most=80, nudge=2),
)
"""The bandit, where there are many places."""
WHOLE = (Round(arms=STARTS, passes=160, most=80),)
"""The search, where there is none."""
GOALS = (
    Round(arms=2, passes=240, most=120, nudge=1),
    Round(arms=1, passes=200, most=200),
)
"""The search towards the goals that triggers showed."""


def spaces(every: Sequence[Space]) -> list[Space]:
    """Return the spaces in which such triggers are looked for: the first of each family."""
    first: dict[str, Space] = {}
    for space in every:
        first.setdefault(family_of(space.name), space)
    return [first[family] for family in PLANTED if family in first]


def search(bandit: Bandit) -> Arms | None:
    """Return the trigger that comes nearest to one under which each class goes to its own.

    Args:
        bandit: of images that are answered right.

    Returns:
        One arm; None where nothing rises.

    """
    occurring = len(set(whole(bandit.images.targets)))
    if occurring < 3:
        return None
    choice = choices(bandit.space, bandit.images.shape, STARTS)[0]
    arms = bandit.start(torch.full((len(choice),), AWAY), choice)
    places = len(bandit.space.coarse_arms(bandit.images.shape)) > 1
    played = bandit.halve(arms, PLACES if places else WHOLE)
    if not played:  # the time was up
        return None
    arms = played[-1]
    arms = look(bandit, arms.theta, arms.choice, AGAIN * occurring)
    for settings in GOALS:
        arms = arms.rows((arms.score >= RISES).nonzero()[:, 0])
        if not len(arms):
            return None
        arms = arms.rows(arms.best()[: settings.arms])
        if settings.nudge and bandit.space.moves:
            arms = bandit.nudged(arms, settings.nudge)
        arms = bandit.play(arms, settings)
        arms = look(bandit, arms.theta, arms.choice, AGAIN * occurring)
    return arms if len(arms) else None


@torch.no_grad()
def look(bandit: Bandit, theta: Tensor, choice: Tensor, count: int) -> Arms:
    """Return the triggers as arms whose goals are where images of each class go most.

    A trigger that sends most classes to one is left out: the search towards one class sees it.

    Args:
        bandit: of images that are answered right.
        theta: the triggers, ``(a, n)``.
        choice: their places, ``(a, k)``.
        count: images, in equal parts of all classes.

    """
    images = balanced(bandit.images, count, bandit.generator)
    classes = len(images.classes)
    of_class = one_hot(images.targets, classes).float()
    rates = [
        torch.einsum("is,ait->ast", of_class, torch.sigmoid(gain))
        for gain in bandit.gains(theta, choice, images)
    ]
    rate = torch.cat(rates) / of_class.sum(0).clamp(min=1)[:, None]
    rate.diagonal(dim1=1, dim2=2).fill_(-1.0)
    best, goals = rate.max(2)
    seen = of_class.sum(0) > 0
    goals = torch.where(seen, goals, torch.arange(classes))
    score = best[:, seen].mean(1)
    shares = one_hot(goals[:, seen], classes).sum(1).amax(1)
    kept = (2 * shares <= int(seen.sum())).nonzero()[:, 0]
    return Arms(goals=goals, choice=choice, theta=theta, score=score).rows(kept)


def answered_right(model: Frozen, images: Images, generator: Generator) -> Images:
    """Return some images of all classes that are answered right without a trigger."""
    images = balanced(images, POOL * len(images.classes), generator)
    return images.subset((predict(model, images) == images.targets).nonzero()[:, 0])
