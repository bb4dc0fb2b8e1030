"""``bench scan``: the search of this package beside the detectors of others."""

from __future__ import annotations

from collections.abc import Sequence

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.scan.curves import CurvesFigure
from unbackdoor.bench.scan.looked import Looked, ScanRow
from unbackdoor.bench.scan.methods import peers_of
from unbackdoor.bench.scan.networks import networks
from unbackdoor.bench.scan.table import table
from unbackdoor.errors import ArgumentError


def plan(request: Request) -> Sequence[Spec]:
    """Return our own scan and the methods of others, for each network and seed.

    They follow each other network by network, so that seconds are compared within one run.

    Raises:
        ArgumentError: there is no network, or no network or method of a name.
        ContentError: a file cannot be used.

    """
    found = networks(request, Archive(request.store))
    if not found:
        raise ArgumentError(
            "--only: none of these networks is there; add --make to train them, or name their "
            "folder by --networks."
        )
    return [
        Looked(network=network, peer=peer, seed=seed)
        for network in found
        for seed in request.seeds
        for peer in (None, *peers_of(request.methods, network.name))
    ]


BENCH = Bench[ScanRow](
    name="scan",
    summary="What our scan and the detectors of others say of the same networks, at what price.",
    plan=plan,
    table=table,
    figure=CurvesFigure(),
    seeds=1,
    flags=frozenset({"models", "only", "make", "networks", "list", "methods"}),
)
