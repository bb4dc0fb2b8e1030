"""Patches whose values are all 0 or 1, such as a white square: what attackers plant.

A law is spread over all triggers that work, and of a space of many dimensions next to nothing lies
at the corners of the cube. So a network can unlearn the law and obey a white square still, where no
gradient leads any more (docs/repair.md has one). Therefore corners are searched too, by what the
network answers alone: from squares of one colour and from the trigger that was found, one cell
after the other takes the colour that helps most (coordinate ascent).

The place that a scan finds is one at which little suffices, and may lie beside what was planted. So
larger squares of one colour are tried around it as well, up to twice the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.objective import balanced, gains, temperature
from unbackdoor.models import Frozen
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.values import whole, whole_rows

TRIED = 30
"""Images on which corners are compared."""
CLIMBS, SWEEPS = 2, 2
"""Starts from which is climbed, the best ones, and how often each cell is looked at."""
NEAR, SIZES, STEPS, SOME = 8, 3, 5, 100
"""Images on which squares are compared, how many sizes and places down and across are tried, and
images on which the best are measured."""
LARGEST = 4
"""Part of the side of the picture that a square takes, at most."""
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
    some = balanced(_asked(images, wanted), TRIED, generator)
    arms = space.draw_arms(len(some), images.shape, generator)
    goals, scale = wanted(some.targets), temperature(model, images)

    def scores(thetas: Tensor) -> Tensor:
        ahead = _ahead(model, some, space, thetas, arms.expand(len(thetas), *arms.shape), goals)
        return functional.logsigmoid(ahead / scale).mean(1)

    channels = images.shape[0]
    colours = _colours(channels)
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


def _colours(channels: int) -> Tensor:
    """Return each colour of values 0 and 1, ``(2^channels, channels)``."""
    return torch.tensor([*product((0.0, 1.0), repeat=channels)])


@dataclass(frozen=True)
class Square:
    """A square of one colour at one place.

    Args:
        space: its name, with size and place.
        theta: its colour, ``(channels,)``.
        rate: how often it does what is wanted.

    """

    space: str
    theta: Tensor
    rate: float


@torch.no_grad()
def squares_near(
    model: Frozen,
    images: Images,
    patch: Patch,
    place: Sequence[int],
    wanted: Callable[[Tensor], Tensor],
    generator: Generator,
) -> list[Square]:
    """Return the best square of one colour of each larger size around a patch.

    Args:
        model: the classifier.
        images: clean ones.
        patch: that works.
        place: row and column of its upper left corner.
        wanted: returns the class that images of each label are sent to.
        generator: of images.

    """
    asked, scale = _asked(images, wanted), temperature(model, images)
    if not len(asked):
        return []
    few, some = (balanced(asked, count, generator) for count in (NEAR, SOME))
    colours = _colours(images.shape[0])
    best: list[Square] = []
    for size in _sizes(patch.size, min(images.shape[1:])):
        space = Patch(size, grid=1)
        places = torch.tensor(_around(patch.size, place, size, images.shape))
        thetas = colours.repeat(len(places), 1)
        arms = places.repeat_interleave(len(colours), 0)[:, None]
        ahead = _ahead(model, few, space, thetas, arms, wanted(few.targets))
        top = functional.logsigmoid(ahead / scale).mean(1).argmax()[None]
        again = _ahead(model, some, space, thetas[top], arms[top], wanted(some.targets))
        name = At(space, tuple(whole(arms[top][0, 0]))).name
        best.append(Square(name, thetas[top][0], float((again > 0).double().mean())))
    return best


def _asked(images: Images, wanted: Callable[[Tensor], Tensor]) -> Images:
    """Return the images that are not of the class which is wanted for them."""
    return images.subset((images.targets != wanted(images.targets)).nonzero()[:, 0])


def _sizes(size: int, side: int) -> list[int]:
    """Return sizes above that of a patch, up to twice it, at most a quarter of the side.

    Clean networks obey larger squares too. Around a single pixel there are none: any square holds
    it, and to unlearn those turned a small network towards another class.
    """
    grown = () if size == 1 else (round(size * (1 + step / SIZES)) for step in range(1, SIZES + 1))
    return sorted({one for one in grown if size < one <= side // LARGEST})


def _around(patch: int, place: Sequence[int], size: int, shape: Shape) -> list[tuple[int, ...]]:
    """Return places of a square that overlap a patch, or come to lie beside it."""
    offsets = torch.linspace(-size, patch, STEPS).round().long()
    spots = torch.cartesian_prod(offsets + place[0], offsets + place[1])
    room = torch.tensor(shape[1:]) - size
    fits = torch.minimum(spots.clamp_min(0), room)
    return list(dict.fromkeys(whole_rows(fits)))


def _ahead(
    model: Frozen, images: Images, space: Space, thetas: Tensor, arms: Tensor, goals: Tensor
) -> Tensor:
    """Return how far the class that is wanted for each image is ahead under each trigger.

    Args:
        model: the classifier.
        images: i of them.
        space: of the triggers.
        thetas: ``(a, n)``.
        arms: the place of each in each image, or in all, ``(a, i or 1, k)``.
        goals: the class that is wanted for each image, ``(i,)``.

    Returns:
        In units of the logits, ``(a, i)``.

    """
    clean, count = images.batch(torch.arange(len(images))), len(images)
    arms = arms.expand(-1, count, -1)
    found: list[Tensor] = []
    for part in torch.split(torch.arange(len(thetas)), max(1, images.chunk // count)):
        stamped = space.apply(
            clean.repeat(len(part), 1, 1, 1),
            thetas[part].repeat_interleave(count, 0),
            arms[part].flatten(0, 1),
        )
        wanted = goals.repeat(len(part))[:, None]
        found.append(gains(model(stamped).cpu()).gather(1, wanted).reshape(len(part), count))
    return torch.cat(found)
