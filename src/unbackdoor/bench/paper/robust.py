"""``bench paper-robust``: one trigger of the paper's, and one setting of the defence at a time.

The paper says that α from 0.1 to 1 and any β will do. Beside them stand what else a user may turn:
the share of stamped images in retraining, the number of clean images, and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.framework.table import Line, percent
from unbackdoor.bench.paper.defences import Generated, Mesa
from unbackdoor.bench.paper.stages import Defended, Network, Row
from unbackdoor.bench.paper.table import DEFAULT
from unbackdoor.mesa.settings import MINE_PAPER
from unbackdoor.repairing.settings import REPAIR
from unbackdoor.results import StairRecord
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import SCAN

ALPHAS = (0.1, 0.2, 0.5, 1.0)
BETAS = (0.5, 0.8, 0.9)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
COUNTS = (250, 500, 1_000, 2_000, 4_000)


@dataclass(frozen=True)
class Variant:
    """One setting, and the experiment with it."""

    parameter: str
    value: float | str
    spec: Defended


Measured = tuple[Variant, Row]


def variants(network: Network, clean: Network, seeds: Sequence[int]) -> list[Variant]:
    """Return what is compared; the first seed is that of all but the last lines."""
    usual = Defended(network=network, clean=clean, defence=DEFAULT, seed=seeds[0])

    def defended(**changes: Any) -> Defended:
        return replace(usual, **changes)

    return [
        Variant("default", "–", usual),
        *(
            Variant(
                "temperature",
                scanning.temperature,
                defended(defence=replace(DEFAULT, scanning=scanning)),
            )
            for scanning in (replace(SCAN, temperature=alpha) for alpha in ALPHAS)
        ),
        *(
            Variant("α, mine", mine.alpha, defended(defence=Generated(settings=mine)))
            for mine in (replace(MINE_PAPER, alpha=alpha) for alpha in ALPHAS)
        ),
        *(Variant("β alone", beta, defended(defence=Mesa(beta=beta))) for beta in BETAS),
        Variant("weights", "γ", defended(defence=Mesa())),
        *(
            Variant("share", share, defended(repair=replace(REPAIR, share=share)))
            for share in SHARES
        ),
        *(Variant("clean images", count, defended(count=count)) for count in COUNTS),
        *(Variant("seed", seed, defended(seed=seed)) for seed in seeds),
    ]


def measure(
    chosen: Sequence[Variant],
    archive: Archive,
    engine: Engine,
    progress: Progress,
    device: str = "cpu",
    limit: float = math.inf,
) -> list[Measured]:
    """Measure what the archive lacks, and return each variant that is there with its row.

    Args:
        chosen: what is compared.
        archive: what is there.
        engine: where the work is done.
        progress: one bar for all of it.
        device: where networks run.
        limit: seconds after which no further piece is begun.

    """
    specs = [variant.spec for variant in chosen]
    complete(
        specs, archive, engine, progress, device=device, description="paper-robust", limit=limit
    )
    return [(variant, archive[variant.spec]) for variant in chosen if variant.spec in archive]


def flat(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the rows as flat objects that say which setting they are of."""
    return [
        {"parameter": variant.parameter, "value": variant.value, **msgspec.to_builtins(row)}
        for variant, row in measured
    ]


def laws(measured: Sequence[Measured], archive: Archive) -> dict[str, list[StairRecord]]:
    """Return the staircase of each temperature, where it is kept and of the network defended."""
    drawn: dict[str, list[StairRecord]] = {}
    for variant, row in measured:
        defence = variant.spec.defence
        if variant.parameter == "temperature" and isinstance(defence, Mesa):
            recovered = defence.recovered(variant.spec)
            if recovered in archive and archive[recovered].network == row.network:
                drawn[f"T = {variant.value}"] = archive[recovered].stairs
    return drawn


def summary(measured: Sequence[Measured]) -> list[Line]:
    """Return one line per variant."""
    return [
        {
            "trigger": f"{row.data}, `{row.trigger}`",
            "setting": variant.parameter,
            "value": str(variant.value),
            "ASR before": percent([row.asr_before]),
            "ASR after": percent([row.asr_after]),
            "excess over the clean network": percent([row.excess]),
            "accuracy lost": percent([row.accuracy_before - row.accuracy_after]),
            "passes": f"{row.passes:,}",
            "seconds": f"{row.seconds:.0f}",
        }
        for variant, row in measured
    ]
