"""``bench paper-robust``: one trigger of the paper, one changed setting of the defence at a time.

The paper says that α from 0.1 to 1 and any β will do. This benchmark also varies what else a user
may change: the share of stamped images in retraining, the number of clean images, and the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Figure, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line, averaged
from unbackdoor.bench.paper import cross_sections
from unbackdoor.bench.paper.attacks import networks, select
from unbackdoor.bench.paper.defences import Generated, Mesa
from unbackdoor.bench.paper.defended import DefenceRow, Defended
from unbackdoor.bench.paper.networks import Network
from unbackdoor.bench.paper.table import DEFAULT
from unbackdoor.errors import ArgumentError
from unbackdoor.mesa.settings import MINE_PAPER
from unbackdoor.repairing.settings import TABLES
from unbackdoor.results import StairRecord
from unbackdoor.scanning.settings import SCAN

ALPHAS = (0.1, 0.2, 0.5, 1.0)
BETAS = (0.5, 0.8, 0.9)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
COUNTS = (250, 500, 1_000, 2_000, 4_000)
TEMPERATURE = "temperature"
"""The setting whose recovered triggers the figure shows."""


@dataclass(frozen=True)
class Variant:
    """One setting, and the experiment with it."""

    parameter: str
    value: float | str
    spec: Defended


@dataclass(frozen=True)
class VariantRow:
    """The measurements of a variant.

    Args:
        variant: the setting.
        row: of the defence.
        stairs: for a variant of the temperature, the stairs on which it retrained, if the store has
            them for the defended network.

    """

    variant: Variant
    row: DefenceRow
    stairs: Sequence[StairRecord] | None = None


def variants(network: Network, clean: Network, seeds: Sequence[int]) -> list[Variant]:
    """Return all variants; all but the last lines, which vary the seed, use the first seed."""
    usual = Defended(network=network, clean=clean, defence=DEFAULT, seed=seeds[0])

    def defended(**changes: Any) -> Defended:
        return replace(usual, **changes)

    return [
        Variant("default", "–", usual),
        *(
            Variant(
                TEMPERATURE,
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
            Variant("share", share, defended(repair=replace(TABLES, share=share)))
            for share in SHARES
        ),
        *(Variant("clean images", count, defended(count=count)) for count in COUNTS),
        *(Variant("seed", seed, defended(seed=seed)) for seed in seeds),
    ]


def asked_for(request: Request) -> list[Variant]:
    """Return the variants of a request.

    Raises:
        ArgumentError: its attack is none of the paper's, or there are several.

    """
    attack, *others = select(request.only or "cifar10-bw:170")
    if others:
        raise ArgumentError(
            f"--only: paper-robust takes one attack, came {1 + len(others)}; name one."
        )
    return variants(*networks(attack, request.variant, request.arch), request.seeds)


def plan(request: Request) -> list[Defended]:
    """Return a piece for each variant.

    Raises:
        ArgumentError: see :func:`asked_for`.

    """
    return [variant.spec for variant in asked_for(request)]


def gathered(request: Request, specs: Sequence[Spec], archive: Archive) -> list[VariantRow]:
    """Return each finished variant with its row."""
    del specs
    return rows_of(asked_for(request), archive)


def rows_of(chosen: Sequence[Variant], archive: Archive) -> list[VariantRow]:
    """Return those of the given variants that are finished, with their rows."""
    return [
        VariantRow(variant, archive[variant.spec], _stairs(variant, archive))
        for variant in chosen
        if variant.spec in archive
    ]


def _stairs(variant: Variant, archive: Archive) -> Sequence[StairRecord] | None:
    """Return the staircase of a variant of the temperature; see :class:`VariantRow`."""
    defence = variant.spec.defence
    if variant.parameter != TEMPERATURE or not isinstance(defence, Mesa):
        return None
    recovered = defence.recovered(variant.spec)
    if recovered not in archive:
        return None
    found = archive[recovered]
    return found.stairs if found.network == archive[variant.spec].network else None


def flat(measured: Sequence[VariantRow]) -> list[dict[str, Any]]:
    """Return the rows as flat objects, each with its setting."""
    return [
        {
            "parameter": one.variant.parameter,
            "value": one.variant.value,
            **msgspec.to_builtins(one.row),
        }
        for one in measured
    ]


def table(measured: Sequence[VariantRow]) -> list[Line]:
    """Return one line per variant."""
    return [
        {
            "trigger": f"{one.row.data}, `{one.row.trigger}`",
            "setting": one.variant.parameter,
            "value": str(one.variant.value),
            "ASR before": averaged([one.row.asr_before]),
            "ASR after": averaged([one.row.asr_after]),
            "excess over the clean network": averaged([one.row.excess]),
            "accuracy lost": averaged([one.row.accuracy_before - one.row.accuracy_after]),
            "passes": f"{one.row.passes:,}",
            "seconds": f"{one.row.seconds:.0f}",
        }
        for one in measured
    ]


class CrossSectionsFigure(Figure[VariantRow]):
    """Draws of the recovered laws, by level and temperature."""

    def check(self, request: Request, specs: Sequence[Spec], archive: Archive) -> None:
        """Raise if the store has every row of the temperatures but none of their staircases.

        Raises:
            ArgumentError: it has no staircases.

        """
        del specs
        own = [one for one in asked_for(request) if one.parameter == TEMPERATURE]
        if all(one.spec in archive and _stairs(one, archive) is None for one in own):
            raise _without_staircases()

    def draw(self, rows: Sequence[VariantRow]) -> str:
        """Return the figure as SVG.

        Raises:
            ArgumentError: no row has a staircase.

        """
        laws = {f"T = {one.variant.value}": one.stairs for one in rows if one.stairs is not None}
        if not laws:
            raise _without_staircases()
        trigger = rows[0].variant.spec.network.planted
        assert trigger is not None
        return cross_sections.figure(laws, trigger)


def _without_staircases() -> ArgumentError:
    return ArgumentError(
        "--store: it has no staircases of the networks that were defended; take the store where "
        "they were measured, or an empty one."
    )


BENCH = Bench(
    name="paper-robust",
    summary="One trigger of the paper's, and one setting of the defence at a time.",
    plan=plan,
    rows=gathered,
    table=table,
    flat=flat,
    figure=CrossSectionsFigure(),
    flags=frozenset({"only", "variant", "arch"}),
)
