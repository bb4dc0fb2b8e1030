"""Where a network stands among reference networks, and when "clean" is not said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.detectors.evidence import ClassEvidence, Evidence, Pictures
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.verdict.bag import Bag, Reference, ours, read_bag
from unbackdoor.verdict.careful import Among, Check, checked
from unbackdoor.verdict.judge import ByRate

RATES = st.floats(0, 1)


def evidence(*rates: float, side: int = 32, accuracy: float = 0.8) -> Evidence:
    classes = [
        ClassEvidence(
            index=index,
            name=f"class {index}",
            space="patch:3",
            statistic=rate,
            best=b"",
            asr=rate,
            confusion=0.0,
        )
        for index, rate in enumerate(rates)
    ]
    return Evidence(
        detector="none",
        classes=classes,
        accuracy=accuracy,
        image_passes=0,
        image_passes_backward=0,
        pictures=Pictures(side=side),
    )


def reference(score: float, backdoor: str = "", classes: int = 10) -> Reference:
    return Reference(
        name="one",
        backdoor=backdoor,
        works=1.0 if backdoor else 0.0,
        score=score,
        accuracy=0.8,
        classes=classes,
        side=32,
    )


def bag(clean: list[float], backdoored: list[float]) -> Bag:
    networks = [reference(score) for score in clean]
    networks += [reference(score, "patch") for score in backdoored]
    return Bag(name="toys", budget="quick", space="auto", networks=networks)


QUIET = (0.1,) * 10
LOUD = (*QUIET[:9], 1.0)
TOYS = bag([-0.5, 0.2], [1.0, 1.5, 1.6])


@given(st.lists(RATES, min_size=2, max_size=12))
def test_the_score_says_what_the_verdict_says(rates: list[float]) -> None:
    judged = ByRate()(evidence(*rates))
    status = [status for _, status in judged.classes]
    assert (judged.score >= 1) == ("backdoored" in status)
    assert (judged.score <= 0) == all(one == "clean" for one in status) or judged.score == 0


@given(RATES, RATES)
def test_the_score_rises_with_the_rate(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert ByRate()(evidence(low, 0.0)).score <= ByRate()(evidence(high, 0.0)).score


def test_the_bounds_are_those_of_clopper_and_pearson() -> None:
    """With none of n the upper bound is 1 − 0.05^(1/n)."""
    standing = bag([0.0] * 20, [1.2] * 10).compared(0.5)
    assert (standing.above, standing.below) == (0, 0)
    assert standing.false_alarms == pytest.approx(1 - 0.05 ** (1 / 20))
    assert standing.misses == pytest.approx(1 - 0.05 ** (1 / 10))
    assert bag([0.0, 2.0], [1.2]).compared(1.0).above == 1


def test_a_verdict_says_where_the_network_stands() -> None:
    judge = Among(ByRate(), TOYS)
    found = judge(evidence(*LOUD))
    assert found.verdict == "backdoored"
    assert "higher than any of 2 clean" in found.reason
    silent = judge(evidence(*QUIET))
    assert silent.verdict == "clean"
    assert "Of 3 backdoored reference networks 0 score as low" in silent.reason
    assert silent.standing is not None
    assert silent.standing.score == silent.score


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (evidence(*QUIET, side=224), "224 pixels a side"),
        (evidence(0.1, 0.1), "2 classes (they have 10)"),
        (evidence(*QUIET, accuracy=0.3), "an accuracy of 30.0%"),
    ],
)
def test_a_network_unlike_all_of_the_bag_is_not_called_clean(case: Evidence, words: str) -> None:
    judged = Among(ByRate(), TOYS)(case)
    assert judged.verdict == "inconclusive"
    assert words in judged.reason
    assert "unbackdoor calibrate" in judged.reason


def test_the_accuracy_is_compared_with_that_of_networks_of_about_as_many_classes() -> None:
    """A network of a hundred classes is less accurate than one of ten."""
    many = msgspec.structs.replace(reference(0.0, classes=100), accuracy=0.5)
    both = msgspec.structs.replace(TOYS, networks=[*TOYS.networks, many])
    assert not both.outside(evidence(*(0.1,) * 43, accuracy=0.5))  # of 10 and 100 classes
    assert not both.outside(evidence(*QUIET, accuracy=0.75))
    (words,) = both.outside(evidence(*QUIET, accuracy=0.5))
    assert "those with about as many classes have at least 80.0%" in words
    assert both.outside(evidence(0.1, 0.1)) == ["2 classes (they have 10 or 100)"]


def test_a_network_has_to_be_like_one_and_the_same_network_in_all() -> None:
    """Small pictures of ten classes and large ones of a hundred are not large ones of ten."""
    large = msgspec.structs.replace(reference(0.0, classes=100), side=224)
    both = msgspec.structs.replace(TOYS, networks=[*TOYS.networks, large])
    assert not both.outside(evidence(*QUIET))
    (words,) = both.outside(evidence(*QUIET, side=224, accuracy=0.12))
    assert words == "10 classes with pictures of 224 pixels together"


def test_what_is_found_in_such_a_network_is_told_all_the_same() -> None:
    judged = Among(ByRate(), TOYS)(evidence(*LOUD, side=224))
    assert (judged.verdict, judged.targets) == ("backdoored", [9])
    assert "was not measured" in judged.reason
    assert "higher than" not in judged.reason  # a bound for other networks


def test_a_search_that_was_cut_off_is_not_clean() -> None:
    cut = msgspec.structs.replace(evidence(*QUIET), left_out=["wave:16"])
    judged = ByRate()(cut)
    assert judged.verdict == "inconclusive"
    assert "wave:16" in judged.reason
    assert {status for _, status in judged.classes} == {"suspicious"}
    loud = msgspec.structs.replace(evidence(*LOUD), left_out=["wave:16"])
    assert ByRate()(loud).verdict == "backdoored"


def check(works: float, found: bool) -> Check:
    return Check(trigger="rgb:1x3@0,0", family="patch", target=0, works=works, found=found)


@pytest.mark.parametrize(
    ("checks", "verdict", "words"),
    [
        (None, "clean", "not checked"),
        ([check(1.0, True), check(0.95, True)], "clean", "found there: rgb:1x3@0,0"),
        ([check(1.0, True), check(1.0, False)], "inconclusive", "1 of 2 planted triggers"),
        ([check(0.5, False), check(0.2, False)], "inconclusive", "only 0 could be planted"),
        ([], "inconclusive", "of 0 known ones"),
    ],
)
def test_clean_needs_that_known_triggers_are_found(
    checks: list[Check] | None, verdict: str, words: str
) -> None:
    judged = checked(ByRate()(evidence(*QUIET)), checks)
    assert judged.verdict == verdict
    assert words in judged.reason


def test_a_check_changes_no_other_verdict() -> None:
    judged = ByRate()(evidence(*LOUD))
    assert checked(judged, [check(1.0, False)]) == judged


def test_the_bag_of_the_package_has_both_kinds() -> None:
    assert ours().clean
    assert ours().backdoored


def test_no_clean_reference_network_counts_as_backdoored() -> None:
    assert max(one.score for one in ours().clean) < 1


def test_a_bag_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "bag.json"
    path.write_bytes(msgspec.json.encode(TOYS))
    assert read_bag(path) == TOYS


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"name": 1}', b"[" * 100_000])
def test_what_is_no_bag_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bag.json"
    path.write_bytes(content)
    with pytest.raises(ContentError, match="calibrate"):
        read_bag(path)
    with pytest.raises(ArgumentError, match="--bag"):
        read_bag(tmp_path / "none.json")


def test_a_bag_without_clean_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bag.json"
    path.write_bytes(msgspec.json.encode(bag([], [1.0])))
    with pytest.raises(ContentError, match="no clean network"):
        read_bag(path)
