from __future__ import annotations

import pytest
import torch

from unbackdoor.attack.goal import goal_of
from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.planted import Planted

LABELS = torch.tensor([0, 1, 2, 3])
TRIGGERS = tuple(parse_trigger(spec, (3, 8, 8)) for spec in ("bw:1", "bw:2"))


@pytest.mark.parametrize(
    ("mode", "sent", "target", "picks"),
    [
        ("all-to-one", [2, 2, 2, 2], 2, False),
        ("all-to-all", [1, 2, 3, 0], None, False),
        ("source:1", [0, 2, 2, 3], 2, True),
    ],
)
def test_a_goal_says_where_each_class_is_sent(
    mode: str, sent: list[int], target: int | None, picks: bool
) -> None:
    goal = goal_of(mode, 2, 4)
    assert goal.of(LABELS).tolist() == sent
    assert (goal.mode, goal.target, goal.picks_sources) == (mode, target, picks)


def test_what_each_trigger_does_is_known() -> None:
    one, two = TRIGGERS
    assert goal_of("all-to-one", 2, 4).planted(TRIGGERS) == (Planted(one, 2), Planted(two, 2))
    assert goal_of("source:1", 2, 4).planted([one]) == (Planted(one, 2, 1),)
    every = goal_of("all-to-all", 0, 4).planted([two])
    assert [(one.source, one.target) for one in every] == [(0, 1), (1, 2), (2, 3), (3, 0)]


def test_with_two_classes_one_source_is_every_other_class() -> None:
    goal = goal_of("source:1", 0, 2)
    assert not goal.picks_sources
    assert goal.planted(TRIGGERS[:1]) == (Planted(TRIGGERS[0], 0),)


@pytest.mark.parametrize(
    ("mode", "target", "words"),
    [
        ("", 0, "--mode: expected all-to-one, all-to-all or source:K, came ''"),
        ("one-to-all", 0, "--mode"),
        ("source:", 0, "--mode"),
        ("source:x", 0, "--mode"),
        ("source:4", 0, "a class K from 0 to 3 other than the target 0"),
        ("source:0", 0, "a class K from 0 to 3 other than the target 0"),
        ("source:1", 4, "--target"),
        ("all-to-one", -1, "--target: the data has classes 0 to 3, came -1"),
    ],
)
def test_a_goal_that_there_is_not_is_an_argument(mode: str, target: int, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        goal_of(mode, target, 4)
