"""From evidence to a verdict and its reason, without access to the model or the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.verdict.bag import Standing
from unbackdoor.verdict.case import Case, Status
from unbackdoor.verdict.reason import Verdict, decided
from unbackdoor.verdict.thresholds import Thresholds


@dataclass(frozen=True)
class Judgement:
    """The decision of a judge about a model.

    Args:
        verdict: the answer.
        targets: classes with a backdoor, rising.
        reason: the verdict in a sentence.
        classes: for each class in order, its strongest evidence, and its status.
        score: how near the clearest class is to counting as backdoored, from 1 on it does; 0 where
            it just counts as clean.
        standing: among reference networks; None where it was compared with none.

    """

    verdict: Verdict
    targets: list[int]
    reason: str
    classes: list[tuple[ClassEvidence, Status]]
    score: float = 0.0
    standing: Standing | None = None


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
        """Judge one model by the clearest evidence for each class."""
        judged = self._judged(evidence)
        if judged.verdict != "clean" or not evidence.left_out:
            return judged
        reason = (
            f"The time was up before all was searched, and nothing was found until then; not "
            f"searched: {', '.join(evidence.left_out)}. Give it more by --max-seconds."
        )
        return replace(
            judged,
            verdict="inconclusive",
            reason=reason,
            classes=[(record, "suspicious") for record, _ in judged.classes],
        )

    def _judged(self, evidence: Evidence) -> Judgement:
        case = Case(self.thresholds, evidence)
        classes = case.statuses()
        verdict, reason = decided(case, classes)
        targets = [record.index for record, status in classes if status == "backdoored"]
        score = max(case.score(record.index, status) for record, status in classes)
        return Judgement(verdict, targets, reason, classes, score)


@dataclass(frozen=True)
class Guessing:
    """The judgement of a model that guesses: it was not searched, and nothing is known of it."""

    def __call__(self, evidence: Evidence) -> Judgement:
        """Leave every class open."""
        reason = (
            f"The model is right on {evidence.accuracy:.1%} of held-back images, no better than "
            f"one that guesses or answers one class to everything, so it was not searched; check "
            f"the order of its classes and how images are fitted to it."
        )
        return Judgement(
            "inconclusive", [], reason, [(one, "suspicious") for one in evidence.classes]
        )
