"""``bench bag``: train the reference networks, scan each, and print what the scans say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from unbackdoor.bench.bag.recipes import RECIPES
from unbackdoor.bench.families.networks import Trained
from unbackdoor.bench.families.recipes import Recipe
from unbackdoor.bench.families.scanned import FamiliesRow, Scanned, judged
from unbackdoor.bench.families.table import table
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Request, each_result
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.errors import ArgumentError
from unbackdoor.verdict.judge import ByRate

SCANNED = {"cifar10": "cifar10-sample"}
"""The clean images of a scan, by the training images; the test set of the same name for others."""


@dataclass(frozen=True, kw_only=True)
class Referenced(Scanned):
    """The scan of a reference network."""

    table: ClassVar[str] = "bag"


def plan(request: Request) -> list[Spec]:
    """Return a scan for each network and seed; networks that are not there are trained.

    Raises:
        ArgumentError: there is no network of a name.

    """
    return [
        Referenced(
            network=Trained(recipe=recipe, images=SCANNED.get(recipe.data, recipe.data)),
            seed=seed,
        )
        for recipe in chosen(request.only, RECIPES)
        for seed in request.seeds
    ]


def rows(request: Request, specs: Sequence[Spec], archive: Archive) -> list[FamiliesRow]:
    """Return the row of each finished scan, with the verdict of the judge of today."""
    return [judged(row, ByRate()) for row in each_result(request, specs, archive)]


def chosen(only: str | None, recipes: Sequence[Recipe]) -> Sequence[Recipe]:
    """Return the recipes of the names after ``--only``; all when left out.

    Raises:
        ArgumentError: there is no network of a name.

    """
    if only is None:
        return recipes
    every = {recipe.name: recipe for recipe in recipes}
    names = [name for name in only.split(",") if name]
    if unknown := [name for name in names if name not in every]:
        raise ArgumentError(
            f"--only: there is no network {unknown[0]!r} of this benchmark; there are "
            f"{recipes[0].name} to {recipes[-1].name}."
        )
    return [every[name] for name in names]


BENCH = Bench[FamiliesRow](
    name="bag",
    summary="What a scan says of reference networks, which were trained independently.",
    plan=plan,
    rows=rows,
    table=table,
    seeds=1,
    flags=frozenset({"only"}),
)
