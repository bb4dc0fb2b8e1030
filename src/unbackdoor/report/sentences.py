"""What the page says in whole sentences: rows of the repair table, and what a scan cannot see."""

from __future__ import annotations

from unbackdoor.report.spaces import nothing_searched, searched_list
from unbackdoor.results import Result, ScanResult

ROWS = {
    "before": "The model as it came.",
    "repaired": "Retrained on clean images of which some carry the triggers that are unlearnt, "
    "with their true labels; or, where no trigger is known, by FT-SAM. Where a law was recovered, "
    "the triggers are draws from its stairs, in equal parts.",
    "best attempt": "The best state of the repair, which is not good enough and was not written.",
    "fine-tuned": "The control: the same schedule on the same images without triggers. It shows "
    "how much of the effect comes from further training alone.",
    "ideal": "The same schedule with the planted triggers in place of the recovered ones: what the "
    "recovered law is compared with.",
    "clean reference": "A network that never had a backdoor: the floor that a repair can reach.",
}
COLUMNS = {
    "Clean accuracy": "Share of unchanged held-back images that are classified correctly.",
    "ASR, recovered": "Attack success rate of the triggers that are unlearnt, on images of other "
    "classes.",
    "ASR, planted": "The same for the trigger that was planted; unknown for a model from outside.",
    "Confusion floor": "Share of unchanged images of other classes that go to the target by "
    "mistake; a success rate cannot be expected to fall below it.",
}


REPAIR = "Do not deploy this model; 'unbackdoor repair' unlearns what was found."
UNLEARN = (
    "'unbackdoor repair' unlearns the best triggers towards the classes in doubt, three at most."
)


def next_step(result: Result) -> str:
    """Return what can be done after a scan; empty where it left no trigger to unlearn."""
    if not isinstance(result, ScanResult):
        return ""
    if result.verdict == "backdoored":
        return REPAIR
    doubtful = any(
        one.status == "suspicious" and one.confusion <= result.thresholds.clean
        for one in result.classes
    )
    return UNLEARN if doubtful and not nothing_searched(result) else ""


def limits(scan: ScanResult) -> list[tuple[str, str]]:
    """Return what a scan could not see, each as a few words and the sentences that explain them."""
    if nothing_searched(scan):
        return [("Backdoors.", "No trigger was searched for, so nothing is known of any.")]
    others = (
        "Every kind of trigger that was not searched for leaves no trace here"
        if scan.not_searched
        else "Every other kind of trigger leaves no trace here, such as another pattern over the "
        "whole picture, or one that depends on it, or several that work only together"
    )
    left = searched_list(scan).left
    said = [("Other kinds of triggers.", " ".join(filter(None, [left, f"{others}."])))]
    if not scan.power_checked:
        said.append(
            (
                "Power.",
                "It was not checked on this model that a planted backdoor would have been found. "
                "A verdict “clean” says that none was found, not that there is none.",
            )
        )
    said.append(
        (
            "Natural triggers.",
            "Some triggers send pictures to a class of a clean network too. The larger they may "
            "be, the less a high rate proves that somebody planted it.",
        )
    )
    if any(record.log_volume for record in scan.classes):
        said.append(
            (
                "Volumes.",
                "Every log|V| refers to one space and one fixed set of images; with another set "
                "it would be different. Where the effective sample size is small, the estimate is "
                "rough. An upper bound comes from N random patterns; it cannot be much lower than "
                "log(1/N).",
            )
        )
    said.append(
        (
            "The data.",
            f"Its rates come from {scan.data.evaluate:,} held-back images of "
            f"{len(scan.data.classes):,} classes. They hold for pictures like these.",
        )
    )
    return said
