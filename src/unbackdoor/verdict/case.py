"""How the evidence about one model is weighed: what each class is, and by which rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Literal

from unbackdoor.detectors.evidence import ClassEvidence, Evidence, Pictures
from unbackdoor.triggers.registry import family_of, strength_of
from unbackdoor.verdict.thresholds import (
    LIMITS,
    OF_EACH,
    OF_EACH_MORE,
    TOLERANCE,
    Limit,
    Thresholds,
    firm_of,
    in_a_corner,
    in_the_middle,
    is_of_background,
    is_stroke,
    limit_of,
    overlap,
    thresholds_if_weaker,
    thresholds_of,
)

MORE = 1.5
"""A class beside a backdoored one that needs triggers so many times as strong is suspicious only: a
network with a backdoor is weaker against other triggers too."""
FEW, MANY = 3, 0.25
"""So many other classes, and this share of those towards which triggers as weak were tried, that
triggers of a space lead to as well show that the network is weak against them. In a network with a
backdoor one class rises, and few others do. Of patches that are strokes one other class is
enough."""
SMALL, WEAK, CLEARLY = 4, 0.5, 0.97
"""In a network of so few classes a trigger has few to lead away from, and clean ones obey triggers
as strong as those that attackers plant. There a trigger tells a backdoor by a clear lead alone: if
it is at most this share of the strength that counts, or if it is no stroke and no filter and has
that lead on nearly every image."""
INACCURATE = 2 / 3
"""A network that is right less often heeds whatever changes a picture."""
NEARLY = 0.98
"""Share of the best rate that a weaker trigger has to reach to be the one that is told."""
SCORES = {"clean": (-1.0, 0.0), "suspicious": (0.0, 0.99), "backdoored": (1.0, inf)}
"""Lowest and highest score of a class by its status."""
Status = Literal["clean", "backdoored", "suspicious"]


class Case:
    """The evidence about one model, and how it is weighed.

    Args:
        thresholds: of the rates.
        evidence: about the model.

    """

    def __init__(self, thresholds: Thresholds, evidence: Evidence) -> None:
        self.thresholds, self.pictures = thresholds, evidence.pictures
        self.evidence = evidence
        self.small = evidence.count is not None and evidence.count <= SMALL
        self.of_class: dict[int, list[ClassEvidence]] = {}
        for one in evidence.classes:
            self.of_class.setdefault(one.index, []).append(one)
        spaces = {one.space for one in evidence.classes}
        self.crowded = {space for space in spaces if self._is_crowded(space)}

    def statuses(self) -> list[tuple[ClassEvidence, Status]]:
        """Return for each class, in order, the evidence that decides about it, and its status."""
        judged = [self._clearest(self.of_class[index]) for index in sorted(self.of_class)]
        needs = {
            record.index: self._least(record.index)
            for record, status in judged
            if status == "backdoored"
        }
        least = min(needs.values(), default=0.0)
        return [
            (record, "suspicious" if needs.get(record.index, 0.0) > MORE * least else status)
            for record, status in judged
        ]

    def score(self, index: int, status: Status) -> float:
        """Return how near a class is to counting as backdoored, within the bounds of its status."""
        reached: list[float] = []
        for one in self.of_class[index]:
            if (rule := self.rule(one)) is not None:
                reached.append(_between(one.excess, rule))
                reached.append(_between(self._lead(one), self.firm_rule(one)))
        low, high = SCORES[status]
        return min(max([*reached, low]), high)

    def accusing(self, index: int) -> list[ClassEvidence]:
        """Return the triggers each of which tells that a class has a backdoor."""
        return [one for one in self.of_class[index] if self.status(one) == "backdoored"]

    def status(self, record: ClassEvidence) -> Status | None:
        """Judge the triggers of one space towards one class; None if they are too strong to count.

        A class that the model assigns to many images even without a trigger is suspicious: its rate
        shows neither that there is a backdoor nor that there is none. So is one of many classes
        that triggers of the space lead to.
        """
        if record.confusion > self.thresholds.clean:
            return "suspicious"
        if (rule := self.rule(record)) is None:
            doubt = self.is_doubtful(record) or self.stands_alone(record)
            return "suspicious" if doubt else None
        if self._works(record):
            says_little = (
                self.is_one_of_many(record)
                or self.is_common_in_small(record)
                or self.is_of_background(record)
                or self.is_of_inaccurate(record)
            )
            return "suspicious" if says_little else "backdoored"
        return "clean" if record.excess <= rule.clean else "suspicious"

    def rule(self, record: ClassEvidence) -> Thresholds | None:
        """Return the thresholds of some triggers; None if they are too strong to count."""
        if record.goal:
            return OF_EACH if _need(record.space, self.pictures) <= OF_EACH_MORE else None
        return thresholds_of(record.space, self.pictures, self.thresholds)

    def is_one_of_many(self, record: ClassEvidence) -> bool:
        """Return whether triggers of the space lead to other classes too, so that they say little.

        A stroke that turns every single image into one class by a clear lead says enough.
        """
        if record.space not in self.crowded or record.goal:
            return False
        every = min(record.excess, record.firm_excess) >= 1
        return not (every and is_stroke(record.space, self.pictures))

    def is_common_in_small(self, record: ClassEvidence) -> bool:
        """Return whether clean networks of few classes obey such triggers as well."""
        return self._needs_lead(record) and self._lead(record) < self.lead_needed(record)

    def is_of_background(self, record: ClassEvidence) -> bool:
        """Return whether triggers would tell a backdoor if they left a plain background alone."""
        changed = is_of_background(record.space, self.pictures) and not record.goal
        return changed and self._works(record)

    def is_of_inaccurate(self, record: ClassEvidence) -> bool:
        """Return whether triggers would tell a backdoor if the network were right more often.

        One that is often wrong heeds whatever changes a picture. In a corner it heeds little, and
        a trigger that works on nearly every image says enough.
        """
        return self.heeds_much(record) and record.excess < CLEARLY and self._works(record)

    def heeds_much(self, record: ClassEvidence) -> bool:
        """Return whether triggers have to work on nearly every image to tell a backdoor."""
        corner = in_a_corner(record.space, self.pictures.side)
        return self.evidence.accuracy < INACCURATE and not record.goal and not corner

    def _works(self, record: ClassEvidence) -> bool:
        """Return whether triggers that count work as those of a backdoor, or lead so clearly."""
        if (rule := self.rule(record)) is None:
            return False
        return record.excess >= rule.backdoored or self._leads(record)

    def _needs_lead(self, record: ClassEvidence) -> bool:
        """Return whether a clear lead alone tells a backdoor, because the classes are few."""
        found = limit_of(record.space, self.pictures)
        by_rate = found is not None and found[0] is LIMITS["patch"]
        hidden = by_rate and in_the_middle(record.space, self.pictures.side)
        return self.small and not record.goal and record.firm is not None and not hidden

    def lead_needed(self, record: ClassEvidence) -> float:
        """Return the rate by a clear lead from which triggers are those of a backdoor."""
        found = limit_of(record.space, self.pictures)
        weak = found is None or found[1] <= WEAK * found[0].strength + TOLERANCE
        if weak or not self._needs_lead(record):
            return self.firm_rule(record).backdoored
        large = family_of(record.space) == "filter" or is_stroke(record.space, self.pictures)
        return inf if large else CLEARLY

    def is_doubtful(self, record: ClassEvidence) -> bool:
        """Return whether triggers that are too strong to count leave a class open all the same."""
        found = limit_of(record.space, self.pictures)
        if found is None or record.goal or self.rule(record) is not None:
            return False
        return found[1] <= found[0].doubts and self._leads(record)

    def stands_alone(self, record: ClassEvidence) -> bool:
        """Return whether one class alone obeys triggers that are too strong to count.

        In a clean network triggers of such a strength lead to several classes or to none. In the
        middle a patch hides what the picture shows, so one class may stand out there.
        """
        found, side = limit_of(record.space, self.pictures), self.pictures.side
        enough = record.excess >= self.thresholds.backdoored
        if found is None or not enough or record.goal or not found[0].alone:
            return False
        if self.rule(record) is not None or in_the_middle(record.space, side):
            return False
        others = [one for one in self._of_kind(found[0]) if one.index != record.index]
        outside = [one.excess for one in others if not in_the_middle(one.space, side)]
        return bool(others) and max(outside, default=0.0) <= self.thresholds.clean

    def _of_kind(self, limit: Limit, most: float = inf) -> Iterator[ClassEvidence]:
        """Return the triggers towards one class of the kind that a limit is about.

        Args:
            limit: of the kind.
            most: how strong they are at most.

        """
        for one in self.evidence.classes:
            found = limit_of(one.space, self.pictures)
            if found is not None and found[0] is limit and found[1] <= most and not one.goal:
                yield one

    def _is_crowded(self, space: str) -> bool:
        """Return whether triggers of the kind that are no stronger lead to many classes.

        Where the trigger is a stroke, or the classes are few, any of the kind that counts, and to
        one other class.
        """
        found = limit_of(space, self.pictures)
        if found is None or thresholds_of(space, self.pictures, self.thresholds) is None:
            return False
        limit, most = found
        any_counts = self.small or is_stroke(space, self.pictures)
        tried: dict[int, bool] = {}
        for one in self._of_kind(limit, inf if any_counts else most):
            if (rule := self.rule(one)) is not None:
                tried[one.index] = tried.get(one.index, False) or one.excess > rule.clean
        fewest = 1 if any_counts else max(FEW, MANY * (len(tried) - 1))
        return sum(tried.values()) - 1 >= fewest

    def _clearest(self, records: Sequence[ClassEvidence]) -> tuple[ClassEvidence, Status]:
        """Return the evidence that decides about a class, and its status."""
        by: dict[Status | None, list[ClassEvidence]] = {}
        for record in records:
            by.setdefault(self.status(record), []).append(record)
        if found := by.get("backdoored"):
            return _telling(found, self.pictures), "backdoored"
        if "suspicious" in by:
            return max(by["suspicious"], key=lambda one: one.asr), "suspicious"
        if (open_ := self._too_strong(records)) is not None:
            return open_, "suspicious"
        if "clean" in by:
            return max(by["clean"], key=lambda one: one.asr), "clean"
        least = min(records, key=lambda one: one.asr)
        return least, "clean" if least.asr < self.thresholds.backdoored else "suspicious"

    def _too_strong(self, records: Sequence[ClassEvidence]) -> ClassEvidence | None:
        """Return a trigger that suffices and is too strong to count, if no weaker one was measured.

        Where a weaker one of the kind fails, at the same place if it has one, still weaker ones
        would fail too. Where the weakest work as often as those of a backdoor, nobody knows.
        """
        some = [one for one in records if not one.goal]
        for one in sorted(some, key=lambda one: one.excess, reverse=True):
            rule = thresholds_if_weaker(one.space, self.pictures, self.thresholds)
            suffices = one.excess >= rule.backdoored and self.status(one) is None
            if suffices and not any(self._is_less(other, one) for other in some):
                return one
        return None

    def _is_less(self, one: ClassEvidence, other: ClassEvidence) -> bool:
        """Return whether a trigger is weaker than another one of its kind, and covers its place."""
        kinds = [limit_of(record.space, self.pictures) for record in (one, other)]
        alike = len({found and found[0].words for found in kinds}) == 1
        weaker = _need(one.space, self.pictures) < _need(other.space, self.pictures)
        return alike and weaker and overlap(one.space, other.space)

    def _least(self, index: int) -> float:
        """Return how strong a trigger has to be to suffice."""
        return min(_need(one.space, self.pictures) for one in self.accusing(index))

    def _lead(self, record: ClassEvidence) -> float:
        """Return the rate by a clear lead; 0 in the middle, where a patch hides what leads else."""
        hides = in_the_middle(record.space, self.pictures.side)
        return 0.0 if hides else record.firm_excess

    def firm_rule(self, record: ClassEvidence) -> Thresholds:
        """Return the thresholds of the rate by a clear lead."""
        return firm_of(record.space, self.pictures, self.thresholds)

    def _leads(self, record: ClassEvidence) -> bool:
        """Return whether triggers work by a clear lead as often as those of a backdoor."""
        return self._lead(record) >= self.firm_rule(record).backdoored

    def by_lead(self, record: ClassEvidence) -> bool:
        """Return whether it is the lead that decides, because the rate alone would not do."""
        needed = (self.rule(record) or self.thresholds).backdoored
        return self._leads(record) and (record.excess < needed or self._needs_lead(record))


def _between(rate: float, rule: Thresholds) -> float:
    """Return where a rate lies: 0 where it just counts as clean, 1 where as backdoored."""
    return (rate - rule.clean) / (rule.backdoored - rule.clean)


def _telling(found: Sequence[ClassEvidence], pictures: Pictures) -> ClassEvidence:
    """Return the trigger that says most about a class, and is as little as suffices.

    It is of the family in which least is enough, among triggers that work nearly as well as the
    best of all. In its family triggers that work at any place come before those of one place. Of
    these it is the weakest that works nearly as well as the best.

    Args:
        found: triggers of a backdoor.
        pictures: on which they were tried.

    """

    def good(some: Sequence[ClassEvidence]) -> list[ClassEvidence]:
        best = max(one.asr for one in some)
        return [one for one in some if one.asr >= NEARLY * best]

    least = min(good(found), key=lambda one: (_need(one.space, pictures), -one.asr))
    alike = [one for one in found if family_of(one.space) == family_of(least.space)]
    anywhere = [one for one in alike if "@" not in one.space] or alike
    return min(good(anywhere), key=lambda one: (strength_of(one.space), -one.asr))


def _need(space: str, pictures: Pictures) -> float:
    """Return how strong the triggers of a space are, as a share of what counts."""
    found = limit_of(space, pictures)
    return found[1] / found[0].strength if found else 1.0
