"""Backdoors under which each class goes to a class of its own (all-to-all), seen by usual squares.

A search towards one class cannot see them: whatever the class, images of few classes go there. So a
look tries usual triggers at many places and asks where images of each class s go. With M[s, t], the
mean of σ(margin of t / T) over images of s that are answered right without a trigger, the goal of a
trigger is argmax_{t≠s} M[s, t] for each s, and its score the mean of the maximum over s. Those that
rise are optimised towards their goals.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unbackdoor.data import Images
from unbackdoor.detectors.arms import Arms, Bandit
from unbackdoor.detectors.objective import balanced, gains
from unbackdoor.detectors.settings import Round
from unbackdoor.metrics import predict
from unbackdoor.triggers.values import whole

LOOK = 16
"""Images of a look at one trigger, at least one and at most two of a class."""
AGAIN = 4
"""Images of each class of the looks at the triggers that rose."""
POOL = 10
"""Images of each class from which those come that are answered right."""
RISES = 0.45
"""Score from which a trigger gets more work."""
ROUNDS = (
    Round(arms=6, passes=480, most=80),
    Round(arms=2, passes=240, most=120, nudge=2),
    Round(arms=1, passes=200, most=200, nudge=1),
)


def search(bandit: Bandit) -> Arms | None:
    """Return the trigger that comes nearest to one under which each class goes to its own.

    Args:
        bandit: of images that are answered right.

    Returns:
        One arm; None where nothing rises, or the space has no usual triggers.

    """
    thetas, _ = bandit.space.library(bandit.images.shape)
    places = bandit.space.coarse_arms(bandit.images.shape)
    classes = len(set(whole(bandit.images.targets)))
    if not len(thetas) or classes < 3:
        return None
    arms = look(
        bandit,
        thetas.repeat_interleave(len(places), 0),
        places.repeat(len(thetas), 1),
        min(LOOK, 2 * classes),
    )
    for settings in ROUNDS:
        arms = arms.rows((arms.score >= RISES).nonzero()[:, 0])
        if not len(arms):
            return None
        arms = arms.rows(arms.best()[: settings.arms])
        if settings.nudge:
            arms = bandit.nudged(arms, settings.nudge)
        arms = bandit.play(arms, settings)
        arms = look(bandit, arms.theta, arms.choice, AGAIN * classes)
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
    clean, labels, count = images.batch(torch.arange(len(images))), images.targets, len(images)
    classes = len(images.classes)
    of_class = one_hot(labels, classes).float()
    rates: list[Tensor] = []
    for some in torch.split(torch.arange(len(theta)), max(1, images.chunk // count)):
        stamped = bandit.space.apply(
            clean.repeat(len(some), 1, 1, 1),
            theta[some].repeat_interleave(count, 0),
            choice[some].repeat_interleave(count, 0),
        )
        won = torch.sigmoid(gains(bandit.model(stamped).cpu()) / bandit.temperature)
        won = won.reshape(len(some), count, classes)
        rates.append(torch.einsum("is,ait->ast", of_class, won))
    rate = torch.cat(rates) / of_class.sum(0).clamp(min=1)[:, None]
    rate.diagonal(dim1=1, dim2=2).fill_(-1.0)
    best, goals = rate.max(2)
    seen = of_class.sum(0) > 0
    goals = torch.where(seen, goals, torch.arange(classes))
    score = best[:, seen].mean(1)
    shares = one_hot(goals[:, seen], classes).sum(1).amax(1)
    kept = (2 * shares <= int(seen.sum())).nonzero()[:, 0]
    return Arms(goals=goals, choice=choice, theta=theta, score=score).rows(kept)


def answered_right(bandit: Bandit) -> Images:
    """Return some images of all classes that are answered right without a trigger."""
    images = bandit.images
    images = balanced(images, POOL * len(images.classes), bandit.generator)
    return images.subset((predict(bandit.model, images) == images.targets).nonzero()[:, 0])
