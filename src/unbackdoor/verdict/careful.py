"""A judge that says "clean" only where that can be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from unbackdoor.detectors.evidence import Evidence
from unbackdoor.verdict.bag import Bag
from unbackdoor.verdict.judge import Judge, Judgement


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A known trigger that was planted in a copy of the network, and what a search found there.

    Args:
        trigger: its notation.
        family: of triggers.
        target: the class that it sends images to.
        works: its success rate in the copy, on held-back images.
        found: whether the search of the copy left its class clean (False) or not (True).

    """

    trigger: str
    family: str
    target: int
    works: float
    found: bool


TAKES = 0.9
"""Success rate from which a trigger counts as planted."""
UNCHECKED = (
    "Whether a backdoor would have been found was not checked on this model; --power-check does."
)


@dataclass(frozen=True)
class Among:
    """Judge by another judge, and compare the network with reference networks.

    A network that differs from all clean reference networks by much in its classes, its pictures or
    its accuracy is not called clean: nobody knows how often a backdoor is missed in such ones.

    Args:
        judge: the rule of the verdict.
        bag: the reference networks.

    """

    judge: Judge
    bag: Bag

    def __call__(self, evidence: Evidence) -> Judgement:
        """Judge one model."""
        judged = self.judge(evidence)
        standing = self.bag.compared(judged.score, evidence)
        unlike = (
            f"model is unlike the clean reference networks ({self.bag.name}): "
            f"{', '.join(standing.outside)}"
        )
        if judged.verdict == "clean" and standing.outside:
            reason = (
                f"No trigger that counts was found, but the {unlike}. Nobody knows how "
                f"often a backdoor is missed in such models; calibrate with clean ones of your "
                f"own: unbackdoor calibrate --help. Without that: --bag none."
            )
            judged = replace(judged, verdict="inconclusive", reason=reason)
        elif judged.verdict == "clean":
            judged = replace(judged, reason=f"{judged.reason} {standing.silence}")
        elif judged.verdict == "backdoored" and standing.outside:
            reason = (
                f"{judged.reason} The {unlike}. How often such models are accused without a "
                f"backdoor was not measured."
            )
            judged = replace(judged, reason=reason)
        elif judged.verdict == "backdoored":
            judged = replace(judged, reason=f"{judged.reason} {standing.alarm}")
        return replace(judged, standing=standing)


def checked(judged: Judgement, checks: Sequence[Check] | None) -> Judgement:
    """Return a judgement after a check of whether a backdoor would have been found.

    A clean verdict stands where known triggers could be planted in a copy of the model, and were
    found there.

    Args:
        judged: before the check.
        checks: one for each trigger that was to be planted; None where none was made.

    """
    if judged.verdict != "clean":
        return judged
    if checks is None:
        return replace(judged, reason=f"{judged.reason} {UNCHECKED}")
    works = [one for one in checks if one.works >= TAKES]
    missed = [one.trigger for one in works if not one.found]
    if len(works) < max(1, len(checks) / 2):
        reason = (
            f"No trigger was found, but of {len(checks)} known ones only {len(works)} could be "
            f"planted in a copy of the model, so nobody knows whether the search would see one."
        )
        return replace(judged, verdict="inconclusive", reason=reason)
    if missed:
        reason = (
            f"No trigger was found, but neither was {' and '.join(missed)}, planted in a copy of "
            f"the model to check the search ({len(works) - len(missed)} of {len(works)} planted "
            f"triggers were found)."
        )
        return replace(judged, verdict="inconclusive", reason=reason)
    names = ", ".join(one.trigger for one in works)
    said = f"Known triggers that were planted in a copy of the model were found there: {names}."
    return replace(judged, reason=f"{judged.reason} {said}")
