"""What was planted stands in the header of a checkpoint, and comes back from there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from unbackdoor.attack import backdoor_of, planted_in, provenance
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.data import Images, Split
from unbackdoor.errors import ArgumentError
from unbackdoor.models import shipped
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.patch import Patch

SHAPE = (3, 8, 8)
IMAGES = Images.of(
    "toy",
    ("a", "b", "c"),
    torch.zeros(60, *SHAPE, dtype=torch.uint8),
    torch.arange(60) % 3,
)
SETTINGS = AttackSettings(data="toy", triggers=("bw:170",), target=1, rate=0.1)


def header(settings: AttackSettings) -> dict[str, Any]:
    backdoor = backdoor_of(settings, IMAGES)
    facts = provenance(settings, Split(IMAGES, IMAGES), backdoor, 0)
    return json.loads(json.dumps(facts))


@pytest.mark.parametrize(
    "triggers",
    [
        *[("bw:170@5,5",), ("bw:170", "white:2@0,0"), ("additive:sin:2@20",), ("blend:1@0.1",)],
        *[("warp:1@0.5", "filter:1"), ("dynamic:1",)],
    ],
)
@pytest.mark.parametrize("mode", ["all-to-one", "all-to-all", "source:2"])
def test_what_was_planted_comes_back_from_the_header(triggers: tuple[str, ...], mode: str) -> None:
    target = 0 if mode == "all-to-all" else 1
    facts = header(replace(SETTINGS, triggers=triggers, mode=mode, target=target))
    wanted = [parse_trigger(spec, SHAPE) for spec in triggers]
    assert facts["trigger"] == " + ".join(triggers)
    assert facts["target"] == (None if mode == "all-to-all" else 1)
    assert [entry["space"] for entry in facts["triggers"]] == [one.space.name for one in wanted]
    planted = planted_in(facts, IMAGES)
    moves = {
        "all-to-one": [(None, 1)],
        "source:2": [(2, 1)],
        "all-to-all": [(0, 1), (1, 2), (2, 0)],
    }
    assert [(one.trigger.name, one.source, one.target) for one in planted] == [
        (spec, *move) for spec in triggers for move in moves[mode]
    ]
    thetas = {one.name: one.theta for one in wanted}
    assert all(torch.equal(one.trigger.theta, thetas[one.trigger.name]) for one in planted)


def test_the_header_counts_poison_and_cover() -> None:
    (entry,) = header(replace(SETTINGS, cover=0.2))["triggers"]
    assert (entry["poisoned"], entry["cover"]) == (6, 12)
    facts = header(replace(SETTINGS, triggers=("warp:1", "bw:1")))
    assert [(one["poisoned"], one["cover"]) for one in facts["triggers"]] == [(6, 12), (6, 0)]


def test_a_clean_network_says_so() -> None:
    facts = header(replace(SETTINGS, triggers=()))
    assert [facts[key] for key in ("trigger", "target", "mode", "rate")] == [None] * 4
    assert facts["triggers"] == []
    assert planted_in(facts, IMAGES) == ()


def test_older_headers_name_a_patch_at_random_places() -> None:
    digits = parse_trigger("rgb:7x2", SHAPE).to_hex()
    old = {"trigger": "cross.png", "target": 2, "trigger_theta": digits}
    (planted,) = planted_in(old, IMAGES)
    assert (planted.trigger.name, planted.trigger.space) == ("cross.png", Patch(2))
    assert (planted.trigger.to_hex(), planted.target, planted.source) == (digits, 2, None)


def test_the_shipped_models_say_what_was_planted() -> None:
    pixels = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    images = Images.of("cifar10", tuple("abcdefghij"), pixels, torch.arange(10))
    for name, facts in shipped().items():
        found = [(one.trigger.name, one.target) for one in planted_in(facts, images)]
        assert found == ([(facts["trigger"], facts["target"])] if facts["trigger"] else []), name


WRONG: list[dict[str, Any]] = [
    {"target": 3},
    {"target": -1},
    {"target": True},
    {"target": None},
    {"target": "1"},
    {"mode": "all"},
    {"mode": 1},
    {"mode": "source:3"},
    {"triggers": [1]},
    {"triggers": [{}]},
    {"triggers": [{"spec": 1, "space": "patch:1", "theta": "000000"}]},
    {"triggers": [{"spec": "x", "space": "patch:1", "theta": "0000"}]},
    {"triggers": [{"spec": "x", "space": "patch:1", "theta": "zz0000"}]},
    {"triggers": [{"spec": "x", "space": "patch:1@8,0", "theta": "000000"}]},
    {"triggers": [{"spec": "x", "space": "patch:9", "theta": "00" * 243}]},
    {"triggers": [{"spec": "x", "space": "/etc/passwd", "theta": ""}]},
    {"triggers": 3, "trigger": "none.png"},
    {"triggers": None, "trigger": "cross.png", "trigger_theta": "00"},
    {"triggers": None, "trigger": "cross.png", "trigger_theta": ""},
    {"triggers": None, "trigger": "bw:512"},
    {"triggers": None, "trigger": 5},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_header_that_anybody_wrote_is_ignored(wrong: dict[str, Any]) -> None:
    facts = header(SETTINGS)
    assert planted_in(facts, IMAGES)
    assert planted_in({**facts, **wrong}, IMAGES) == ()


def test_a_name_from_outside_is_printable() -> None:
    facts = header(SETTINGS)
    facts["triggers"][0]["spec"] = "a\x1b[31m\nb"
    (planted,) = planted_in(facts, IMAGES)
    assert planted.trigger.name == "a\N{REPLACEMENT CHARACTER}[31m b"


def test_more_values_than_a_header_holds_are_refused_before_any_training() -> None:
    pixels = torch.zeros(1, 3, 600, 600, dtype=torch.uint8).expand(30, -1, -1, -1)
    large = Images.of("large", ("a", "b"), pixels, torch.arange(30) % 2)
    with pytest.raises(ArgumentError, match="at most 1,048,576 values"):
        backdoor_of(replace(SETTINGS, triggers=("blend:1@0.1",)), large)
