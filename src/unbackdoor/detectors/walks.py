"""The search in one space: a bandit, and walks from its survivors to ever weaker triggers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from unbackdoor.data import Images
from unbackdoor.detectors import maps
from unbackdoor.detectors.arms import ANYWHERE, Arms, Bandit, choices
from unbackdoor.detectors.evidence import ClassEvidence
from unbackdoor.detectors.settings import BanditSettings, Round
from unbackdoor.detectors.trails import (
    CERTAIN,
    Findings,
    Trail,
    best_of,
    is_certain,
    places_of,
)
from unbackdoor.models import Frozen, TimeUpError
from unbackdoor.rng import stream
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.registry import parse_space
from unbackdoor.triggers.values import whole

OVERLOOKED = 6
"""Walks in a space beside those of the survivors, at most."""
HINTS, ROUNDS, FEWER = 2, 3, 6
"""Classes that get a search of their own in a space, at most; its rounds, and how many times fewer
arms go on from one to the next."""
TASTE = 3
"""By how much the first try of each weaker trigger is less work than that of the best of them."""
MOVED = 20
"""Images on which a trigger that rose at one place is tried at every other."""
HALF = 0.5
"""Strength, as a share of that where a walk began, at which one walk of a class is enough."""


class SpaceSearch:
    """The search in one space.

    From a moment of the monotonic clock on, ``until``, no image passes any more. What was found
    until then counts.
    """

    until = inf

    def __init__(
        self,
        settings: BanditSettings,
        model: Frozen,
        images: Images,
        space: Space,
        scale: float,
        seed: int,
        purpose: str = "search",
    ) -> None:
        self.settings, self.space, self.images = settings, space, images
        self.generator = stream(seed, purpose, space.name)
        self.model, self.scale = model, scale
        self._less = False

    def do_less(self) -> None:
        """Give further searches less work, because triggers were found that leave no doubt."""
        if not self._less:
            self._less, self.settings = True, self.settings.scaled(self.settings.after)

    def findings(self) -> Findings:
        """Play the bandits, and walk with the survivors.

        Triggers that work at any place come first: they cost little, and those of a certain place
        get less work where they are found.
        """
        found = Findings(best=[], trails=[], places=[])
        classes = torch.arange(len(self.images.classes))
        bandit = self._bandit(self.space)
        with self._in_time():
            for choice in reversed(choices(self.space, self.images.shape, self.settings.starts)):
                if is_certain(found.trails, self.images.shape):
                    self.do_less()
                played = self._played(bandit, classes, choice)
                found.best.extend(best_of(self.space, played))
                found.places.extend(places_of(self.space, played))
                if len(played) == len(self.settings.rounds):  # otherwise nothing rises
                    last = played[-1].rows(played[-1].distinct()[: self.settings.walkers])
                    found.trails.extend(self._walks(*self._deepened(bandit, last)))
        return found

    @contextmanager
    def _in_time(self) -> Generator[None]:
        """Search as long as there is time."""
        with suppress(TimeUpError), self.model.until(self.until):
            yield

    def maps(self) -> list[Trail]:
        """Return the walk of a trigger under which each class goes to its own, if there is one."""
        bandit = self._bandit(self.space)
        trails: list[Trail] = []
        with self._in_time():
            if (arms := maps.search(bandit)) is not None:
                success = float(bandit.success(arms, self.settings.judge)[0])
                trails.append(self._walk(arms, 0, success))
        return trails

    def unwalked(self, found: Findings, measured: Sequence[ClassEvidence]) -> list[Trail]:
        """Return the triggers of classes that did not survive, and that work all the same.

        The survivors are few, and in some networks many classes have triggers that are too strong
        to count; without a walk nobody knows whether weaker ones would do. Of many classes those
        whose triggers work best are walked.

        Args:
            found: by the search.
            measured: the best trigger of each class, in the order of ``found.best``.

        """
        promising = self.settings.promising
        walked = {trail.kind for trail in found.trails if trail.success[0] >= promising}
        chosen: dict[tuple[int, bool], Trail] = {}
        by_rate = sorted(
            zip(found.best, measured, strict=True), key=lambda pair: pair[1].asr, reverse=True
        )
        for trail, evidence in by_rate:
            if evidence.asr >= promising and trail.kind not in walked:
                chosen.setdefault(trail.kind, trail)
        return [*chosen.values()][:OVERLOOKED]

    def overlooked(self, missed: Sequence[Trail]) -> list[Trail]:
        """Return the walks of classes that did not survive.

        Args:
            missed: their triggers.

        """
        trails: list[Trail] = []
        with self._in_time():
            for trail in missed:
                arms, bandit = self._at(trail, 0)
                arms, success = self._deepened(bandit, arms)
                trails.append(self._walk(arms, 0, success[0]))
        return trails

    def unfinished(self, walks: Sequence[Trail], measured: Sequence[ClassEvidence]) -> list[Trail]:
        """Return the walks whose last trigger suffices on the held-back images, best first.

        They ended because it did not quite on the defender's, and a weaker one may do.

        Args:
            walks: of this space.
            measured: their triggers, in order.

        """
        rates: list[tuple[float, Trail]] = []
        after = 0
        for trail in walks:
            after += len(trail.spaces)
            one = measured[after - 1]
            last = parse_space(trail.spaces[-1])
            if one.excess >= self.settings.enough and last.weaker(
                trail.thetas[-1], self.images.shape
            ):
                rates.append((one.asr, trail))
        rates.sort(key=lambda pair: -pair[0])
        return [trail for _, trail in rates[:OVERLOOKED]]

    def further(self, walks: Sequence[Trail]) -> list[Trail]:
        """Return how walks go on that are not finished."""
        trails: list[Trail] = []
        with self._in_time():
            for trail in walks:
                arms, bandit = self._at(trail, -1)
                more = self._walk(arms, 0, self.settings.enough, bandit.space)
                if len(more.spaces) > 1:
                    trails.append(more.beyond_the_first())
        return trails

    def rose(self, walks: Sequence[Trail], suspects: Sequence[int] = ()) -> list[int]:
        """Return the classes that get a search of their own.

        The arms of all classes share the work. Of a trigger that works at several places, or is
        larger than what counts, a bandit may then find a place at which it works but half of the
        time, where no weaker one suffices, or weak ones in the middle alone, where clean networks
        obey patches too. First come the classes for which something rises outside the middle, but
        of those with weak ones in the middle the best is among them. Where triggers leave no doubt
        about another class, only suspects get a search of their own, and none of these where a look
        at usual triggers has tried every place. There a class for which one works outside the
        middle needs no further search.

        Args:
            walks: of this space.
            suspects: classes of which something is known before the search.

        """
        shape = self.images.shape
        if not self.space.moves:
            return []
        looked = bool(len(self.space.library(shape)[0]))
        suspects = () if looked else suspects
        if self._less or is_certain(walks, shape):
            return list(suspects)
        rises: dict[int, tuple[bool, float]] = {}
        settled, hidden = {*suspects}, self._hidden(walks)
        for trail in walks:
            if "@" in trail.spaces[0]:
                middle = trail.hides(shape)
                rise = not middle, trail.success[0]
                rises[trail.target] = max(rise, rises.get(trail.target, rise))
                unseen = trail.target in hidden and middle
                enough = trail.least(self.settings.enough) < 1 and not unseen
                if enough or (looked and not middle and trail.success[0] >= CERTAIN):
                    settled.add(trail.target)
        rose = sorted(rises.keys() - settled)
        rose.sort(key=rises.__getitem__, reverse=True)
        chosen, doubted = rose[:HINTS], [one for one in rose if one in hidden]
        if doubted and hidden.isdisjoint(chosen):
            chosen[-1] = doubted[0]
        return [*suspects, *chosen]

    def again(self, rose: Sequence[int], walks: Sequence[Trail]) -> list[Trail]:
        """Return the walk of each class after a search among all places, with half of the work.

        A class with a trigger in the middle that would count elsewhere is searched everywhere else.

        Args:
            rose: the classes.
            walks: of this space so far.

        """
        rounds = [
            replace(one, arms=max(1, one.arms // FEWER), passes=one.passes // 2, rises=None)
            for one in self.settings.rounds[:ROUNDS]
        ]
        shape, bandit = self.images.shape, self._bandit(self.space)
        usual, places = self.space.library(shape)
        looked = bool(len(usual))
        every = places if looked else self.space.coarse_arms(shape)
        elsewhere = every[~self.space.hides(every, shape)]
        hidden = self._hidden(walks)
        trails: list[Trail] = []
        with self._in_time():
            for target in rose:
                beside = len(elsewhere) and (looked or target in hidden)
                places = elsewhere if beside else every
                if looked:
                    arms = self._moved(bandit, target, walks, places)
                else:
                    arms = bandit.start(torch.full((len(places),), target), places)
                played = bandit.halve(arms, rounds, seen=looked) or [arms]
                arms, success = self._deepened(bandit, played[-1])
                best = max(range(len(arms)), key=success.__getitem__)
                trails.append(self._walk(arms, best, success[best]))
        return trails

    def _moved(self, bandit: Bandit, target: int, walks: Sequence[Trail], places: Tensor) -> Arms:
        """Return the best patch of a class as it is at each place, scored on a few images.

        It is one with a place, outside the middle if there is such a one.
        """
        own = [one for one in walks if one.target == target and "@" in one.spaces[0]]
        shape = self.images.shape
        best = max(own, key=lambda one: (not one.hides(shape), one.success[0]))
        arms = bandit.look(best.thetas[0][None], places, MOVED)
        return arms.rows((arms.targets == target).nonzero()[:, 0])

    def _hidden(self, walks: Sequence[Trail]) -> set[int]:
        """Return the classes with triggers in the middle that suffice when they are much weaker."""
        enough, shape = self.settings.enough, self.images.shape
        return {one.target for one in walks if one.hides(shape) and one.lasts(enough)}

    def _played(self, bandit: Bandit, classes: Tensor, choice: Tensor) -> list[Arms]:
        """Return the arms after each round; a look at usual triggers may stand for the first."""
        settings = self.settings
        thetas, places = self.space.library(self.images.shape)
        if len(thetas) and int(choice.min()) != ANYWHERE:
            arms = bandit.look(thetas, places, settings.look)
            return bandit.halve(arms, settings.rounds, seen=True)
        targets = classes.repeat_interleave(len(choice))
        arms = bandit.start(targets, choice.repeat(len(classes), 1))
        return bandit.halve(arms, settings.rounds)

    def _deepened(self, bandit: Bandit, arms: Arms) -> tuple[Arms, list[float]]:
        """Return the survivors and their success, after more work on those that nearly suffice.

        Of each class the best gets it.
        """
        settings = self.settings
        success = bandit.success(arms, settings.judge)
        best: dict[int, int] = {}
        for row in whole(success.argsort(descending=True, stable=True)):
            best.setdefault(int(arms.targets[row]), row)
        rows = torch.tensor([*best.values()])
        rows = rows[(success[rows] >= settings.promising) & (success[rows] < CERTAIN)]
        if len(rows):
            deeper = Round(arms=len(rows), passes=len(rows) * settings.deep, most=settings.deep)
            played = bandit.play(arms.rows(rows), deeper)
            again = bandit.success(played, settings.judge)
            better = again > success[rows]
            arms.theta[rows[better]] = played.theta[better]
            success[rows[better]] = again[better]
        return arms, [float(rate) for rate in success]

    def _bandit(self, space: Space) -> Bandit:
        return Bandit(
            model=self.model,
            images=self.images,
            space=space,
            temperature=self.scale,
            generator=self.generator,
        )

    def _walks(self, arms: Arms, success: Sequence[float]) -> list[Trail]:
        """Return the walks of some arms, best first, until that of a class leaves no doubt.

        None is left where a trigger of half the strength suffices: no more than that has to count.
        """
        trails: list[Trail] = []
        settled: set[int] = set()
        for row in sorted(range(len(arms)), key=lambda row: -success[row]):
            if (target := int(arms.targets[row])) in settled:
                continue
            trails.append(self._walk(arms, row, success[row]))
            if trails[-1].least(self.settings.enough) <= HALF:
                settled.add(target)
        return trails

    def _walk(self, arms: Arms, row: int, success: float, begin: Space | None = None) -> Trail:
        """Return ever weaker triggers, as long as they suffice.

        Args:
            arms: of which one is where it begins.
            row: which one.
            success: of that trigger.
            begin: its space without a place; that of the search when left out.

        """
        enough = self.settings.enough
        goal, theta, space = arms.goals[row], arms.theta[row], arms.space(begin or self.space, row)
        trail = Trail(goal=whole(goal), spaces=[space.name], thetas=[theta], success=[success])
        while trail.success[-1] >= enough and (options := space.weaker(theta, self.images.shape)):
            some, bandit = self._options(goal, [(one.space, one.theta) for one in options])
            each = self.settings.walk
            try:
                if len(some) > 1:
                    first = max(1, each // TASTE)
                    taste = Round(arms=1, passes=len(some) * first, most=first)
                    some = bandit.play(some, taste)
                    some = some.rows(some.best()[:1])
                best = bandit.play(some, Round(arms=1, passes=each, most=each))
                success = float(bandit.success(best, self.settings.judge)[0])
            except TimeUpError:
                break
            space, theta = best.space(bandit.space, 0), best.theta[0]
            trail.spaces.append(space.name)
            trail.thetas.append(theta)
            trail.success.append(success)
        return trail

    def _at(self, trail: Trail, step: int) -> tuple[Arms, Bandit]:
        """Return one trigger of a walk as an arm."""
        option = parse_space(trail.spaces[step]), trail.thetas[step]
        return self._options(torch.tensor(trail.goal), [option])

    def _options(
        self, goal: Tensor, options: Sequence[tuple[Space, Tensor]]
    ) -> tuple[Arms, Bandit]:
        """Return triggers of one space, perhaps at several places, as arms."""
        first = options[0][0]
        base = first.space if isinstance(first, At) else first
        columns = base.coarse_arms(self.images.shape).shape[1]
        choice = [
            space.arm if isinstance(space, At) else (ANYWHERE,) * columns for space, _ in options
        ]
        arms = Arms(
            goals=goal.expand(len(options), -1),
            choice=torch.tensor(choice, dtype=torch.int64).reshape(len(options), columns),
            theta=torch.stack([theta for _, theta in options]),
            score=torch.full((len(options),), -torch.inf),
        )
        return arms, self._bandit(base)
