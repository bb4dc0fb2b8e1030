"""From evidence to a verdict: the rule, its thresholds, and that a result keeps them."""

from __future__ import annotations

import pytest

from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.errors import ArgumentError
from unbackdoor.verdict.judge import ByRate, Judge
from unbackdoor.verdict.thresholds import Thresholds

JUDGES: list[Judge] = [ByRate(), ByRate(Thresholds(backdoored=0.9, clean=0.1))]


def evidence(*asrs: float, confusion: float = 0.0, space: str = "patch:3") -> Evidence:
    classes = [
        ClassEvidence(
            index=index,
            name=f"class {index}",
            space=space,
            statistic=asr,
            best=b"",
            asr=asr,
            confusion=confusion,
        )
        for index, asr in enumerate(asrs)
    ]
    return Evidence(
        detector="none", classes=classes, accuracy=1.0, image_passes=0, image_passes_backward=0
    )


@pytest.mark.parametrize("judge", JUDGES)
def test_every_judge_says_what_it_found_and_why(judge: Judge) -> None:
    for asrs in ((0.0, 0.05), (0.5, 0.0), (0.0, 1.0)):
        judged = judge(evidence(*asrs))
        assert judged.verdict in {"clean", "backdoored", "inconclusive"}
        assert bool(judged.targets) == (judged.verdict == "backdoored")
        assert [one.index for one, _ in judged.classes] == [0, 1]
        assert judged.reason.endswith(".")
    assert judge(evidence(0.0, 0.05)).verdict == "clean"
    assert judge(evidence(0.0, 1.0)).targets == [1]


@pytest.mark.parametrize(
    ("asrs", "verdict", "targets"),
    [
        ([0.1, 0.3], "clean", []),
        ([0.1, 0.5], "inconclusive", []),
        ([0.9, 0.5], "backdoored", [0]),
        ([0.9, 0.8], "backdoored", [0, 1]),
    ],
)
def test_the_rule_of_the_verdict(asrs: list[float], verdict: str, targets: list[int]) -> None:
    judged = ByRate()(evidence(*asrs))
    assert (judged.verdict, judged.targets) == (verdict, targets)


def test_other_thresholds_judge_otherwise() -> None:
    strict = ByRate(Thresholds(backdoored=0.95, clean=0.05))
    assert strict(evidence(0.1, 0.9)).verdict == "inconclusive"
    assert "up to 5%" in strict(evidence(0.1, 0.9)).reason


@pytest.mark.parametrize(("clean", "backdoored"), [(0.9, 0.2), (0.5, 0.5), (-0.1, 0.5), (0.2, 1.1)])
def test_thresholds_out_of_order_are_refused(clean: float, backdoored: float) -> None:
    with pytest.raises(ArgumentError, match="clean"):
        Thresholds(clean=clean, backdoored=backdoored)


def test_a_class_that_a_model_answers_anyway_is_neither_clean_nor_backdoored() -> None:
    for asr in (0.31, 1.0):
        judged = ByRate()(evidence(asr, confusion=0.5))
        assert (judged.verdict, judged.targets) == ("inconclusive", [])
        assert [status for _, status in judged.classes] == ["suspicious"]
        said = "class 0 (50.0%) to held-back images of other classes without any trigger"
        assert said in judged.reason


def test_the_space_that_works_best_decides_for_a_class() -> None:
    weak, strong = evidence(0.1, 0.2), evidence(0.05, 0.9, space="patch:5")
    both = Evidence(
        detector="none",
        classes=[*weak.classes, *strong.classes],
        accuracy=1.0,
        image_passes=0,
        image_passes_backward=0,
    )
    judged = ByRate()(both)
    assert judged.targets == [1]
    assert [one.space for one, _ in judged.classes] == ["patch:3", "patch:5"]
    assert "patch:3 and patch:5" in judged.reason
