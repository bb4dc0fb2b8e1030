"""``bench repairs`` and ``bench relearning``: ours and other repairs, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unbackdoor.bench.families.networks import Trained, training_images, with_file
from unbackdoor.bench.families.others import Listed, listed
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Request, those_named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.repairs.recipes import CASES, Case
from unbackdoor.bench.repairs.repaired import Before, Repaired, RepairedRow
from unbackdoor.bench.repairs.repairs import REPAIRS, NeverAttacked, Repair
from unbackdoor.bench.repairs.table import relearning, table
from unbackdoor.errors import ArgumentError

COUNTS = (2500, 500)
"""Clean images of the defender: 5 and 1 % of the training images."""


def cases() -> Sequence[Case]:
    """Return the networks, each beside one that was never attacked."""
    return CASES


def repairs() -> Sequence[Repair]:
    """Return the repairs that are compared."""
    return REPAIRS


def plan(request: Request) -> list[Spec]:
    """Return every repair of each network, first with many and then with few clean images.

    Without ``--make`` these are the networks that are there, in the store or in a folder.

    Raises:
        ArgumentError: there is none, or no network of a name.
        ContentError: a file cannot be used.

    """
    archive = Archive(request.store)
    planned = [
        Repaired(before=before, repair=repair, count=count)
        for count in COUNTS
        for before in _networks(request, archive)
        for repair in repairs()
        if before.clean or not isinstance(repair, NeverAttacked)
    ]
    training_images.cache_clear()
    kept = [spec for spec in planned if request.make or _there(spec, archive)]
    absent = {spec.before.network.name for spec in planned} - {
        spec.before.network.name for spec in kept
    }
    if not kept:
        raise ArgumentError(
            "--make: none of the networks is there; add --make to train them, or name their "
            "folder by --networks."
        )
    if absent and request.limit > 0:
        request.progress.say(
            f"note: {len(absent)} networks are not there and left out "
            f"({', '.join(sorted(absent))}); --make trains them."
        )
    return list(kept)


def _there(spec: Repaired, archive: Archive) -> bool:
    both = (spec.before.network, spec.before.clean)
    trained = [one for one in both if isinstance(one, Trained)]
    return spec in archive or all(one.found or one in archive for one in trained)


def _networks(request: Request, archive: Archive) -> list[Before]:
    some = those_named(request.only, {case.attacked.name: case for case in cases()})

    def network(trained: Trained) -> Trained:
        return trained if trained in archive else with_file(trained, request)

    pairs: list[tuple[Trained | Listed, Trained | None]] = [
        (network(Trained(recipe=case.attacked)), network(Trained(recipe=case.clean)))
        for case in some
    ]
    if request.listed:
        pairs += [(one, None) for one in listed(request.listed) if one.truth.trigger]
    return [
        Before(network=one, clean=clean, seed=seed)
        for one, clean in pairs
        for seed in request.seeds
    ]


BENCH = Bench[RepairedRow](
    name="repairs",
    summary="What repairs leave of accuracy and of a backdoor: ours and those of others.",
    plan=plan,
    table=table,
    seeds=1,
    flags=frozenset({"only", "make", "networks", "list"}),
)
RELEARNING = replace(
    BENCH,
    name="relearning",
    summary="What further training brings back of a backdoor that was repaired.",
    table=relearning,
)
"""The same measurements, seen from the other side."""
