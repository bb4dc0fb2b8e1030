"""K-Arm (Shen et al., *Backdoor Scanning … through K-Arm Optimization*, ICML 2021).

A mask and a pattern towards each class are the arms of a bandit: one pass over a few images at a
time goes to the class whose mask became smaller fastest, or is smallest, and now and then to one at
random. It spends little on classes whose masks stay large. The authors judge the smallest mask of
all by a fixed bound.

The settings are the published ones, made for pictures of 224×224 pixels; so sizes count in pixels
of such a picture, whatever the size of the pictures here. What differs: only triggers for images of
every class are searched (*universal* ones). The choice of classes before the search is
left out, since with few classes it finds none to search in a network of ten; so is the one colour
of a pattern, which belongs to triggers of single classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import msgspec
import torch
from torch import Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.objective import balanced
from unbackdoor.detectors.peers.masks import SPACE, Masked, Price
from unbackdoor.detectors.steps import Steps
from unbackdoor.errors import expect, expect_above
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.snapshot import Snapshot
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space

PIXELS = 224 * 224
"""Of the pictures for which the settings were published; sizes count in these."""
LARGEST = 2500.0
"""Size from which the speed of an arm is counted, as published."""
UNKNOWN = 1e10
"""Size of a mask that does not work."""
OFTEN = 20
"""Pulls in a step that is kept."""


@dataclass(frozen=True, kw_only=True)
class KArmSettings:
    """How the bandit works; the defaults are the published ones.

    Args:
        images: clean images, equally many of each class, that each pull passes over.
        batch: images in a step.
        pulls: of all arms together, at most.
        rounds: smaller masks found by one arm after which it is done.
        warm_up: smaller masks that every arm finds before the bandit chooses.
        learning_rate: of Adam.
        works: success from which a trigger works.
        price: of a pixel of the mask, once the trigger works.
        multiplier: by which the price rises and falls.
        patience: pulls in a row after which it does.
        stop_after: pulls without a smaller mask after which an arm is done.
        at_random: share of the choices that are made at random.
        beta: weight of being small beside becoming smaller.

    """

    images: int = 100
    batch: int = 32
    pulls: int = 1000
    rounds: int = 60
    warm_up: int = 2
    learning_rate: float = 0.1
    works: float = 0.99
    price: float = 1e-3
    multiplier: float = 1.5
    patience: int = 5
    stop_after: int = 10
    at_random: float = 0.3
    beta: float = 1e4

    def __post_init__(self) -> None:
        expect(self, 1, inf, "images", "batch", "pulls", "rounds", "warm_up", "patience")
        expect(self, 1, inf, "stop_after", "multiplier")
        expect(self, 0, 1, "works", "at_random")
        expect_above(self, 0, "learning_rate", "price", "beta")


@dataclass
class _Arm:
    """How far the search towards one class is; sizes are in published pixels."""

    price: Price
    best: Tensor
    least: float = UNKNOWN
    last: float = UNKNOWN
    before: float = UNKNOWN
    pulls: int = 0
    found: int = 0
    unchanged: int = 0
    speed: float = -UNKNOWN
    done: bool = False


@dataclass
class _State:
    """The bandit at one moment; ``ended`` where no arm is to be pulled any more."""

    arms: list[_Arm]
    masks: list[Snapshot]
    current: int = 0
    choosing: bool = False
    ended: bool = False


@dataclass(frozen=True)
class KArm:
    """The bandit over classes; the statistic of a class is minus the size of its smallest mask.

    It counts in pixels of a picture of 224×224, and is −:data:`UNKNOWN` where none works.

    Args:
        settings: how the bandit works.
        name: in evidence and tables.
        evaluate: largest number of held-back images on which a trigger is measured.

    """

    settings: KArmSettings = KArmSettings()
    name: str = "K-Arm"
    evaluate: int = 500

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Look for masks of any size, whatever the spaces."""
        del spaces
        held = HeldBack(model, images.evaluate, self.evaluate)
        steps = Steps(model, work.journal)
        search = _Search(model, images.defend, self.settings, work.seed)
        with work.progress.task(self.name, self.settings.pulls) as task:
            for done in range(0, self.settings.pulls, OFTEN):
                count = min(OFTEN, self.settings.pulls - done)
                state = steps.keep(
                    f"pulls {done}",
                    _State,
                    lambda count=count: search.play(count),
                    (search.generator,),
                )
                search.restore(state)
                task.advance(count)
                if state.ended:
                    break
        found: list[ClassEvidence] = []
        for target, arm in enumerate(search.state.arms):
            one = held.evidence(SPACE, arm.best, target, work.seed)
            found.append(msgspec.structs.replace(one, statistic=-arm.least))
        return held.collected(self.name, found)


class _Search:
    """The bandit while it plays."""

    def __init__(self, model: Frozen, images: Images, settings: KArmSettings, seed: int) -> None:
        self.model, self.settings = model, settings
        self.generator = stream(seed, "k-arm")
        self.images = balanced(images, settings.images, self.generator)
        start = torch.rand(SPACE.dimensions(images.shape), generator=self.generator)
        x = torch.logit(start, eps=1e-6) / 2
        classes = range(len(images.classes))
        self.masks = [Masked(x, settings.learning_rate, (0.5, 0.9)) for _ in classes]
        self.state = _State([_Arm(self._price(), start) for _ in classes], [])

    def _price(self) -> Price:
        s = self.settings
        return Price(
            first=s.price,
            up=s.multiplier,
            down=s.multiplier,
            patience=s.patience,
            begin=2,
            value=0.0,
        )

    def play(self, count: int) -> _State:
        """Pull arms so many times, and return where the bandit is then."""
        for _ in range(count):
            if not self.state.ended:
                self._pull()
        self.state.masks = [masked.kept() for masked in self.masks]
        return self.state

    def restore(self, state: _State) -> None:
        """Go on from a state."""
        self.state = state
        for masked, kept in zip(self.masks, state.masks, strict=True):
            masked.restore(kept)

    def _pull(self) -> None:
        settings, state = self.settings, self.state
        arm, masked = state.arms[state.current], self.masks[state.current]
        arm.pulls += 1
        epoch = masked.pass_over(
            self.model,
            self.images,
            torch.arange(len(self.images)),
            state.current,
            batch=settings.batch,
            price=arm.price.value * PIXELS,
        )
        arm.last = PIXELS * epoch.size
        works = epoch.success >= settings.works
        smaller = works and arm.last < arm.least
        if smaller:
            arm.found += 1
            arm.speed = (LARGEST - arm.last) / (arm.found + arm.pulls / 2)
            arm.best, arm.least = masked.theta, arm.last
        if state.choosing and self._is_done(arm):
            arm.done = True
            smallest = min(state.arms, key=lambda one: one.least)
            if arm is smallest or all(one.done for one in state.arms):
                state.ended = True
                return
        if not arm.done:
            arm.price.follow(works)
        self._choose(arm, smaller)

    def _is_done(self, arm: _Arm) -> bool:
        if arm.least < UNKNOWN:
            arm.unchanged = arm.unchanged + 1 if arm.least >= arm.before else 0
        arm.before = min(arm.before, arm.least)
        settled = arm.price.fell and arm.price.rose and arm.unchanged > self.settings.stop_after
        return arm.found > self.settings.rounds or settled

    def _choose(self, arm: _Arm, smaller: bool) -> None:
        """Choose the arm of the next pull; an arm that goes on is pulled until it is smaller."""
        state, least = self.state, self.settings.warm_up
        waiting = [index for index, one in enumerate(state.arms) if not one.done]
        if arm.done:
            untried = [index for index in waiting if not state.arms[index].found]
            state.current = untried[0] if untried else self._any(waiting)
        elif smaller and arm.found >= least:
            cold = [index for index in waiting if state.arms[index].found < least]
            if cold:
                state.current = cold[0]
                return
            state.choosing = True
            if float(torch.rand(1, generator=self.generator)) < self.settings.at_random:
                state.current = self._any(waiting)
            else:
                state.current = max(range(len(state.arms)), key=self._worth)

    def _worth(self, index: int) -> float:
        arm = self.state.arms[index]
        return arm.speed + self.settings.beta / max(arm.last, 1e-6)

    def _any(self, waiting: Sequence[int]) -> int:
        return waiting[int(torch.randint(len(waiting), (1,), generator=self.generator))]
