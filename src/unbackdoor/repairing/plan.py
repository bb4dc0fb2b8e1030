"""What a repair takes for the backdoor: the finding of a scan, or what a user knows or suspects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch
from torch import Generator, Tensor

from unbackdoor.data import Images
from unbackdoor.detectors.law import law
from unbackdoor.detectors.steps import Steps
from unbackdoor.errors import ArgumentError, InsufficientDataError, printable
from unbackdoor.metrics import sent
from unbackdoor.models import Frozen
from unbackdoor.repairing.corners import Square, best_corner, has_corners, squares_near
from unbackdoor.repairing.unlearn import Lesson, Lessons, Pursuit, Sampler
from unbackdoor.results import Assumption, Basis, ClassRecord, ScanResult
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import staircase
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.filters import WIDEST, Filter, Tint
from unbackdoor.triggers.fixed import At
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger
from unbackdoor.triggers.registry import family_of, parse_space
from unbackdoor.triggers.values import from_bytes

WORKS = 0.5
"""Success from which triggers are unlearnt beside what the scan found."""
PICTURES, FILLING = "blend:10", frozenset({"additive", "blend", "dynamic", "mask", "wave"})
"""Whole pictures that are blended in, and the looks of which one has to work to some extent for
them to be unlearnt: what fills the picture is found in the look in which least is enough, and a law
of waves or of a small patch says little of a picture."""
FILTERS = Filter(WIDEST)
"""Filters that are pursued where filters were found: attackers use stronger ones than suffice."""
MOST_SUSPECTED = 3
"""Classes of an inconclusive scan that are assumed to have a backdoor, at most."""
Course = Lesson | Pursuit | Lessons | None
"""The triggers that a network unlearns; None for a schedule without any."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user knows or assumes; by default nothing beyond the scan.

    Args:
        trigger: the trigger; its class is ``target``.
        target: the class.
        blind: whether no trigger is to be used at all.

    Raises:
        ArgumentError: these contradict each other.

    """

    trigger: Trigger | None = None
    target: int | None = None
    blind: bool = False

    def __post_init__(self) -> None:
        check_asked(self.trigger, self.target, blind=self.blind)

    @property
    def key(self) -> tuple[str | int | bool | None, ...]:
        """All of it as plain values."""
        trigger = self.trigger and f"{self.trigger.space.name} {self.trigger.to_hex()}"
        return trigger, self.target, self.blind


def check_asked(trigger: object | None, target: int | None, *, blind: bool) -> None:
    """Raise where what a user knows or assumes contradicts itself.

    Args:
        trigger: the trigger or its notation.
        target: its class.
        blind: whether no trigger is to be used.

    Raises:
        ArgumentError: it does.

    """
    if trigger is not None and target is None:
        raise ArgumentError("--trigger: it needs the class that it sends images to; add --target.")
    if blind and target is not None:
        raise ArgumentError("--blind: it uses no trigger; leave --trigger and --target out.")


def check_target(target: int | None, classes: int) -> None:
    """Raise unless the data has a class of this index, or none is named."""
    if target is not None and not 0 <= target < classes:
        raise ArgumentError(f"--target: the data has classes 0 to {classes - 1}, came {target}.")


@dataclass(frozen=True)
class Charge:
    """Triggers towards one class.

    Args:
        target: the class.
        lesson: the triggers.
        goal: the class that images of each class are sent to, where not all go to the target.
        beside: further triggers that are unlearnt and not measured.
        pursuit: triggers that are unlearnt in place of ``lesson``, which is measured only.

    """

    target: int
    lesson: Lesson
    goal: tuple[int, ...] = ()
    beside: tuple[Lesson, ...] = ()
    pursuit: Pursuit | None = None

    @property
    def unlearnt(self) -> tuple[Lesson | Pursuit, ...]:
        """Every source of triggers that is unlearnt."""
        return self.pursuit or self.lesson, *self.beside

    def wanted(self, labels: Tensor) -> Tensor:
        """Return the class that images of each label ``(n,)`` are sent to."""
        if not self.goal:
            return torch.full_like(labels, self.target)
        return torch.tensor(self.goal).to(labels)[labels]

    def anyway(self, predicted: Tensor, labels: Tensor) -> float:
        """Return the share of the images that are answered so without a trigger."""
        wanted = self.wanted(labels)
        asked = wanted != labels
        return float((predicted == wanted)[asked].double().mean()) if bool(asked.any()) else 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a repair unlearns.

    Args:
        found: the scan that it starts from.
        assumed: the same in words.
        charges: the triggers; none for a repair that uses none.

    """

    found: ScanResult
    assumed: Assumption
    charges: tuple[Charge, ...]

    @property
    def course(self) -> Course:
        """All triggers together."""
        lessons = [one for charge in self.charges for one in charge.unlearnt]
        if not lessons:
            return None
        return lessons[0] if len(lessons) == 1 else Lessons(lessons)


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes a plan, and recovers the law of triggers where the scan has not done so.

    Args:
        model: the classifier.
        images: the defender's.
        scanning: how a law is recovered.
        work: seed, progress and journal.

    """

    model: Frozen
    images: Images
    scanning: ScanSettings
    work: Work

    def __call__(self, found: ScanResult, asked: Asked) -> Plan:
        """Return what is to be unlearnt.

        Raises:
            ArgumentError: there is no such class.
            InsufficientDataError: there is nothing to unlearn.

        """
        check_target(asked.target, len(found.data.classes))
        if asked.blind:
            return self._plan("blind", found, [])
        if asked.trigger is not None and asked.target is not None:
            return self._known(found, asked.trigger, asked.target)
        if asked.target is not None:
            return self._plan("target", found, [asked.target])
        if found.targets:
            return self._plan("found", found, found.targets)
        return self._plan("suspected", found, suspected(found))

    def further(self, plan: Plan, again: ScanResult | None) -> Plan | None:
        """Return a plan with what a scan of the repaired network found as well; None if nothing.

        It is what works towards the classes that the scan names, or else towards those of the plan
        that it leaves open. Where the user named the trigger, or wants none, nothing is added.

        Args:
            plan: what was unlearnt; the network here is what came of it.
            again: the scan of it.

        """
        if again is None or plan.assumed.basis in {"trigger", "blind"}:
            return None
        left = [one for one in plan.assumed.targets if again.classes[one].status == "suspicious"]
        basis: Basis = "found" if again.targets else "suspected"
        if not again.spaces or not (targets := again.targets or left):
            return None
        more = self._charges(basis, again, targets)
        # A trigger that sends each class to its own stands in the record of each of them.
        spaces = [f"{again.classes[one].space} ({again.classes[one].asr:.0%})" for one in targets]
        also = " and ".join(dict.fromkeys(spaces))
        sentence = (
            f"{plan.assumed.sentence} After that the scan still found triggers towards "
            f"{_named(again, targets)}: {also}. They are unlearnt together with the others."
        )
        every = sorted({*plan.assumed.targets, *targets})
        assumed = msgspec.structs.replace(plan.assumed, sentence=sentence, targets=every)
        return Plan(found=plan.found, assumed=assumed, charges=(*plan.charges, *more))

    def _known(self, found: ScanResult, trigger: Trigger, target: int) -> Plan:
        lesson = Lesson(trigger.space, always(trigger.theta))
        sentence = (
            f"Assumed, because it was named: the trigger {printable(trigger.name)} sends images to "
            f"{_named(found, [target])}. It alone is unlearnt."
        )
        assumed = Assumption(basis="trigger", sentence=sentence, targets=[target])
        return Plan(found=found, assumed=assumed, charges=(Charge(target, lesson),))

    def _plan(self, basis: Basis, found: ScanResult, targets: Sequence[int]) -> Plan:
        if basis != "blind" and (not targets or not found.spaces):
            raise InsufficientDataError(
                f"--scan: the verdict is {found.verdict}, so there is nothing to unlearn; nothing "
                f"was written. Name a --trigger with its --target, a --target, or --blind."
            )
        charges = self._charges(basis, found, targets)
        names = _named(found, targets)
        sentence = {
            "found": f"The triggers that the scan found towards {names} are unlearnt.",
            "suspected": f"The scan was inconclusive. Assumed: a backdoor towards {names}, which "
            f"the scan left open. The best triggers that it found towards that are unlearnt.",
            "target": f"Assumed, because it was named: a backdoor towards {names}. The best "
            f"triggers that the scan found towards it are unlearnt, whatever its verdict.",
            "blind": "No trigger is assumed and none is unlearnt, so whether a backdoor is gone "
            "cannot be measured.",
        }[basis]
        assumed = Assumption(basis=basis, sentence=sentence, targets=[*targets])
        return Plan(found=found, assumed=assumed, charges=charges)

    def _charges(
        self, basis: Basis, found: ScanResult, targets: Sequence[int]
    ) -> tuple[Charge, ...]:
        charges = [self._charge(basis, found.classes[target]) for target in targets]
        # A trigger that sends each class to its own stands in the record of each of them.
        several = {one.goal or one.target: one for one in charges}.values()
        corners = [self._corner(one, found.classes[one.target]) for one in several]
        squares = [self._square(one) for one in several]
        return *several, *(one for one in (*corners, *squares) if one)

    def _charge(self, basis: Basis, record: ClassRecord) -> Charge:
        """Return the triggers towards a class: draws of the law, or the best one without a law."""
        if basis != "found" and not record.stairs and not record.goal:
            theta = from_bytes(record.best, record.dimensions)[0]
            space = parse_space(record.space)
            _, stairs = law(
                self.model,
                self.images,
                space,
                record.index,
                theta,
                self.scanning,
                self.work.within("plan"),
            )
            record = msgspec.structs.replace(record, stairs=stairs)
        lesson = Lesson(parse_space(record.space), to_unlearn(record))
        beside = () if record.goal else self._beside(record)
        filtered = isinstance(lesson.space, Filter | Tint) and not record.goal
        pursuit = Pursuit(FILTERS, record.index) if filtered else None
        return Charge(record.index, lesson, tuple(record.goal), beside, pursuit)

    def _corner(self, charge: Charge, record: ClassRecord) -> Charge | None:
        """Return a patch of values 0 and 1 that works beside those that were found, if one does."""
        space, images, model = charge.lesson.space, self.images, self.model
        if not has_corners(space):
            return None
        best = from_bytes(record.best, record.dimensions)[0]
        generator = stream(self.work.seed, "repair", "corner", charge.target)

        def search() -> tuple[Tensor, float]:
            theta = best_corner(model, images, space, best, charge.wanted, generator)
            wanted = charge.wanted(images.targets)
            return theta, sent(model, images, space, theta[None], wanted, generator=generator)

        steps = Steps(model, self.work.within("corner").journal)
        theta, rate = steps.keep(str(charge.target), tuple[Tensor, float], search)
        if rate < WORKS:
            return None
        return Charge(charge.target, Lesson(space, always(theta)), charge.goal)

    def _square(self, charge: Charge) -> Charge | None:
        """Return the best of larger squares of one colour around a patch, if one works."""
        at = charge.lesson.space
        if not (isinstance(at, At) and isinstance(patch := at.space, Patch)):
            return None
        generator = stream(self.work.seed, "repair", "squares", charge.target)
        steps = Steps(self.model, self.work.within("squares").journal)
        found = steps.keep(
            str(charge.target),
            list[Square],
            lambda: squares_near(self.model, self.images, patch, at.arm, charge.wanted, generator),
        )
        best = max(found, key=lambda one: one.rate, default=None)
        if best is None or best.rate < WORKS:
            return None
        return Charge(
            charge.target, Lesson(parse_space(best.space), always(best.theta)), charge.goal
        )

    def _beside(self, record: ClassRecord) -> tuple[Lesson, ...]:
        """Return triggers that the finding does not hold, of looks that the scan saw to work."""
        looks = {family_of(rung.space) for rung in record.ladder if rung.asr >= WORKS}
        # A patch that works at any place is no part of a picture.
        if not looks & FILLING or isinstance(parse_space(record.space), Patch):
            return ()
        lesson = self._working(parse_space(PICTURES), record.index)
        return () if lesson is None else (lesson,)

    def _working(self, space: Space, target: int) -> Lesson | None:
        """Return triggers of a space that send images to a class, as far as any do."""
        centre = torch.full((space.dimensions(self.images.shape),), 0.5)
        work = self.work.within(f"beside {space.name}")
        _, stairs = law(self.model, self.images, space, target, centre, self.scanning, work)
        values = torch.tensor([value for stair in stairs for value in stair.values])
        every = torch.cat([from_bytes(stair.draws, len(centre)) for stair in stairs])
        if not len(thetas := every[values >= WORKS]):
            return None

        def draw(count: int, generator: Generator) -> Tensor:
            return thetas[torch.randint(len(thetas), (count,), generator=generator)]

        return Lesson(space, draw)


def suspected(found: ScanResult) -> list[int]:
    """Return the classes that a scan left open with triggers, the best of them, in rising order."""
    if not found.spaces:
        return []
    left = [record for record in found.classes if record.status == "suspicious" and record.asr > 0]
    best = sorted(left, key=lambda record: -record.asr)[:MOST_SUSPECTED]
    return sorted(record.index for record in best)


def to_unlearn(record: ClassRecord) -> Sampler:
    """Return the source of the triggers that a repair unlearns: the stairs in equal parts.

    Weighted by γ, nearly all draws would come from the lowest stair, which is by far the widest,
    and the triggers that work best would hardly ever be among them. For an empty level set the
    draws are the best attempts to reach it.
    """
    return staircase(record, equal=True).sample


def always(theta: Tensor) -> Sampler:
    """Return the source of one trigger ``(n,)``."""
    return lambda count, _: theta.expand(count, -1)


def _named(found: ScanResult, targets: Sequence[int]) -> str:
    names = [printable(found.data.classes[target]) for target in targets]
    return " and ".join(f"“{name}”" for name in names)
