"""What the scores of reference networks are worth, from rows with known scores."""

from __future__ import annotations

from unbackdoor.bench.bag.recipes import EVERY
from unbackdoor.bench.bag.table import table
from unbackdoor.bench.families.scanned import ClassRow, FamiliesRow
from unbackdoor.detectors.evidence import Rung


def scan(number: int, rate: float, trigger: str | None = None, works: float = 1.0) -> FamiliesRow:
    """A scan in which one patch sends so many images to the first of two classes."""
    attacked = trigger is not None
    measured = [[Rung(space="patch:4@0,0", asr=rate)], [Rung(space="patch:4@0,0", asr=0.0)]]
    classes = [
        ClassRow(index=k, status="", space="", asr=0.0, confusion=0.0, measured=measured[k])
        for k in range(2)
    ]
    return FamiliesRow(
        network=f"{number:03d}-{'square' if attacked else 'clean'}",
        sha256="",
        arch="convnet",
        trigger=trigger,
        family="patch" if attacked else None,
        mode="all-to-one",
        target=0 if attacked else None,
        planted_asr=works if attacked else None,
        data="",
        space="auto",
        seed=0,
        verdict="backdoored" if rate > 0.8 else "clean",
        reason="",
        classes=classes,
        versions={},
    )


def said(rows: list[FamiliesRow]) -> dict[str, str]:
    return {line["network"].strip("*"): line["worst of the seeds"] for line in table(rows)}


def test_each_half_is_judged_by_the_highest_clean_score_of_the_other() -> None:
    rows = [
        scan(0, 0.95, "white:4@0,0"),
        scan(1, 0.2),
        scan(2, 0.5),
        scan(EVERY, 0.99, "white:4@0,0"),
        scan(EVERY + 1, 0.65),
        scan(EVERY + 2, 0.1),
    ]
    words = said(rows)
    assert words["AUC of the score"].startswith("1.000 (")
    # 0.5 just counts as clean, so the score of that network is 0; from 0.8 on it is 1.
    assert words["limit fitted on even dozens, judged on odd ones"].startswith(
        "from 0.00: found 1/1 (missed: at most 95%), accused 1/2 (clean accused: at most"
    )
    assert words["limit fitted on odd dozens, judged on even ones"].startswith(
        "from 0.50: found 1/1"
    )
    assert "accused 0/2" in words["limit fitted on odd dozens, judged on even ones"]


def test_what_does_not_work_does_not_count() -> None:
    rows = [scan(0, 0.1, "white:4@0,0", works=0.3), scan(1, 0.2)]
    assert "AUC of the score" not in said(rows)
    assert said([*rows, scan(2, 0.9, "white:4@0,0")])["AUC of the score"].startswith("1.000")
