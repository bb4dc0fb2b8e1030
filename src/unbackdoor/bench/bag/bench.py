"""``bench bag``: train the reference networks, scan each, and print what the scans say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from unbackdoor.bench.bag.recipes import RECIPES
from unbackdoor.bench.bag.table import table
from unbackdoor.bench.families.bench import rows
from unbackdoor.bench.families.networks import Trained
from unbackdoor.bench.families.recipes import Recipe
from unbackdoor.bench.families.scanned import FamiliesRow, Scanned
from unbackdoor.bench.framework.bench import Bench, Request, those_named
from unbackdoor.bench.framework.spec import Spec

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
    return scans(request, RECIPES, Referenced)


def scans(request: Request, recipes: Sequence[Recipe], kind: Callable[..., Scanned]) -> list[Spec]:
    """Return a scan of each network that is asked for, with each seed.

    Args:
        request: what is asked for.
        recipes: of all networks.
        kind: of the scans.

    Raises:
        ArgumentError: there is no network of a name.

    """
    every = {recipe.name: recipe for recipe in recipes}
    told = f"{recipes[0].name} to {recipes[-1].name}"
    return [
        kind(
            network=Trained(recipe=recipe, images=SCANNED.get(recipe.data, recipe.data)), seed=seed
        )
        for recipe in those_named(request.only, every, told)
        for seed in request.seeds
    ]


BENCH = Bench[FamiliesRow](
    name="bag",
    summary="What a scan says of reference networks, which were trained independently.",
    plan=plan,
    rows=rows,
    table=table,
    seeds=1,
    flags=frozenset({"only"}),
)
