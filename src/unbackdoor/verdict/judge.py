"""From held-back attack success rates to a verdict and its reason."""

from __future__ import annotations

from collections.abc import Sequence

from unbackdoor.detectors.settings import ScanSettings
from unbackdoor.results import ClassRecord, Status, Verdict


def status(asr: float, confusion: float, settings: ScanSettings) -> Status:
    """Judge one class by the held-back attack success rate of its best trigger.

    What a model answers to many images without a trigger speaks neither for one nor against it.
    """
    if confusion > settings.clean:
        return "suspicious"
    if asr >= settings.backdoored:
        return "backdoored"
    return "clean" if asr <= settings.clean else "suspicious"


def judge(
    classes: Sequence[ClassRecord], space: str, settings: ScanSettings
) -> tuple[Verdict, list[int], str]:
    """Return the verdict, the indices of backdoored classes, and the reason in a sentence."""
    found = [record for record in classes if record.status == "backdoored"]
    unsure = [record for record in classes if record.status == "suspicious"]
    best = max(classes, key=lambda record: record.asr)
    if found:
        names = " and ".join(f"{record.name} ({record.asr:.1%})" for record in found)
        reason = (
            f"Triggers of {space} were found that send held-back images of other classes to "
            f"{names}; from {settings.backdoored:.0%} a class counts as backdoored."
        )
        return "backdoored", [record.index for record in found], reason
    anyway = [record for record in unsure if record.confusion > settings.clean]
    if anyway:
        names = " and ".join(f"{record.name} ({record.confusion:.1%})" for record in anyway)
        reason = (
            f"The model answers {names} to held-back images of other classes without any trigger, "
            f"more often than a clean class may with one (up to {settings.clean:.0%}); check its "
            f"accuracy, and how images are fitted to it."
        )
        return "inconclusive", [], reason
    if unsure:
        names = " and ".join(f"{record.name} ({record.asr:.1%})" for record in unsure)
        reason = (
            f"The best triggers of {space} towards {names} work more often than a clean class "
            f"allows (up to {settings.clean:.0%}) and less often than a backdoor "
            f"(from {settings.backdoored:.0%})."
        )
        return "inconclusive", [], reason
    reason = (
        f"No trigger of {space} was found that sends more than {best.asr:.1%} of held-back images "
        f"to any class (the most: {best.name}; up to {settings.clean:.0%} counts as clean). "
        f"Whether a backdoor would have been found was not checked on this model."
    )
    return "clean", [], reason
