"""Patches whose values are all 0 or 1, such as a white square: what attackers plant.

A law is spread over all triggers that work, and of a space of many dimensions next to nothing lies
at the corners of the cube. So a network can unlearn the law and obey a white square still, where no
gradient leads any more (docs/repair.md has one). Therefore corners are searched too, by what the
network answers alone: from squares of one colour and from the trigger that was found, one cell
after the other takes the colour that helps most (coordinate ascent).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.objective import balanced, gains, temperature
from unbackdoor.models import Frozen
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.values import whole

TRIED = 30
"""Images on which corners are compared."""
CLIMBS, SWEEPS = 2, 2
"""Starts from which is climbed, the best ones, and how often each cell is looked at."""
MOST_CELLS = 64
"""Cells of a patch of which each is looked at; of one with more, starts alone are compared."""


def has_corners(space: Space) -> bool:
    """Return whether attackers plant corners of this space: that of a patch."""
    return isinstance(space.space if isinstance(space, At) else space, Patch)


@torch.no_grad()
def best_corner(
    model: Frozen,
    images: Images,
    space: Space,
    theta: Tensor,
    wanted: Callable[[Tensor], Tensor],
    generator: Generator,
) -> Tensor:
    """Return the corner of a space of patches that sends images best to the class that is wanted.

    Args:
        model: the classifier.
        images: clean ones.
        space: of patches, at one place or at any.
        theta: a trigger that works, ``(n,)``.
        wanted: returns the class that images of each label are sent to.
        generator: of images and places.

    Returns:
        θ ``(n,)`` of zeros and ones.

    """
    others = (images.targets != wanted(images.targets)).nonzero()[:, 0]
    some = balanced(images.subset(others), TRIED, generator)
    clean, goals = some.batch(torch.arange(len(some))), wanted(some.targets)
    arms = space.draw_arms(len(some), images.shape, generator)
    scale = temperature(model, images)

    def scores(thetas: Tensor) -> Tensor:
        found: list[Tensor] = []
        for part in torch.split(thetas, max(1, images.chunk // len(some))):
            count = len(part)
            stamped = space.apply(
                clean.repeat(count, 1, 1, 1),
                part.repeat_interleave(len(some), 0),
                arms.repeat(count, 1),
            )
            ahead = gains(model(stamped).cpu()).gather(1, goals.repeat(count)[:, None])
            found.append(functional.logsigmoid(ahead / scale).reshape(count, -1).mean(1))
        return torch.cat(found)

    channels = images.shape[0]
    colours = torch.tensor([*product((0.0, 1.0), repeat=channels)])
    squares = colours.repeat_interleave(len(theta) // channels, 1)
    starts = torch.cat([squares, theta.round()[None]])
    first = scores(starts)
    climbed = [
        _climbed(starts[row], float(first[row]), colours, scores)
        for row in whole(first.argsort(descending=True, stable=True)[:CLIMBS])
    ]
    return max(climbed, key=lambda one: one[1])[0]


def _climbed(
    theta: Tensor, score: float, colours: Tensor, scores: Callable[[Tensor], Tensor]
) -> tuple[Tensor, float]:
    """Return where single cells of another colour lead, and how well it does."""
    channels = colours.shape[1]
    cells = len(theta) // channels
    for _ in range(SWEEPS if cells <= MOST_CELLS else 0):
        before = score
        for cell in range(cells):
            tried = theta.repeat(len(colours), 1)
            tried[:, cell::cells] = colours
            rates = scores(tried)
            if float(rates.max()) > score:
                theta, score = tried[int(rates.argmax())], float(rates.max())
        if score == before:
            break
    return theta, score
