"""A bandit over arms: many cheap searches at once, and most of the work for those that rise.

An arm is a goal (the class that images of each class shall be sent to), a choice without a gradient
(a place, or another start), and θ in one space of triggers. All arms of a space are optimised in
one batch; after each round only the best go on, with more images and more steps (successive
halving: Jamieson and Talwalkar, 2016). Places are listed rather than learnt, because a search that
moves a patch ends wherever the picture is weak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.detectors.objective import balanced, gains
from unbackdoor.detectors.reversal import descend
from unbackdoor.detectors.settings import Round
from unbackdoor.metrics import margins
from unbackdoor.models import Frozen, TimeUpError
from unbackdoor.runtime.progress import Task
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.values import whole, whole_rows

AWAY = -1
"""As a goal: images of the class are to be answered wrong, with whatever class."""
ANYWHERE = -1000
"""Stands in every column of the choice of an arm that draws another place for each picture."""
FEW, OFTENER = 16, 2
"""A search of few values ends in a local optimum more often, and costs less to begin again."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Searches in one space, a row for each.

    Args:
        goals: the class that images of each class shall be sent to, or :data:`AWAY`,
            ``(a, classes)`` int64; images of a class that is its own goal are left out.
        choice: the place that every picture gets, ``(a, k)`` int64, or :data:`ANYWHERE`.
        theta: ``(a, n)`` in [0, 1].
        score: mean of log sigmoid(margin / T) in the later steps, ``(a,)``; at most 0.

    """

    goals: Tensor
    choice: Tensor
    theta: Tensor
    score: Tensor

    def __len__(self) -> int:
        """Return a, how many there are."""
        return len(self.goals)

    @property
    def targets(self) -> Tensor:
        """The class of each arm that sends all images to one, ``(a,)``."""
        return self.goals[:, 0]

    def rows(self, which: Tensor) -> Arms:
        """Return some of them."""
        return Arms(
            goals=self.goals[which],
            choice=self.choice[which],
            theta=self.theta[which],
            score=self.score[which],
        )

    def space(self, space: Space, row: int) -> Space:
        """Return the space of one arm: the one that was searched, at the place of the arm."""
        choice = whole(self.choice[row])
        fixed = isinstance(space, At) or not choice or choice[0] == ANYWHERE
        return space if fixed else At(space, tuple(choice))

    def best(self) -> Tensor:
        """Return all rows, best first."""
        return self.score.argsort(descending=True, stable=True)

    def distinct(self) -> Tensor:
        """Return the best row of each goal and choice, best first."""
        keys = torch.cat([self.goals, self.choice], 1)
        return torch.tensor(self._leaders(keys), dtype=torch.int64)

    def survivors(self, count: int, hides: Tensor) -> Tensor:
        """Return the rows of ``count`` arms that go on.

        Some classes and some places rise by themselves: a trigger in the middle hides the object.
        So the first half are the best of their classes, in the middle and elsewhere, then come the
        best of their places, and then the others, each in the order of their scores.

        Args:
            count: how many.
            hides: which arms are in the middle, ``(a,)``; if none are, each class has one best.

        """
        of_class = self._leaders(torch.cat([self.goals, hides[:, None]], 1))[: (count + 1) // 2]
        order = [*of_class, *self._leaders(self.choice), *whole(self.best())]
        return torch.tensor(list(dict.fromkeys(order))[:count])

    def _leaders(self, keys: Tensor) -> list[int]:
        """Return the best row of each key ``(a, k)``, best first; none where all are alike."""
        if not keys.shape[1]:
            return []
        rows = whole_rows(keys)
        best: dict[tuple[int, ...], int] = {}
        for row in whole(self.best()):
            best.setdefault(rows[row], row)
        return list(best.values())


@dataclass(frozen=True, kw_only=True)
class Bandit:
    """The searches in one space.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: of the triggers.
        temperature: T of the objective, in units of the logits.
        generator: of starts, images and places.

    """

    model: Frozen
    images: Images
    space: Space
    temperature: float
    generator: Generator

    def start(self, targets: Tensor, choice: Tensor) -> Arms:
        """Return arms with random θ towards ``targets`` ``(a,)`` with a ``choice`` ``(a, k)``."""
        shape = self.images.shape
        drawn = torch.rand(len(targets), self.space.dimensions(shape), generator=self.generator)
        theta = self.space.begin(drawn, shape)
        score = torch.full((len(targets),), -torch.inf)
        goals = towards(targets, len(self.images.classes))
        return Arms(goals=goals, choice=choice, theta=theta, score=score)

    @torch.no_grad()
    def look(self, thetas: Tensor, places: Tensor, count: int) -> Arms:
        """Return an arm for each class, trigger and place, scored by ``count`` images each.

        Every image that passes counts for all classes but its own.

        Args:
            thetas: usual triggers, ``(l, n)``.
            places: ``(p, k)``.
            count: images, in equal parts of all classes.

        """
        classes = len(self.images.classes)
        images = balanced(self.images, count, self.generator)
        theta = thetas.repeat_interleave(len(places), 0)
        choice = places.repeat(len(thetas), 1)
        other = images.targets[:, None] != torch.arange(classes)
        scores = [
            (functional.logsigmoid(gain) * other).sum(1) / other.sum(0).clamp(min=1)
            for gain in self.gains(theta, choice, images)
        ]
        return Arms(
            goals=towards(torch.arange(classes).repeat(len(theta)), classes),
            choice=choice.repeat_interleave(classes, 0),
            theta=theta.repeat_interleave(classes, 0),
            score=torch.cat(scores).reshape(-1),
        )

    @torch.no_grad()
    def gains(self, theta: Tensor, choice: Tensor, images: Images) -> Iterator[Tensor]:
        """Yield for some triggers at a time how far each class is ahead on each image, over T.

        Args:
            theta: the triggers, ``(a, n)``.
            choice: the place of each, ``(a, k)``.
            images: all of which get every trigger, ``(i)``.

        Yields:
            z_t − max_{j≠t} z_j over T, ``(part of a, i, classes)``.

        """
        count = len(images)
        for some in torch.split(torch.arange(len(theta)), max(1, images.chunk // count)):
            which = some.repeat_interleave(count)
            ahead: list[Tensor] = []
            for rows in torch.split(torch.arange(len(which)), images.chunk):
                clean = images.batch(rows % count)
                stamped = self.space.apply(clean, theta[which[rows]], choice[which[rows]])
                ahead.append(gains(self.model(stamped).cpu()) / self.temperature)
            yield torch.cat(ahead).reshape(len(some), count, len(images.classes))

    def play(self, arms: Arms, settings: Round, task: Task | None = None) -> Arms:
        """Return the arms after a round: θ has moved, and they have a score."""
        images, steps = settings.shared(len(arms))
        late: list[Tensor] = []

        def add_gradient(x: Tensor) -> None:
            late.append(self._add_gradient(x, arms, images))
            del late[: -((steps + 1) // 2)]

        theta, _ = descend(
            arms.theta,
            add_gradient,
            steps=steps,
            learning_rate=settings.reach / steps,
            task=task,
        )
        return replace(arms, theta=theta, score=torch.stack(late).mean(0))

    def halve(self, arms: Arms, rounds: Sequence[Round], *, seen: bool = False) -> list[Arms]:
        """Return the arms after each round, of which the best take part in the next, if they rise.

        A round for which the time does not suffice is left out, and so are those after it.

        Args:
            arms: all of them.
            rounds: the work.
            seen: whether the arms have a score, which stands in for the first round.

        """
        played: list[Arms] = [arms] if seen else []
        for settings in rounds[1:] if seen else rounds:
            if played:
                half = (len(arms) + 1) // 2
                hides = self.space.hides(arms.choice, self.images.shape)
                if len(played) == 1:
                    hides = torch.zeros_like(hides)  # at first as many classes as fit go on
                arms = arms.rows(arms.survivors(min(settings.arms, half), hides))
            nudge = settings.nudge if played and self.space.moves else 0
            try:
                if nudge and int(arms.choice.min()) != ANYWHERE:
                    arms = self.nudged(arms, nudge)
                arms = self.play(arms, settings)
            except TimeUpError:
                break
            played.append(arms)
            short = float(played[0].score.median())
            if settings.rises is not None and float(arms.score.max()) < settings.rises * short:
                break
        return played

    @torch.no_grad()
    def success(self, arms: Arms, count: int) -> Tensor:
        """Return how often each arm works on ``count`` of the defender's images, ``(a,)``."""
        hits: list[Tensor] = []
        picks, chosen = self._draw(arms, count)
        wanted = self._wanted(arms, picks, count)
        for rows in torch.split(torch.arange(len(picks)), self.images.chunk):
            theta = arms.theta[rows // count]
            stamped = self.space.apply(self.images.batch(picks[rows]), theta, chosen[rows])
            answers, labels = self.model(stamped).argmax(1).cpu(), self.images.targets[picks[rows]]
            off = wanted[rows] == AWAY
            hits.append(torch.where(off, answers != labels, answers == wanted[rows]))
        return torch.cat(hits).reshape(-1, count).double().mean(1)

    def nudged(self, arms: Arms, step: int, count: int = 8) -> Arms:
        """Return arms at the neighbouring places at which they work best, as they are.

        Args:
            arms: at fixed places.
            step: distance to the neighbours, in pixels.
            count: the defender's images for each arm and place.

        """
        every = {tuple(whole(arm)) for arm in self.space.arms(self.images.shape)}
        moves = torch.cartesian_prod(*[torch.tensor([0, -step, step])] * 2)
        moved: list[Tensor] = []
        for row in range(len(arms)):
            places = arms.choice[row] + moves
            fits = torch.tensor([tuple(whole(place)) in every for place in places])
            places = places[fits]
            some = arms.rows(torch.full((len(places),), row))
            rate = self.success(replace(some, choice=places), count)
            moved.append(places[int(rate.argmax())])
        return replace(arms, choice=torch.stack(moved))

    def _draw(self, arms: Arms, count: int) -> tuple[Tensor, Tensor]:
        """Return ``count`` images for each arm, and the place in each."""
        picks = others(self.images, arms.goals, count, self.generator)
        drawn = self.space.draw_arms(len(picks), self.images.shape, self.generator)
        chosen = arms.choice.repeat_interleave(count, 0)
        return picks, torch.where(chosen == ANYWHERE, drawn, chosen)

    def _wanted(self, arms: Arms, picks: Tensor, each: int) -> Tensor:
        """Return the class that each picked image shall be sent to, ``(a · each,)``."""
        rows = torch.arange(len(arms)).repeat_interleave(each)
        return arms.goals[rows, self.images.targets[picks]]

    def _add_gradient(self, x: Tensor, arms: Arms, each: int) -> Tensor:
        """Add the gradient of the loss to ``x.grad``; return the score of each arm."""
        picks, chosen = self._draw(arms, each)
        asked = self._wanted(arms, picks, each)
        room = self.model.at_once(self.images.shape)
        scores = torch.zeros(len(arms))
        together = torch.split(torch.arange(len(arms)), max(1, room // each))
        for some, part in product(together, torch.split(torch.arange(each), room)):
            at = slice(int(some[0]), int(some[-1]) + 1)
            rows = (some[:, None] * each + part).reshape(-1)
            theta = torch.sigmoid(x[at]).repeat_interleave(len(part), 0)
            pixels = self.images.batch(picks[rows])
            logits = self.model(self.space.apply(pixels, theta, chosen[rows]))
            off = (asked[rows] == AWAY).to(logits.device)
            labels = self.images.targets[picks[rows]].to(logits.device)
            wanted = torch.where(off, labels, asked[rows].to(logits.device))
            margin = margins(logits, wanted)
            margin = torch.where(off, -margin, margin)
            score = functional.logsigmoid(margin / self.temperature)
            (-score.sum() / each).backward()
            scores[at] += score.detach().cpu().reshape(-1, len(part)).sum(1) / each
        return scores


def choices(space: Space, shape: Shape, starts: int) -> list[Tensor]:
    """Return the choices among which a search in a space looks, ``(a, k)`` each.

    Where there is a place to choose, each place on a coarse grid is one, and another search looks
    for triggers that work at any place.

    Args:
        space: of the triggers.
        shape: of the pictures.
        starts: how often a search begins where it has no place to choose; where θ has at most
            :data:`FEW` values, :data:`OFTENER` times as often.

    """
    coarse = space.coarse_arms(shape)
    if len(coarse) == 1:
        few = space.dimensions(shape) <= FEW
        return [coarse.repeat(starts * (OFTENER if few else 1), 1)]
    anywhere = [torch.full((starts, coarse.shape[1]), ANYWHERE)] if space.anywhere else []
    return [coarse, *anywhere]


def towards(targets: Tensor, classes: int) -> Tensor:
    """Return the goals ``(a, classes)`` that send every image to one class, ``(a,)``."""
    return targets[:, None].expand(-1, classes)


def others(images: Images, goals: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw ``count`` positions of images that each goal asks for, as one flat tensor.

    Images differ more than arms, so arms are compared on the same images as far as possible: every
    goal gets the first whose class is not what it wants, in one random order.
    """
    order = torch.randperm(len(images), generator=generator)
    labels = images.targets[order]
    rows = whole_rows(goals)
    first: dict[tuple[int, ...], Tensor] = {}
    for at, row in enumerate(rows):
        if row not in first:
            asked = order[goals[at, labels] != labels]
            first[row] = asked.repeat(-(-count // len(asked)))[:count]
    return torch.cat([first[row] for row in rows])
