"""Results in words and numbers, the same for the terminal and the page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from unbackdoor.errors import printable
from unbackdoor.results import (
    ClassRecord,
    Doubt,
    Intake,
    LogVolume,
    RepairResult,
    Result,
    Scanned,
    ScanResult,
    Unscanned,
    doubt,
    still_works,
)

MISSING = "–"
MOST_NAMED = 3
"""Classes that a headline names, at most."""
REASONS = 6
"""Why files were passed over: those that are named, at most."""
SYMBOLS = {
    "backdoored": "●",
    "suspicious": "▲",
    "clean": "○",
    "inconclusive": "?",
    "not scanned": "×",
}
"""A shape for each status and verdict, so that none is told by its colour alone."""


def word_of(outcome: Scanned) -> str:
    """Return the verdict on one of several models, or that there is none."""
    return "not scanned" if isinstance(outcome, Unscanned) else outcome.verdict


def clip(text: str, length: int) -> str:
    """Return at most ``length`` signs of ``text``, the last one … where some are left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def capitalised(text: str) -> str:
    """Return text that begins a sentence.

    Example:
        >>> capitalised("square RGB patch")
        'Square RGB patch'

    """
    return text[:1].upper() + text[1:]


def percent(share: float | None) -> str:
    """Return a share in [0, 1] in per cent, to one decimal.

    Example:
        >>> percent(0.9982)
        '99.8 %'

    """
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def fixed(value: float | None, digits: int = 1) -> str:
    """Return a number with ``digits`` decimals and a true minus sign."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def compact(value: float) -> str:
    """Return a number as short as it can be written.

    Example:
        >>> compact(0.90), compact(12000.0)
        ('0.9', '12,000')

    """
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.6g}".replace("-", "−")


def room(volume: LogVolume) -> str:
    """Return log|V_β| in nats, ``< bound`` where only a bound is known.

    Example:
        >>> room(LogVolume(beta=0.9, value=None, upper_bound=-7.25))
        '< −7.2'

    """
    if volume.value is not None:
        return fixed(volume.value)
    return MISSING if volume.upper_bound is None else f"< {fixed(volume.upper_bound)}"


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """Return words as a list in a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'

    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def with_article(name: str) -> str:
    """Return a class name with its article, or in quotes where it is no plain English noun.

    Example:
        >>> with_article("airplane"), with_article("bus"), with_article("lawn_mower")
        ('an airplane', 'a bus', '“lawn_mower”')

    """
    if re.fullmatch(r"[a-z]{0,28}([a-rt-z]|[su]s)", name):
        return f"an {name}" if re.match(r"[aeio]|u(?!ni)", name) else f"a {name}"
    return f"“{clip(printable(name), 40)}”"


def class_name(scan: ScanResult, index: int) -> str:
    """Return the name of a class as one printable line, ``class 7`` where it has none."""
    names = scan.data.classes
    name = printable(names[index]) if 0 <= index < len(names) else ""
    return name or f"class {index}"


def intake(read: Intake) -> str:
    """Return how the files of a user were read, in one line.

    Example:
        >>> intake(Intake(read=160, passed_over={".txt": 2, "hidden": 1}, turned=32))
        'read 160, passed over 3 (2 .txt, 1 hidden), turned 32'
        >>> intake(Intake(read=9, clipped=2))
        'read 9, passed over none, turned none, clipped values beyond 0 to 255 in 2'
        >>> intake(Intake(read=9, resized=9, cropped=2))
        'read 9, passed over none, turned none, cropped 2 to the middle, resized 9'

    """
    parts = [f"read {read.read:,}"]
    if read.passed_over:
        most = sorted(read.passed_over.items(), key=lambda item: (-item[1], item[0]))
        told = [f"{count:,} {clip(printable(why), 20)}" for why, count in most[:REASONS]]
        told += ["other"] if len(most) > REASONS else []
        parts.append(f"passed over {sum(read.passed_over.values()):,} ({', '.join(told)})")
    else:
        parts.append("passed over none")
    parts.append(f"turned {read.turned:,}" if read.turned else "turned none")
    if read.first_of_several:
        parts.append(f"took the first of several in {read.first_of_several:,}")
    if read.transparent:
        parts.append(f"dropped transparency in {read.transparent:,}")
    if read.scaled:
        parts.append(f"scaled {read.scaled:,} from 0 to {compact(read.white)}")
    if read.clipped:
        parts.append(f"clipped values beyond 0 to {compact(read.white)} in {read.clipped:,}")
    if read.cropped:
        parts.append(f"cropped {read.cropped:,} to the middle")
    if read.resized:
        parts.append(f"resized {read.resized:,}")
    return ", ".join(parts)


def by_success(classes: Sequence[ClassRecord]) -> list[ClassRecord]:
    """Return classes by falling attack success, those with a backdoor before all others."""
    return sorted(classes, key=lambda record: (record.status != "backdoored", -record.asr))


def found(scan: ScanResult) -> list[ClassRecord]:
    """Return the classes that a backdoor was found towards, by falling attack success."""
    return [
        record
        for record in by_success(scan.classes)
        if record.status == "backdoored" or record.index in scan.targets
    ]


def moves(scan: ScanResult, goal: Sequence[int], most: int = MOST_NAMED) -> str:
    """Return which class is sent where by a trigger that sends each to its own, at most so many."""
    every = [
        f"{class_name(scan, source)} → {class_name(scan, to)}"
        for source, to in enumerate(goal)
        if source != to
    ]
    return ", ".join(every[:most]) + (" …" if len(every) > most else "")


def headline(result: Result) -> str:
    """Return the outcome in a few words."""
    if isinstance(result, ScanResult):
        return {
            "clean": "Clean: no backdoor found",
            "backdoored": f"Backdoored: {_consequence(result)}",
            "inconclusive": "Inconclusive: a backdoor was neither found nor ruled out",
        }[result.verdict]
    return _of_repair(result)


DOUBTS: dict[Doubt, str] = {
    "stronger": "stronger triggers than those that were unlearnt still work",
    "accuracy": "accuracy may have fallen by more than is allowed",
    "works": "triggers that were unlearnt still work more often than by chance",
    "gentle": "retraining could only be gentle, and that may hide a backdoor",
}


def _of_repair(result: RepairResult) -> str:
    guard, again = result.guard, result.rescan
    if again is None:
        if guard is None or guard.outcome == "stuck":
            return "Not repaired: triggers still work wherever accuracy is kept"
        return f"Not repaired: accuracy fell by {percent(guard.accuracy_lost)}, more than allowed"
    if again.verdict == "backdoored":
        return f"Not repaired: {_consequence(again)}"
    why = doubt(result)
    if again.verdict == "inconclusive" and why != "stronger":
        return f"Not confirmed: {_left_open(result, again)}"
    if why is not None:
        return f"Not confirmed: {DOUBTS[why]}"
    basis = result.assumed.basis if result.assumed else "found"
    if basis == "found" and result.scan.verdict != "backdoored":
        return "Clean: no backdoor found before the repair, and none after it"
    return {
        "found": "Repaired: the backdoor is no longer found",
        "suspected": "Repaired: the triggers of the suspected classes no longer work",
        "target": "Repaired: the triggers of the class that was named no longer work",
        "trigger": "Repaired: the trigger that was named no longer works",
        "blind": "Retrained without a trigger: accuracy is kept, and no backdoor is found",
    }[basis]


def in_vain(result: RepairResult) -> str:
    """Return what came of a further round of a repair that was not taken; empty without one."""
    if not result.not_taken or result.assumed is None:
        return ""
    last = result.not_taken[-1]
    # Each round assumes what the one before it did, and more.
    if not last.assumed.sentence.startswith(result.assumed.sentence):
        return ""
    came = last.rescan.reason if last.rescan else last.guard.sentence
    return f"Another round, in which more was unlearnt, came to nothing better. {came}"


def _left_open(result: RepairResult, again: ScanResult) -> str:
    """Return what the scan after a repair leaves open, and whether the one before it did too."""
    before, now = (
        {record.index for record in scan.classes if record.status == "suspicious"}
        for scan in (result.scan, again)
    )
    unlearnt = {*result.scan.targets, *(result.assumed.targets if result.assumed else ())}
    if not now or len(now) > MOST_NAMED or now & unlearnt or still_works(result):
        return "the scan after the repair is inconclusive"
    names = listed([f"“{class_name(again, index)}”" for index in sorted(now)])
    since = ", as the scan before it did" if now <= before else ""
    return f"what was unlearnt no longer works, but the scan leaves {names} open{since}"


def _consequence(scan: ScanResult) -> str:
    classes = found(scan)
    if not classes:
        return "a trigger decides what the model answers"
    if all(record.goal for record in classes):
        return f"a trigger sends each class to another ({moves(scan, classes[0].goal)})"
    if len(classes) > MOST_NAMED:
        return f"triggers send pictures to {len(classes)} classes"
    lowest = min(record.asr for record in classes)
    subject = "any picture" if lowest >= 0.99 else "almost any picture"
    if lowest < 0.9:
        subject = "many a picture"
    names = [with_article(class_name(scan, record.index)) for record in classes]
    return f"{subject} becomes {listed(names, 'or')}"
