"""The reference networks: their recipes, and the bag that is made of their scans."""

from __future__ import annotations

import msgspec
import pytest

from unbackdoor.bench import Request
from unbackdoor.bench.bag import bench, evasion, few
from unbackdoor.bench.bag.recipes import KINDS, RECIPES, SIDE, recipe
from unbackdoor.bench.bag.references import bag
from unbackdoor.bench.families.recipes import RECIPES as DEVELOPED
from unbackdoor.bench.families.scanned import ClassRow, FamiliesRow
from unbackdoor.detectors.evidence import Rung
from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.verdict.bag import ours

SHAPE = (3, SIDE, SIDE)


def test_a_hundred_networks_are_clean_and_each_kind_has_ten() -> None:
    assert sum(one.trigger is None for one in RECIPES) == 100
    for kind in KINDS:
        assert sum(one.name.endswith(f"-{kind.name}") for one in RECIPES) == 10
    assert len({one.name for one in RECIPES}) == len({one.seed for one in RECIPES}) == 240


def test_any_first_part_has_as_many_clean_ones() -> None:
    for count in range(12, len(RECIPES) + 1):
        clean = sum(one.trigger is None for one in RECIPES[:count])
        assert abs(clean / count - 5 / 12) < 1.2 / count


def test_every_trigger_can_be_planted() -> None:
    for one in [*RECIPES, *evasion.RECIPES]:
        if one.trigger is not None:
            parse_trigger(one.trigger, SHAPE)
            assert one.settings.triggers == (one.trigger,)


def test_a_recipe_is_drawn_by_its_number_and_shares_no_seed_with_the_development_set() -> None:
    assert recipe(17) == RECIPES[17]
    assert {one.seed for one in RECIPES}.isdisjoint(one.seed for one in DEVELOPED)


def row(name: str, rate: float, trigger: str | None = None) -> FamiliesRow:
    classes = [
        ClassRow(
            index=index,
            status="clean",
            space="patch:3",
            asr=asr,
            confusion=0.0,
            measured=[Rung(space="patch:3", asr=asr)],
        )
        for index, asr in enumerate((rate, 0.1))
    ]
    return FamiliesRow(
        network=name,
        sha256="",
        arch="",
        trigger=trigger,
        family=None,
        mode="all-to-one",
        target=0 if trigger else None,
        accuracy=0.8,
        planted_asr=0.97 if trigger else None,
        data="",
        space="auto",
        seed=0,
        verdict="",
        reason="",
        classes=classes,
        versions={},
    )


def test_a_bag_is_made_of_what_was_measured() -> None:
    guesses = msgspec.structs.replace(row("009-clean", 0.1), classes=[])
    made = bag([row("000-corner", 1.0, "white:3@0,0"), row("002-clean", 0.5), guesses])
    attacked, clean = made.networks
    assert (attacked.backdoor, attacked.works, clean.backdoor) == ("corner", 0.97, "")
    assert attacked.score > 1
    assert clean.score == pytest.approx(0.0, abs=1e-9)
    assert (clean.classes, clean.side, clean.accuracy) == (2, 32, 0.8)


def test_some_of_the_networks_can_be_named(request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("tmp_path")
    asked = Request(store=folder, reference="", only="002-clean,004-clean")
    assert [spec.network.name for spec in bench.plan(asked)] == ["002-clean", "004-clean"]  # pyright: ignore
    with pytest.raises(ArgumentError, match="--only"):
        bench.plan(Request(store=folder, reference="", only="none"))
    wanted = Request(store=folder, reference="", only="in-the-middle", seeds=(0, 1))
    assert len(evasion.plan(wanted)) == 2
    every = few.plan(Request(store=folder, reference=""))
    assert len({spec.key for spec in every}) == len(every) == len(few.COUNTS) * len(few.NETWORKS)


def test_every_network_of_the_package_s_bag_is_a_drawn_one() -> None:
    names = {recipe.name for recipe in RECIPES}
    assert {one.name for one in ours().networks} <= names
