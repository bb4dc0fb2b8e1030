"""Headlines and numbers, and that text from outside stays one printable line."""

from __future__ import annotations

import msgspec
import pytest

from report.synthetic import guarded, repair, scan, wrecked
from unbackdoor.errors import printable
from unbackdoor.report.words import (
    class_name,
    compact,
    fixed,
    found,
    headline,
    listed,
    percent,
    room,
    with_article,
)
from unbackdoor.results import (
    Assumption,
    Basis,
    LogVolume,
    Outcome,
    ScanResult,
    still_works,
    verdict,
)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (scan(), "Backdoored: any picture becomes an airplane"),
        (scan(targets=(0, 8)), "Backdoored: any picture becomes an airplane or a ship"),
        (scan(targets=(0, 1, 2, 3)), "Backdoored: triggers send pictures to 4 classes"),
        (scan("clean"), "Clean: no backdoor found"),
        (scan("inconclusive"), "Inconclusive: a backdoor was neither found nor ruled out"),
    ],
)
def test_scan_headline(result: ScanResult, words: str) -> None:
    assert headline(result) == words


def test_headline_claims_no_more_than_the_rate() -> None:
    result = scan()

    def at(asr: float) -> str:
        first = msgspec.structs.replace(result.classes[0], asr=asr)
        return headline(msgspec.structs.replace(result, classes=[first, *result.classes[1:]]))

    assert at(0.93) == "Backdoored: almost any picture becomes an airplane"
    assert at(0.82) == "Backdoored: many a picture becomes an airplane"


def test_repair_headline_follows_the_rescan() -> None:
    assert headline(repair("clean")).startswith("Repaired")
    assert headline(repair("backdoored")).startswith("Not repaired: any picture becomes")
    assert headline(repair("inconclusive")).startswith("Not confirmed")
    assert headline(repair("clean", before=scan("clean"))).startswith("Clean")
    assert verdict(repair("inconclusive")) == "inconclusive"
    stubborn = [
        msgspec.structs.replace(row, recovered_asr=0.4) if row.name == "repaired" else row
        for row in repair("clean").rows
    ]
    left = msgspec.structs.replace(repair("clean"), rows=stubborn)
    assert (verdict(left), headline(left)[:13]) == ("inconclusive", "Not confirmed")


def test_what_the_scan_after_a_repair_leaves_open_is_named() -> None:
    said = headline(repair("inconclusive"))
    assert (
        said == "Not confirmed: what was unlearnt no longer works, but the scan leaves “cat” open"
    )
    first = scan()
    open_before = [
        msgspec.structs.replace(one, status="suspicious") if one.index == 3 else one
        for one in first.classes
    ]
    before = msgspec.structs.replace(first, classes=open_before)
    assert headline(repair("inconclusive", before=before)) == f"{said}, as the scan before it did"
    treated = Assumption(basis="found", sentence="", targets=[3])
    again = msgspec.structs.replace(repair("inconclusive"), assumed=treated)
    assert headline(again) == "Not confirmed: the scan after the repair is inconclusive"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("stuck", "Not repaired: triggers still work wherever accuracy is kept"),
        ("lost", "Not repaired: accuracy fell by 5.3 %, more than allowed"),
    ],
)
def test_a_network_that_lost_accuracy_is_never_called_repaired(
    outcome: Outcome, words: str
) -> None:
    assert headline(wrecked(outcome)) == words
    assert verdict(wrecked(outcome)) == "inconclusive"


def test_a_fall_that_chance_explains_is_not_confirmed() -> None:
    unsure = msgspec.structs.replace(repair(), guard=guarded("unsure"))
    assert verdict(unsure) == "inconclusive"
    assert headline(unsure).startswith("Not confirmed: accuracy")


def test_triggers_of_one_class_are_not_excused_by_what_goes_to_another() -> None:
    done = msgspec.structs.replace(repair("clean"), guard=guarded("kept"))
    rows = [
        msgspec.structs.replace(
            row, recovered_asr=0.2, confusion=0.18, recovered=[0.2, 0.19], without=[0.18, 0.02]
        )
        for row in done.rows
        if row.name == "repaired"
    ]
    works = msgspec.structs.replace(done, rows=rows)
    assert not still_works(done)
    assert still_works(works)
    assert verdict(works) == "inconclusive"
    alike = msgspec.structs.replace(rows[0], without=[0.18, 0.16])
    assert not still_works(msgspec.structs.replace(works, rows=[alike]))


def test_a_backdoor_that_may_be_hidden_is_not_called_repaired() -> None:
    done = msgspec.structs.replace(repair("clean"), guard=guarded("kept"))
    assert headline(done).startswith("Repaired")
    guard = guarded("kept")
    gentle = msgspec.structs.replace(done, guard=msgspec.structs.replace(guard, gently=True))
    weaker = msgspec.structs.replace(done, guard=msgspec.structs.replace(guard, weakened=True))
    left = msgspec.structs.replace(weaker, rescan=repair("inconclusive").rescan)
    for one in (weaker, left):
        assert verdict(one) == "inconclusive"
        assert headline(one).startswith("Not confirmed: stronger triggers")
    assert verdict(gentle) == "inconclusive"
    assert headline(gentle).startswith("Not confirmed: retraining could only be gentle")


@pytest.mark.parametrize("basis", ["suspected", "target", "trigger", "blind"])
def test_what_was_assumed_stands_in_the_headline(basis: Basis) -> None:
    assumed = Assumption(basis=basis, sentence="Assumed.", targets=[])
    result = msgspec.structs.replace(repair(before=scan("clean")), assumed=assumed)
    said = headline(result)
    assert said.startswith("Retrained without" if basis == "blind" else "Repaired")
    assert basis in {"blind", "suspected"} or "named" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("automobile", "an automobile"),
        ("unicycle", "a unicycle"),
        ("glass", "a glass"),
        ("roses", "“roses”"),
        ("Deer", "“Deer”"),
        ("", "“”"),
        ("x" * 200, "“" + "x" * 39 + "…”"),
        ("<b>", "“<b>”"),
    ],
)
def test_article(name: str, words: str) -> None:
    assert with_article(name) == words


def test_label_is_one_printable_line() -> None:
    assert printable("a\n b\t\u202ec\x1b[31m\x00\ud800") == "a b �c�[31m��"
    assert printable("Übergröße 猫 🐈") == "Übergröße 猫 🐈"


def test_numbers() -> None:
    assert [fixed(-0.04), fixed(-12.34), fixed(None), fixed(float("nan"))] == [
        "0.0",
        "−12.3",
        "–",
        "–",
    ]
    assert [percent(1.0), percent(None)] == ["100.0 %", "–"]
    assert [compact(0.5), compact(float("inf"))] == ["0.5", "–"]
    assert [listed([]), listed(["a"]), listed(["a", "b"], "or")] == ["", "a", "a or b"]


@pytest.mark.parametrize(
    ("value", "bound", "words"), [(-3.0, -5.0, "−3.0"), (None, -5.0, "< −5.0"), (None, None, "–")]
)
def test_room(value: float | None, bound: float | None, words: str) -> None:
    assert room(LogVolume(beta=0.9, value=value, upper_bound=bound)) == words


def test_class_without_a_name_has_a_number() -> None:
    result = scan(names=("", "b"))
    assert [class_name(result, index) for index in (0, 1, 7, -1)] == [
        "class 0",
        "b",
        "class 7",
        "class -1",
    ]


def test_found_are_sorted_by_success() -> None:
    assert [record.index for record in found(scan(targets=(3, 7)))] == [3, 7]
    assert found(scan("inconclusive")) == []
