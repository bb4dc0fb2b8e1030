"""From evidence to a verdict and its reason, without access to the model or the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.verdict.thresholds import Thresholds

Verdict = Literal["clean", "backdoored", "inconclusive"]
Status = Literal["clean", "backdoored", "suspicious"]


@dataclass(frozen=True)
class Judgement:
    """The decision of a judge about a model.

    Args:
        verdict: the answer.
        targets: classes with a backdoor, rising.
        reason: the verdict in a sentence.
        classes: for each class in order, its strongest evidence, and its status.

    """

    verdict: Verdict
    targets: list[int]
    reason: str
    classes: list[tuple[ClassEvidence, Status]]


class Judge(Protocol):
    """A rule from evidence to a verdict, with its own thresholds."""

    def __call__(self, evidence: Evidence) -> Judgement:
        """Judge one model."""
        ...


@dataclass(frozen=True)
class ByRate:
    """Judge each class by the held-back success rate of its best trigger.

    Args:
        thresholds: of the rates.

    """

    thresholds: Thresholds = Thresholds()

    def __call__(self, evidence: Evidence) -> Judgement:
        """Judge one model by the strongest evidence for each class."""
        strongest: dict[int, ClassEvidence] = {}
        for one in evidence.classes:
            known = strongest.get(one.index)
            if known is None or one.asr > known.asr:
                strongest[one.index] = one
        records = [strongest[index] for index in sorted(strongest)]
        judged: list[tuple[ClassEvidence, Status]] = [
            (record, self.status(record)) for record in records
        ]
        spaces = list(dict.fromkeys(one.space for one in evidence.classes))
        verdict, targets, reason = self._decide(judged, " and ".join(spaces))
        return Judgement(verdict, targets, reason, judged)

    def status(self, record: ClassEvidence) -> Status:
        """Judge one class.

        A class that the model assigns to many images even without a trigger is suspicious: its rate
        shows neither that there is a backdoor nor that there is none.
        """
        if record.confusion > self.thresholds.clean:
            return "suspicious"
        if record.asr >= self.thresholds.backdoored:
            return "backdoored"
        return "clean" if record.asr <= self.thresholds.clean else "suspicious"

    def _decide(
        self, judged: Sequence[tuple[ClassEvidence, Status]], spaces: str
    ) -> tuple[Verdict, list[int], str]:
        rule = self.thresholds
        found = [record for record, status in judged if status == "backdoored"]
        unsure = [record for record, status in judged if status == "suspicious"]
        if found:
            reason = (
                f"Triggers of {spaces} were found that send held-back images of other classes to "
                f"{_rates(found)}; from {rule.backdoored:.0%} a class counts as backdoored."
            )
            return "backdoored", [record.index for record in found], reason
        if anyway := [record for record in unsure if record.confusion > rule.clean]:
            names = " and ".join(f"{record.name} ({record.confusion:.1%})" for record in anyway)
            reason = (
                f"The model answers {names} to held-back images of other classes without any "
                f"trigger, more often than a clean class may with one (up to {rule.clean:.0%}); "
                f"check its accuracy, and how images are fitted to it."
            )
            return "inconclusive", [], reason
        if unsure:
            reason = (
                f"The best triggers of {spaces} towards {_rates(unsure)} work more often than a "
                f"clean class allows (up to {rule.clean:.0%}) and less often than a backdoor "
                f"(from {rule.backdoored:.0%})."
            )
            return "inconclusive", [], reason
        best = max((record for record, _ in judged), key=lambda record: record.asr)
        reason = (
            f"No trigger of {spaces} was found that sends more than {best.asr:.1%} of held-back "
            f"images to any class (the most: {best.name}; up to {rule.clean:.0%} counts as "
            f"clean). Whether a backdoor would have been found was not checked on this model."
        )
        return "clean", [], reason


def _rates(records: Sequence[ClassEvidence]) -> str:
    return " and ".join(f"{record.name} ({record.asr:.1%})" for record in records)
