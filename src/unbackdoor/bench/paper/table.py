"""``bench paper``: the table of Qiao, Yang and Li (NeurIPS 2019) with its controls.

Of the test set 8,000 images defend and 2,000 evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev

from unbackdoor.bench.framework.bench import Bench, Figure, Request
from unbackdoor.bench.framework.table import Line, averaged
from unbackdoor.bench.paper import figure
from unbackdoor.bench.paper.attacks import asked_for
from unbackdoor.bench.paper.defences import (
    FineTuned,
    Generated,
    Ideal,
    Mesa,
    Reversed,
    Rival,
    SpectralFilter,
    Undefended,
)
from unbackdoor.bench.paper.defended import Defence, DefenceRow, Defended
from unbackdoor.bench.paper.networks import Network
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings

RESTARTS = 10
DEFAULT = Mesa(equal=True)
"""The defence of ``repair`` without flags."""
MAIN: tuple[Defence, ...] = (Undefended(), FineTuned(), Ideal(), Reversed(), DEFAULT)
COLUMNS: Mapping[str, tuple[Defence, ...]] = {
    "main": MAIN,
    "all": (
        *MAIN,
        *(Reversed(restart=restart) for restart in range(1, RESTARTS)),
        *(Mesa(beta=beta) for beta in (0.9, 0.8, 0.5)),
        Mesa(),
        Generated(),
        SpectralFilter(),
        FineTuned(plain=True),
        Rival(SamSettings()),
        Rival(AnpSettings()),
        Rival(IbauSettings()),
    ),
}
OURS, CONTROL = DEFAULT.name, FineTuned().name


def columns_of(
    chosen: Sequence[tuple[Network, Network]], defences: Sequence[Defence], seeds: Sequence[int]
) -> list[Defended]:
    """Return the specs of the table.

    Args:
        chosen: backdoored networks, each with its clean one.
        defences: the columns; a defence that cannot defend a network is left out for it.
        seeds: of the defences.

    """
    return [
        Defended(network=network, clean=clean, defence=defence, seed=seed)
        for network, clean in chosen
        for defence in defences
        if defence.suits(network)
        for seed in seeds
    ]


def plan(request: Request) -> list[Defended]:
    """Return a piece for each network, column and seed.

    Raises:
        ArgumentError: an attack is none of the paper's.

    """
    return columns_of(asked_for(request), COLUMNS[request.columns], request.seeds)


def table(rows: Sequence[DefenceRow]) -> list[Line]:
    """Return one line per data set, kind of trigger and defence.

    The results of the restarts and seeds of one defence of one network are averaged first. So the
    worst case in every line is over the same number of triggers, and a spread is that between
    triggers.
    """
    lines: list[Line] = []
    tuned = {_network(row): row.accuracy_after for row in rows if row.defence == CONTROL}
    groups = dict.fromkeys((*_group(row), row.defence) for row in rows)
    for data, kind, variant, defence in groups:
        own = [row for row in rows if (*_group(row), row.defence) == (data, kind, variant, defence)]
        by: dict[tuple[str, str], list[DefenceRow]] = {}
        for row in own:
            by.setdefault((row.trigger, row.network), []).append(row)
        defended = list(by.values())
        against = [
            fmean(tuned[_network(row)] - row.accuracy_after for row in alike)
            for alike in defended
            if all(_network(row) in tuned for row in alike)
        ]
        triggers = len({row.trigger for row in own})
        several = f" ({len(defended)} networks)" if len(defended) > triggers else ""
        left = _each(defended, lambda row: row.asr_after)
        within = [pstdev(row.asr_after for row in alike) for alike in defended if len(alike) > 1]
        lines.append(
            {
                "data": data,
                "triggers": f"{triggers} {kind}, {variant}{several}",
                "defence": f"{defence} (our default)" if defence == OURS else defence,
                "ASR before": averaged(_each(defended, lambda row: row.asr_before), lowest=True),
                "ASR after": averaged(left),
                "spread": averaged([pstdev(left)] if len(left) > 1 else []),
                "of restarts": averaged([fmean(within)] if within else []),
                "excess over the clean network": averaged(_each(defended, lambda row: row.excess)),
                "accuracy lost": averaged(
                    _each(defended, lambda row: row.accuracy_before - row.accuracy_after)
                ),
                "against fine-tuning": averaged(against),
                "passes": f"{fmean(row.passes for row in own):,.0f}",
                "seconds": f"{fmean(row.seconds for row in own):.0f}",
            }
        )
    return lines


def _each(
    defended: Sequence[Sequence[DefenceRow]], value: Callable[[DefenceRow], float]
) -> list[float]:
    """Return the mean of a value over the rows of each network."""
    return [fmean(map(value, alike)) for alike in defended]


def kind_of(row: DefenceRow) -> str:
    """Return the kind of trigger of a row."""
    return "black-white" if row.trigger.startswith("bw:") else "random-colour"


def _group(row: DefenceRow) -> tuple[str, str, str]:
    return row.data, kind_of(row), row.variant


def _network(row: DefenceRow) -> tuple[str, int]:
    """Return the key that rows of one network share, even if it was trained again."""
    return row.network, row.seed


class DefencesFigure(Figure[DefenceRow]):
    """Each trigger's success after the defences."""

    def draw(self, rows: Sequence[DefenceRow]) -> str:
        """Return the figure as SVG."""
        return figure.figure(rows, OURS)


BENCH = Bench(
    name="paper",
    summary="How often each planted trigger still works after our defence, others and controls.",
    plan=plan,
    table=table,
    figure=DefencesFigure(),
    seeds=1,
    flags=frozenset({"only", "columns", "variant", "arch"}),
)
