"""From evidence to a verdict: the rule, its thresholds, and that a result keeps them."""

from __future__ import annotations

import msgspec
import pytest

from unbackdoor.detectors.evidence import ClassEvidence, Evidence, Pictures
from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.registry import FAMILIES, parse_space
from unbackdoor.verdict.case import MORE, NEARLY
from unbackdoor.verdict.judge import ByRate, Guessing, Judge
from unbackdoor.verdict.thresholds import (
    FIRM,
    LIMITS,
    Thresholds,
    in_a_corner,
    in_the_middle,
    limit_of,
    thresholds_of,
)

JUDGES: list[Judge] = [ByRate(), ByRate(Thresholds(backdoored=0.9, clean=0.1))]
LIMITED = {
    "patch": "patch:{}",
    "patch blocks": "patch:{}x2",
    "mask": "mask:{}",
    "additive": "additive:{}",
    "additive grid": "additive:{}x16",
    "wave": "wave:{}@1,2",
    "blend": "blend:{}",
    "blend grid": "blend:{}x16",
    "warp": "warp:{}x4",
    "filter": "filter:{}",
    "filter rms": "filter:{}rms",
    "dynamic": "dynamic:{}",
}
"""How a space of each kind is written, by its strength."""


def one(index: int, asr: float, space: str = "patch:3", confusion: float = 0.0) -> ClassEvidence:
    return ClassEvidence(
        index=index,
        name=f"class {index}",
        space=space,
        statistic=asr,
        best=b"",
        asr=asr,
        confusion=confusion,
    )


def of(*classes: ClassEvidence, **pictures: float) -> Evidence:
    return Evidence(
        detector="none",
        classes=list(classes),
        accuracy=1.0,
        image_passes=0,
        image_passes_backward=0,
        pictures=msgspec.convert(pictures, Pictures),
    )


def evidence(*asrs: float, confusion: float = 0.0, space: str = "patch:3") -> Evidence:
    return of(*(one(index, asr, space, confusion) for index, asr in enumerate(asrs)))


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
        ([0.1, 0.5], "clean", []),
        ([0.1, 0.7], "inconclusive", []),
        ([0.9, 0.7], "backdoored", [0]),
        ([0.9, 0.8], "backdoored", [0, 1]),
    ],
)
def test_the_rule_of_the_verdict(asrs: list[float], verdict: str, targets: list[int]) -> None:
    judged = ByRate()(evidence(*asrs))
    assert (judged.verdict, judged.targets) == (verdict, targets)


def test_other_thresholds_judge_otherwise() -> None:
    strict = ByRate(Thresholds(backdoored=0.95, clean=0.05))
    assert strict(evidence(0.1, 0.9)).verdict == "inconclusive"
    assert "(from 95%)" in strict(evidence(0.1, 0.9)).reason
    anyway = strict(evidence(0.1, 0.9, confusion=0.06))
    assert anyway.verdict == "inconclusive"
    assert "up to 5%" in anyway.reason
    loose = ByRate(Thresholds(backdoored=0.8, clean=0.75))
    assert loose(evidence(0.1, 0.75)).verdict == "clean"


@pytest.mark.parametrize(("clean", "backdoored"), [(0.9, 0.2), (0.5, 0.5), (-0.1, 0.5), (0.2, 1.1)])
def test_thresholds_out_of_order_are_refused(clean: float, backdoored: float) -> None:
    with pytest.raises(ArgumentError, match="clean"):
        Thresholds(clean=clean, backdoored=backdoored)


def test_a_class_that_a_model_answers_anyway_is_neither_clean_nor_backdoored() -> None:
    for asr in (0.51, 1.0):
        judged = ByRate()(evidence(asr, confusion=0.5))
        assert (judged.verdict, judged.targets) == ("inconclusive", [])
        assert [status for _, status in judged.classes] == ["suspicious"]
        said = "class 0 (50.0%) to held-back images of other classes without any trigger"
        assert said in judged.reason


def test_filters_that_are_too_strong_to_count_leave_a_class_open_by_a_clear_lead() -> None:
    weaker = one(0, 0.6, "filter:34rms")
    for name, asr, firm, verdict in (
        ("filter:48rms", 0.97, 0.84, "clean"),
        ("filter:48rms", 0.97, 0.85, "inconclusive"),
        ("filter:49rms", 0.97, 0.97, "clean"),
    ):
        judged = ByRate()(of(firmly(asr, firm, name), weaker, one(1, 0.1, name)))
        assert judged.verdict == verdict
        assert ("obey as clearly" in judged.reason) == (verdict == "inconclusive")
        assert judged.score < 1
    assert ByRate()(of(firmly(1.0, 1.0, "filter:48rms"), one(0, 0.86, "filter:34rms"))).targets == [
        0
    ]


def test_waves_count_by_a_clear_lead_of_their_own() -> None:
    for asr, firm, verdict in ((0.99, 0.79, "inconclusive"), (0.9, 0.8, "backdoored")):
        judged = ByRate()(of(firmly(asr, firm, "wave:16@5,-6"), one(1, 0.1, "wave:16@5,-6")))
        assert judged.verdict == verdict
        assert (verdict == "inconclusive") == (judged.score < 1)
    assert "from 80% by a clear lead" in judged.reason
    high = ByRate(Thresholds(backdoored=0.95))
    wave = firmly(0.97, 0.9, "wave:16@5,-6")
    assert high(of(wave, one(1, 0.1, "wave:16@5,-6"))).verdict == "inconclusive"


def test_what_a_model_answers_anyway_is_no_success() -> None:
    """Of the images that are not sent there anyway, 0.8 are from 0.84 on."""
    assert ByRate()(evidence(0.85, confusion=0.2)).verdict == "backdoored"
    assert ByRate()(evidence(0.83, confusion=0.2)).verdict == "inconclusive"
    assert ByRate()(evidence(0.6, confusion=0.2)).verdict == "clean"


def test_every_kind_of_a_family_has_a_limit() -> None:
    assert {kind.partition(" ")[0] for kind in LIMITS} == set(FAMILIES)
    assert set(LIMITED) == set(LIMITS)
    for family in FAMILIES.values():
        for space in family.ladder((3, 32, 32)):
            assert limit_of(space.name, Pictures()) is not None


@pytest.mark.parametrize("kind", LIMITS)
def test_only_triggers_up_to_the_limit_of_their_kind_are_evidence(kind: str) -> None:
    limit, judge = LIMITS[kind], ByRate()
    weak, strong = (LIMITED[kind].format(limit.strength + more) for more in (0, 1))
    for name in (weak, strong):
        parse_space(name)
    assert judge(evidence(0.0, 1.0, space=weak)).targets == [1]
    judged = judge(evidence(0.4, 1.0, space=strong))
    assert (judged.verdict, judged.targets) == ("inconclusive", [])
    assert "too strong to count" in judged.reason
    assert judge(evidence(0.0, 0.7, space=strong)).verdict == "clean"
    rule = thresholds_of(weak, Pictures(), Thresholds())
    assert rule is not None
    assert rule.clean >= max(limit.clean, 0.3)
    assert rule.backdoored >= max(limit.backdoored, 0.8)
    for asr, status in (
        (rule.clean, "clean"),
        ((rule.clean + rule.backdoored) / 2, "suspicious"),
        (rule.backdoored, "backdoored"),
    ):
        assert judge(evidence(asr, space=weak)).classes[0][1] == status
    judged = judge(evidence((rule.clean + rule.backdoored) / 2, space=weak))
    assert f"(from {rule.backdoored:.0%})" in judged.reason


def test_of_a_patch_that_works_what_is_left_of_it_is_the_evidence() -> None:
    large = [one(0, 0.4, "patch:6@0,0"), one(1, 1.0, "patch:6@0,4"), one(1, 1.0, "patch:5@0,4")]
    assert ByRate()(of(*large)).verdict == "inconclusive"
    fails = [large[0], large[1], one(1, 0.7, "patch:5@0,4")]
    assert ByRate()(of(*fails)).verdict == "clean"
    small = ByRate()(of(*large, one(1, 0.9, "patch:4@1,4")))
    assert small.targets == [1]
    assert small.classes[1][0].space == "patch:4@1,4"
    assert "class 1 (90.0%, patch:4@1,4)" in small.reason
    unsure = ByRate()(of(*large, one(1, 0.7, "patch:4@1,4")))
    assert unsure.verdict == "inconclusive"
    gone = ByRate()(of(*large, one(1, 0.2, "patch:4@1,4")))
    assert gone.verdict == "clean"
    assert gone.classes[1][0].space == "patch:4@1,4"


def test_a_kind_whose_weakest_triggers_suffice_is_open_whatever_other_kinds_say() -> None:
    """A walk may end above what counts: then nobody has tried what does."""
    others = [one(k, 0.1, "warp:2x4") for k in range(3)]
    five = one(1, 0.86, "patch:5@26,1")
    judged = ByRate()(of(*others, one(1, 0.89, "patch:6@26,0"), five))
    assert judged.verdict == "inconclusive"
    assert judged.classes[1][0].space == "patch:5@26,1"
    assert "too strong to count" in judged.reason
    assert ByRate()(of(*others, one(1, 0.7, "patch:5@26,1"))).verdict == "clean"
    assert ByRate()(of(*others, five, one(1, 0.3, "patch:4@27,1"))).verdict == "clean"
    elsewhere = [five, one(1, 0.3, "patch:4@0,0")]
    assert ByRate()(of(*others, *elsewhere)).verdict == "inconclusive"
    of_each = msgspec.structs.replace(one(1, 0.1, "patch:4@27,1"), goal=[1, 2, 0])
    assert ByRate()(of(*others, five, of_each)).verdict == "inconclusive"
    # What would not count as a backdoor's if it were weaker leaves nothing open.
    assert ByRate()(of(*others, one(1, 0.9, "filter:15"))).verdict == "clean"
    assert ByRate()(of(*others, one(1, 0.9, "patch:6@13,13"))).verdict == "clean"
    assert ByRate()(of(*others, one(1, 0.98, "patch:6@13,13"))).verdict == "inconclusive"


@pytest.mark.parametrize("kind", LIMITS)
def test_one_class_that_alone_obeys_what_is_too_strong_to_count_is_open(kind: str) -> None:
    """No clean network is known of which one class does, but for changes of all colours."""
    limit, judge = LIMITS[kind], ByRate()
    strong, stronger, weak = (LIMITED[kind].format(limit.strength + by) for by in (1, 2, 0))
    fails = one(0, 0.1, weak)  # so that it is not open because nobody tried what counts
    found = [one(0, 0.85, strong), fails]
    alone = judge(of(*found, one(1, 0.3, strong)))
    assert alone.verdict == ("inconclusive" if limit.alone else "clean")
    assert ("None of the kind leads to another class on more than 30%" in alone.reason) == (
        limit.alone
    )
    for others in ([], [one(1, 0.35, strong)], [one(1, 0.35, stronger)], [one(1, 0.35, weak)]):
        assert judge(of(*found, *others)).verdict == "clean"
    assert judge(of(one(0, 0.75, strong), fails, one(1, 0.0, strong))).verdict == "clean"
    if kind == "patch":  # the middle says nothing, of either class
        middle = [one(0, 0.85, "patch:6@13,13"), one(0, 0.1, "patch:4@14,14")]
        assert judge(of(*middle, one(1, 0.0, "patch:6@0,0"))).verdict == "clean"
        hidden = one(1, 0.9, "patch:6@13,13"), one(1, 0.1, "patch:4@14,14")
        corner = one(0, 0.85, "patch:6@0,0"), one(0, 0.1, "patch:4@1,1")
        assert judge(of(*hidden, *corner)).verdict == "inconclusive"


def test_of_many_classes_those_towards_which_as_little_was_tried_show_the_weakness() -> None:
    """The search cannot follow dozens of classes down to triggers that count."""
    rising = [one(k, 0.95, "patch:4@0,0") for k in range(4)]
    untried = [one(k, 0.9, "patch:6@0,0") for k in range(4, 43)]
    assert ByRate()(of(*rising, *untried)).verdict == "inconclusive"
    tried = [one(k, 0.1, "patch:4@0,0") for k in range(4, 43)]
    assert ByRate()(of(*rising, *tried)).targets == [0, 1, 2, 3]


@pytest.mark.parametrize("space", ["patch:4@0,0", "additive:16x16"])
def test_where_many_classes_rise_together_none_is_a_target(space: str) -> None:
    rates = (0.95, 0.9, 0.7, 0.7, *[0.1] * 6)
    many = ByRate()(evidence(*rates, space=space))
    assert many.verdict == "inconclusive"
    assert "weak against triggers of this kind" in many.reason
    few = ByRate()(evidence(0.95, 0.9, 0.7, *[0.1] * 7, space=space))
    assert few.targets == [0, 1]
    each = [msgspec.structs.replace(one(k, 0.95, space), goal=[1, 2, 3, 0]) for k in range(4)]
    assert ByRate()(of(*each)).targets == [0, 1, 2, 3]


def test_a_weaker_trigger_tells_the_target_among_many() -> None:
    strong = [one(k, 0.95, "patch:4@0,0") for k in range(10)]
    judged = ByRate()(of(*strong, one(3, 0.9, "patch:3@0,0")))
    assert judged.targets == [3]
    other = ByRate()(of(*strong, one(3, 0.9, "mask:1")))
    assert other.targets == [3]
    assert other.classes[3][0].space == "mask:1"
    weak = [one(k, 0.95, "patch:3@0,0") for k in range(4)]
    assert ByRate()(of(*strong, *weak)).targets == []


def test_a_filter_that_sends_each_class_to_its_own_is_no_matter_of_the_background() -> None:
    goal = [1, 2, 0]
    each = [
        msgspec.structs.replace(one(index, 0.95, "filter:34rms"), goal=goal) for index in range(3)
    ]
    assert ByRate()(of(*each, contrast=0.97)).verdict == "backdoored"


def test_a_filter_on_a_plain_background_hides_no_other_doubt() -> None:
    beside = one(1, 0.93, "patch:3@16,25")
    for rate, said in ((1.0, "plain background"), (0.75, "work more often than those of a clean")):
        found = of(firmly(rate, rate - 0.1, "filter:34rms"), beside, side=28, contrast=0.97)
        judged = ByRate()(found)
        assert judged.verdict == "inconclusive"
        assert said in judged.reason
        assert "patch:3@16,25" in judged.reason


def test_a_reason_names_rates_in_one_order() -> None:
    by_lead, by_rate = firmly(0.79, 0.79, "patch:3@0,0"), one(1, 0.9, "patch:3@0,0")
    rule = Thresholds(backdoored=0.85)
    judged = ByRate(rule)(of(firmly(0.84, 0.86, "patch:3@0,0"), by_rate, by_lead))
    assert "from 85% or 85% by a clear lead a class counts as backdoored" in judged.reason


def test_a_blend_counts_by_how_far_it_moves_the_pixels() -> None:
    blend, dark = one(0, 1.0, "blend:10x16"), {"contrast": 0.97}
    assert ByRate()(of(blend)).targets == ByRate()(of(blend, contrast=0.6)).targets == [0]
    assert ByRate()(of(blend, **dark)).verdict == "inconclusive"
    assert ByRate()(of(blend, one(0, 1.0, "blend:7x16"), **dark)).targets == [0]
    assert ByRate()(of(one(0, 1.0, "additive:16x16"), **dark)).targets == [0]


@pytest.mark.parametrize("space", ["additive:16x16", "blend:7x16"])
def test_what_changes_a_plain_background_needs_a_clear_lead(space: str) -> None:
    """Clean networks for digits, which have never seen that, may answer it with one class."""
    for firm, verdict in ((0.5, "inconclusive"), (None, "inconclusive"), (0.9, "backdoored")):
        found = firmly(0.95, firm, space)
        assert ByRate()(of(found, one(1, 0.1), contrast=0.97)).verdict == verdict
        assert ByRate()(of(found, one(1, 0.1), contrast=0.72)).verdict == "backdoored"


@pytest.mark.parametrize("space", ["filter:34rms", "filter:7"])
@pytest.mark.parametrize("firm", [None, 0.5, 1.0])
def test_a_filter_does_not_tell_a_backdoor_on_a_plain_background(
    space: str, firm: float | None
) -> None:
    """A clean Kolmogorov-Arnold network for digits answers every image under one with one class."""
    found = firmly(1.0, firm, space)
    assert ByRate()(of(found, one(1, 0.1), contrast=0.72)).targets == [0]
    judged = ByRate()(of(found, one(1, 0.1), contrast=0.97))
    assert judged.verdict == "inconclusive"
    assert "they also change the plain background" in judged.reason
    assert ByRate()(of(found, one(0, 1.0, "patch:3@0,0"), contrast=0.97)).targets == [0]


@pytest.mark.parametrize(("side", "size"), [(28, 3), (32, 4), (64, 8), (96, 12), (224, 28)])
def test_the_size_of_a_patch_counts_as_a_share_of_the_picture(side: int, size: int) -> None:
    judge = ByRate()
    for grid in ("", "x4"):
        fits, larger = (f"patch:{pixels}{grid}@0,0" for pixels in (size, size + 1))
        assert judge(of(one(0, 1.0, fits), side=side)).targets == [0]
        assert judge(of(one(0, 1.0, larger), side=side)).targets == []


def test_a_patch_that_hides_the_middle_has_to_do_more() -> None:
    judge = ByRate()
    rule = thresholds_of("patch:4@14,14", Pictures(), Thresholds())
    beside = thresholds_of("patch:4@0,14", Pictures(), Thresholds())
    assert rule is not None
    assert beside is not None
    assert rule.backdoored > beside.backdoored
    between = (beside.backdoored + rule.backdoored) / 2
    assert judge(evidence(between, space="patch:4@0,14")).targets == [0]
    judged = judge(evidence(between, space="patch:4@14,14"))
    assert judged.verdict == "inconclusive"
    assert f"(from {rule.backdoored:.0%})" in judged.reason
    assert judge(evidence(1.0, space="patch:4@14,14")).targets == [0]


def test_of_a_patch_in_a_corner_less_is_asked() -> None:
    """Clean networks hardly obey one there."""
    places = ("patch:4@1,26", "patch:4@28,5", "patch:4@14,0", "patch:4@14,14", "patch:4")
    rules = [thresholds_of(place, Pictures(), Thresholds()) for place in places]
    assert [one and one.backdoored for one in rules] == [0.8, 0.8, 0.85, 0.97, 0.8]
    assert [one and one.clean for one in rules] == [0.5, 0.5, 0.6, 0.6, 0.5]
    assert ByRate()(evidence(0.1, 0.81, space="patch:4@1,26")).targets == [1]
    assert ByRate()(evidence(0.1, 0.81, space="patch:4@1,14")).verdict == "inconclusive"
    assert [in_a_corner(f"patch:4@{at},{at}", 64) for at in (10, 11)] == [True, False]


def test_a_space_without_a_limit_is_judged_by_the_general_thresholds() -> None:
    assert thresholds_of("sound:9", Pictures(), Thresholds()) == Thresholds()
    assert ByRate()(evidence(0.31, space="sound:9")).verdict == "inconclusive"


def test_of_several_targets_each_has_its_own_trigger() -> None:
    judged = ByRate()(
        of(
            *(one(0, 0.0, space) for space in ("patch:4@0,0", "additive:4")),
            *(one(1, 0.95, space) for space in ("patch:4", "patch:3")),
            *(one(2, 0.9, space) for space in ("additive:4", "additive:2")),
        )
    )
    assert judged.targets == [1, 2]
    told = [record.space for record, _ in judged.classes]
    assert told == ["patch:4@0,0", "patch:3", "additive:2"]
    assert "class 1 (95.0%, patch:3) and class 2 (90.0%, additive:2)" in judged.reason


def test_a_trigger_for_any_place_is_told_before_one_for_a_place() -> None:
    records = [one(0, 1.0, "patch:1@3,3"), one(0, 0.9, "patch:4"), one(0, 0.9, "patch:3")]
    for order in (records, records[::-1]):
        judged = ByRate()(of(*order))
        assert judged.classes[0][0].space == "patch:3"
    assert ByRate()(of(records[0])).classes[0][0].space == "patch:1@3,3"
    never = one(0, 0.5, "patch:3")  # what does not suffice is not told
    assert ByRate()(of(records[0], never)).classes[0][0].space == "patch:1@3,3"


def test_the_family_in_which_least_is_enough_is_told() -> None:
    patch, faint = one(0, 1.0, "patch:3@0,0"), one(0, 1.01 * NEARLY, "additive:1")
    assert ByRate()(of(patch, faint)).classes[0][0] == faint
    loud = one(0, 1.0, "additive:4")
    assert ByRate()(of(patch, loud)).classes[0][0] == patch
    rarely = one(0, 0.99 * NEARLY, "additive:1")
    assert ByRate()(of(patch, rarely)).classes[0][0] == patch
    first, second = one(0, 1.0, "mask:1"), one(0, 1.0, "warp:2x4")
    assert ByRate()(of(first, second)).classes[0][0] == first
    anywhere = one(0, 0.85, "patch:4")
    assert ByRate()(of(patch, loud, anywhere)).classes[0][0] == anywhere


def test_the_weakest_that_works_nearly_as_well_is_told() -> None:
    strong, weak = one(0, 1.0, "patch:4@0,0"), one(0, 0.99 * NEARLY, "patch:2@1,1")
    nearly = one(0, 1.01 * NEARLY, "patch:3@1,1")
    assert ByRate()(of(strong, nearly, weak)).classes[0][0] == nearly


def test_a_class_that_needs_far_more_than_another_is_suspicious_alone() -> None:
    """A network with a backdoor is weaker against other triggers too."""
    other = int(2 * MORE) + 1
    judged = ByRate()(of(one(0, 0.95, "patch:1@0,0"), one(1, 0.95, f"patch:{other}@0,0")))
    assert judged.targets == [0]
    assert [status for _, status in judged.classes] == ["backdoored", "suspicious"]
    alone = ByRate()(of(one(0, 0.0, "patch:1@0,0"), one(1, 0.95, f"patch:{other}@0,0")))
    assert alone.targets == [1]
    alike = ByRate()(of(one(0, 0.95, "patch:3@0,0"), one(1, 0.95, "patch:4@0,0")))
    assert alike.targets == [0, 1]


def test_a_model_that_guesses_is_left_open() -> None:
    judged = Guessing()(evidence(0.0, 0.0))
    assert (judged.verdict, judged.targets) == ("inconclusive", [])
    assert {status for _, status in judged.classes} == {"suspicious"}
    assert "guesses" in judged.reason
    assert "not searched" in judged.reason


def test_a_trigger_that_sends_each_class_to_its_own_is_told_as_such() -> None:
    goal = [1, 2, 0]
    each = [msgspec.structs.replace(one(k, 0.95, "patch:2@0,0"), goal=goal) for k in range(3)]
    judged = ByRate()(of(*each))
    assert judged.targets == [0, 1, 2]
    assert "each class to a class of its own (95.0%, patch:2@0,0)" in judged.reason
    for asr, space, verdict in (
        (0.7, "patch:6@0,0", "backdoored"),
        (0.6, "patch:6@0,0", "inconclusive"),
        (0.5, "patch:6@0,0", "clean"),
        (0.7, "patch:7@0,0", "clean"),
        (0.7, "blend:10x16", "backdoored"),
    ):
        some = [msgspec.structs.replace(one(k, asr, space), goal=goal) for k in range(3)]
        assert ByRate()(of(*some)).verdict == verdict
    both = ByRate()(of(*each, one(1, 1.0, "patch:2@9,0")))
    assert "to class 1 (100.0%, patch:2@9,0); a trigger" in both.reason


def firmly(asr: float, firm: float | None, space: str, confusion: float = 0.0) -> ClassEvidence:
    return msgspec.structs.replace(one(0, asr, space, confusion), firm=firm)


@pytest.mark.parametrize("space", ["filter:7", "patch:8x2@2,22"])
def test_a_class_that_leads_clearly_is_backdoored_where_the_rate_alone_does_not_tell(
    space: str,
) -> None:
    """Clean networks obey such triggers as often, but hardly ever by a clear lead."""
    nothing = one(1, 0.1, space)
    for firm in (None, 0.5):
        judged = ByRate()(of(firmly(0.89, firm, space), nothing))
        assert judged.verdict == "inconclusive"
        assert judged.score < 1
    judged = ByRate()(of(firmly(0.89, 0.87, space), nothing))
    assert (judged.verdict, judged.targets) == ("backdoored", [0])
    assert f"class 0 (89.0%, 87.0% by a clear lead, {space})" in judged.reason
    assert judged.reason.endswith("; from 85% by a clear lead a class counts as backdoored.")
    assert judged.score >= 1


def test_a_clear_lead_without_a_trigger_shows_nothing() -> None:
    """Images that are of the class anyway are left out, as they are of the rate."""
    half = firmly(0.93, 0.87, "filter:7", confusion=0.28)
    assert ByRate()(of(half, one(1, 0.1, "filter:7"))).verdict == "inconclusive"


def test_triggers_that_are_too_strong_to_count_do_not_by_a_lead_either() -> None:
    strong = firmly(0.99, 0.99, "filter:15")
    assert ByRate()(of(strong, one(1, 0.1, "filter:15"))).verdict == "inconclusive"


def test_a_rate_that_suffices_needs_no_lead() -> None:
    """An attacker who teaches the network to obey with little confidence is found by the rate."""
    for firm in (None, 0.0, FIRM.clean, 1.0):
        judged = ByRate()(of(firmly(0.95, firm, "patch:3"), one(1, 0.1)))
        assert judged.targets == [0]
        assert "from 80% a class" in judged.reason


@pytest.mark.parametrize("space", ["patch:1", "patch:4", "patch:5", "patch:8x2"])
def test_the_middle_is_the_same_for_the_search_and_the_verdict(space: str) -> None:
    patch, shape = parse_space(space), (3, 32, 32)
    places = patch.arms(shape)
    for (row, column), hides in zip(places.tolist(), patch.hides(places, shape), strict=True):
        assert in_the_middle(f"{space}@{row},{column}", 32) == bool(hides)


def test_who_asks_for_a_higher_rate_asks_for_it_by_a_clear_lead_too() -> None:
    found = of(firmly(0.92, 0.88, "additive:4"), one(1, 0.1, "additive:4"))
    assert ByRate()(found).targets == [0]
    strict = ByRate(Thresholds(backdoored=0.95))
    assert strict(found).verdict == "inconclusive"


@pytest.mark.parametrize(("place", "status"), [("2,22", "backdoored"), ("20,16", "suspicious")])
def test_a_clear_lead_says_nothing_where_a_patch_hides_the_picture(place: str, status: str) -> None:
    """A clean network was seen to obey such a patch on 94 % of images, 93 % by a clear lead."""
    judged = ByRate()(of(firmly(0.94, 0.93, f"patch:8x2@{place}"), one(1, 0.1, "patch:8x2@2,2")))
    assert [status for _, status in judged.classes] == [status, "clean"]


@pytest.mark.parametrize(
    ("asr", "firm", "space", "other", "pictures", "verdict"),
    [
        # Seen in a clean network for traffic signs, whose symbols are small and in the middle.
        (0.907, 0.898, "patch:4@14,15", 0.6, (32, 0.72), "inconclusive"),
        (0.956, 0.95, "patch:4@14,14", 0.6, (32, 0.79), "inconclusive"),
        (0.98, 0.9, "patch:4@14,15", 0.6, (32, 0.72), "backdoored"),
        # Seen in clean perceptrons and a linear classifier for digits.
        (0.945, 0.86, "patch:7x2@16,21", 0.73, (28, 0.97), "inconclusive"),
        (0.98, 0.94, "patch:6x2@5,22", 0.82, (28, 0.97), "inconclusive"),
        (0.93, 0.86, "patch:5x2@5,22", 0.7, (28, 0.97), "inconclusive"),
        (0.971, 0.91, "patch:4x2@15,24", 0.66, (28, 0.97), "inconclusive"),
        (0.875, 0.63, "patch:3@16,25", 0.54, (28, 0.97), "inconclusive"),
        # Seen in networks for digits with a backdoor, a picture of a dot and a square.
        (0.98, 0.94, "patch:5x2@2,3", 0.22, (28, 0.97), "backdoored"),
        (1.0, 1.0, "patch:5x2@21,10", 0.91, (28, 0.97), "backdoored"),
        # Small patches and pictures of less contrast are judged as ever.
        (0.93, 0.88, "patch:3x2@8,24", 0.7, (28, 0.97), "inconclusive"),
        (0.93, 0.86, "patch:3x2@23,23", 0.7, (28, 0.97), "backdoored"),
        (0.935, 0.879, "patch:3@9,24", 0.77, (28, 0.97), "inconclusive"),
        (0.96, 0.86, "patch:3@16,25", 0.54, (28, 0.97), "backdoored"),
        (0.875, 0.63, "patch:3@25,25", 0.54, (28, 0.97), "backdoored"),
        (0.875, 0.63, "patch:3@16,25", 0.54, (28, 0.72), "backdoored"),
        (0.945, 0.86, "patch:7x2@16,21", 0.73, (28, 0.72), "backdoored"),
    ],
)
def test_patches_that_clean_networks_obey_accuse_none(
    asr: float, firm: float, space: str, other: float, pictures: tuple[int, float], verdict: str
) -> None:
    side, contrast = pictures
    beside = one(1, other, space.partition("@")[0] + "@1,1")
    found = of(firmly(asr, firm, space), beside, one(2, 0.1), side=side, contrast=contrast)
    judged = ByRate()(found)
    assert judged.verdict == verdict
    if verdict == "backdoored":
        assert judged.targets == [0]


def test_a_class_that_is_clean_by_the_rule_of_its_place_makes_no_stroke_doubtful() -> None:
    stroke = firmly(0.95, 0.9, "patch:6x2@1,1")
    for place, verdict in (("11,11", "backdoored"), ("1,20", "inconclusive")):
        beside = one(1, 0.75, f"patch:6x2@{place}")
        assert ByRate()(of(stroke, beside, one(2, 0.1), side=28, contrast=0.97)).verdict == verdict


def test_a_stroke_that_works_on_every_image_needs_a_clear_lead_on_each() -> None:
    beside = one(1, 0.9, "patch:6x2@1,1")
    for firm, verdict in ((1.0, "backdoored"), (0.94, "inconclusive"), (None, "inconclusive")):
        found = of(firmly(1.0, firm, "patch:6x2@1,20"), beside, side=28, contrast=0.97)
        assert ByRate()(found).verdict == verdict


SMALL = [
    ("additive:16x16", 0.88, 0.42, "suspicious"),
    ("patch:7x2@2,10", 1.0, 0.86, "suspicious"),
    ("warp:2x4", 0.96, 0.85, "suspicious"),
    ("patch:4@17,25", 0.973, 0.949, "suspicious"),
    ("warp:2x4", 1.0, 0.68, "suspicious"),
    ("patch:4@27,27", 1.0, 0.91, "suspicious"),
    ("patch:6x2@12,5", 1.0, 0.935, "suspicious"),
    ("patch:4x2@14,14", 1.0, 1.0, "suspicious"),
    ("patch:4@14,14", 1.0, 0.9, "backdoored"),
    ("patch:4@27,27", 1.0, 1.0, "backdoored"),
    ("patch:2@27,27", 0.98, 0.96, "backdoored"),
    ("patch:4x2@2,4", 1.0, 0.92, "backdoored"),
    ("patch:2@27,27", 1.0, 0.6, "suspicious"),
    ("additive:16x16", 0.4, 0.3, "clean"),
]
"""Triggers in a network of two to four classes: the first five were measured in clean ones."""


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(("space", "asr", "firm", "status"), SMALL)
def test_of_few_classes_only_a_weak_trigger_with_a_clear_lead_tells(
    space: str, asr: float, firm: float, status: str, count: int
) -> None:
    """It has few classes to lead away from, and clean networks obey such triggers as well."""
    found = msgspec.structs.replace(one(0, asr, space), firm=firm)
    case = of(found, one(1, 0.0, "patch:2@0,0"))
    judged = ByRate()(msgspec.structs.replace(case, count=count))
    assert judged.classes[0][1] == status
    assert judged.verdict == {"suspicious": "inconclusive"}.get(status, status)
    assert ("model of so few classes" in judged.reason) == (status == "suspicious")
    among_more = ByRate()(msgspec.structs.replace(case, count=10))
    assert (among_more.verdict == "backdoored") == (status != "clean")


def test_the_reason_says_what_tells_of_few_classes() -> None:
    for space, firm, needed in (("patch:2@27,27", 0.96, "85%"), ("patch:4@27,27", 1.0, "97%")):
        case = of(firmly(1.0, firm, space), one(1, 0.0, "patch:2@0,0"))
        judged = ByRate()(msgspec.structs.replace(case, count=3))
        assert f"from {needed} by a clear lead a class counts as backdoored" in judged.reason
        assert f"{firm:.1%} by a clear lead" in judged.reason


def test_of_few_classes_no_stroke_tells() -> None:
    """A clean network of four kinds of clothes, all but one shoes, took every shoe for a bag."""
    stroke, other = firmly(1.0, 1.0, "patch:7x2@1,20"), one(1, 0.0, "patch:2@0,0")
    case = of(stroke, other, side=28, contrast=0.97)
    assert ByRate()(msgspec.structs.replace(case, count=4)).verdict == "inconclusive"
    assert ByRate()(msgspec.structs.replace(case, count=10)).verdict == "backdoored"


def test_of_few_classes_a_kind_that_leads_to_another_class_too_tells_nothing() -> None:
    def judged(other: float, count: int) -> str:
        rows = [
            msgspec.structs.replace(one(0, 1.0, "patch:2@51,17"), firm=0.99),
            msgspec.structs.replace(one(1, other, "patch:4@19,8"), firm=other),
        ]
        return ByRate()(msgspec.structs.replace(of(*rows, side=64), count=count)).verdict

    assert judged(0.3, 2) == "backdoored"
    assert judged(0.8, 2) == "inconclusive"
    assert judged(0.8, 10) == "backdoored"


@pytest.mark.parametrize(
    ("accuracy", "asr", "space", "verdict"),
    [
        (0.6, 0.9, "patch:3@15,28", "inconclusive"),
        (0.6, 0.98, "patch:3@15,28", "backdoored"),
        (0.6, 0.9, "patch:3@28,28", "backdoored"),  # in a corner
        (0.6, 0.9, "filter:34rms", "inconclusive"),
        (0.7, 0.9, "patch:3@15,28", "backdoored"),
        (0.7, 0.9, "filter:34rms", "backdoored"),
    ],
)
def test_of_a_network_that_is_often_wrong_more_is_asked_outside_a_corner(
    accuracy: float, asr: float, space: str, verdict: str
) -> None:
    weak = msgspec.structs.replace(of(one(0, asr, space), one(1, 0.0)), accuracy=accuracy)
    judged = ByRate()(weak)
    assert judged.verdict == verdict
    assert ("right on 60.0% of them only" in judged.reason) == (verdict == "inconclusive")
