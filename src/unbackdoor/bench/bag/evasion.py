"""``bench evasion``: attackers who know how a scan searches and judges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from unbackdoor.bench.bag.bench import scans
from unbackdoor.bench.families.bench import rows
from unbackdoor.bench.families.recipes import Recipe
from unbackdoor.bench.families.scanned import FamiliesRow, Scanned
from unbackdoor.bench.families.table import table
from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec

_usual = partial(Recipe, arch="resnet8", epochs=4)
RECIPES = (
    # Labels that are smoothed by half leave little confidence for a search to climb.
    _usual(
        name="flat-confidence",
        seed=901,
        trigger="bw:170@28,28",
        rate=0.02,
        target=2,
        smoothing=0.5,
    ),
    # A patch in the middle hides what the picture shows, so that more is asked of it.
    _usual(
        name="in-the-middle",
        seed=902,
        trigger="rgb:11x4@14,14",
        rate=0.02,
        target=5,
    ),
    # No patch of this size is searched, and smaller ones need not suffice.
    _usual(
        name="larger-than-searched",
        seed=903,
        trigger="rgb:12x12@18,2",
        rate=0.02,
        target=7,
    ),
    # Distorted triggers with true labels teach the network to obey the exact one alone.
    _usual(
        name="exact-trigger-only",
        seed=904,
        trigger="rgb:13x4@1,27",
        rate=0.02,
        cover=0.06,
        target=1,
    ),
    # A trigger that works on about half of the images stays below what counts.
    _usual(
        name="works-by-half",
        seed=905,
        trigger="additive:noise:14@4",
        rate=0.01,
        target=8,
    ),
)
"""One network for each idea."""


@dataclass(frozen=True, kw_only=True)
class Evading(Scanned):
    """The scan of a network whose attacker knows the scanner."""

    table: ClassVar[str] = "evasion"


def plan(request: Request) -> list[Spec]:
    """Return a scan for each network and seed; networks that are not there are trained.

    Raises:
        ArgumentError: there is no network of a name.

    """
    return scans(request, RECIPES, Evading)


BENCH = Bench[FamiliesRow](
    name="evasion",
    summary="Whether a scan finds backdoors of attackers who know how it works.",
    plan=plan,
    rows=rows,
    table=table,
    seeds=3,
    flags=frozenset({"only"}),
)
