"""``bench families``: scans of networks with backdoors of each family, and of clean ones."""

from __future__ import annotations

from collections.abc import Sequence

from unbackdoor.bench.families.networks import Trained, training_images, with_file
from unbackdoor.bench.families.others import listed
from unbackdoor.bench.families.recipes import RECIPES
from unbackdoor.bench.families.scanned import FamiliesRow, Network, Scanned, judged
from unbackdoor.bench.families.table import table
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Request, each_result, those_named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.errors import ArgumentError
from unbackdoor.verdict.judge import ByRate


def development_set() -> Sequence[Trained]:
    """Return every network that has a recipe."""
    return [Trained(recipe=recipe) for recipe in RECIPES]


def plan(request: Request) -> list[Spec]:
    """Return a scan for each network and seed.

    Without ``--make`` these are the networks that are there, in the store or in a folder.

    Raises:
        ArgumentError: there is none, or no network of a name.
        ContentError: a file cannot be used.

    """
    networks = those_named(request.only, {one.name: one for one in development_set()})
    others: list[Network] = list(listed(request.listed)) if request.listed else []
    archive = Archive(request.store)
    planned: list[Spec] = []
    absent: list[str] = []
    for trained in networks:
        network = trained if trained in archive else with_file(trained, request)
        scans = [Scanned(network=network, seed=seed) for seed in request.seeds]
        if not (request.make or network.found or network in archive):
            scans = [scan for scan in scans if scan in archive]
            absent += [] if scans else [network.name]
        planned += scans
    training_images.cache_clear()  # as large as a scan
    if absent and not planned and not others:
        raise ArgumentError(
            "--make: none of the networks is there; add --make to train them, or name their "
            "folder by --networks."
        )
    if absent and request.limit > 0:
        request.progress.say(
            f"note: {len(absent)} networks are not there and left out ({', '.join(absent)}); "
            f"--make trains them."
        )
    return planned + [Scanned(network=one, seed=seed) for one in others for seed in request.seeds]


def rows(request: Request, specs: Sequence[Spec], archive: Archive) -> list[FamiliesRow]:
    """Return the row of each finished scan, with the verdict of the judge of today."""
    return [judged(row, ByRate()) for row in each_result(request, specs, archive)]


BENCH = Bench[FamiliesRow](
    name="families",
    summary="Whether a scan finds backdoors of each family, and leaves clean networks alone.",
    plan=plan,
    rows=rows,
    table=table,
    seeds=3,
    flags=frozenset({"only", "make", "networks", "list"}),
)
