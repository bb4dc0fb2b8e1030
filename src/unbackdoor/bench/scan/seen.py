"""A row with the verdict that its method comes to, made anew each time it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from unbackdoor.bench.families.scanned import FamiliesRow, evidence_of
from unbackdoor.bench.families.table import group
from unbackdoor.bench.families.truth import REFUSED, outcome
from unbackdoor.bench.scan.looked import ScanRow
from unbackdoor.bench.scan.methods import OURS, PEERS
from unbackdoor.repairing.rivals.spectral import separation
from unbackdoor.verdict.judge import ByRate

CONFIDENT = 1.959964
"""Standard deviations of a normal law on either side that hold 95 % of it."""
ONE, CLEAN = "one target", "clean"
"""The networks that are counted, of ``families.table.GROUPS``."""


@dataclass(frozen=True)
class Seen:
    """What a method says of a network.

    Args:
        row: what was measured.
        name: of the method.
        verdict: by the method's own rule; ``not scanned`` where the network was refused.
        targets: classes it accuses.
        score: of the network, that of its highest class.

    """

    row: ScanRow
    name: str
    verdict: str
    targets: list[int]
    score: float

    @property
    def outcome(self) -> str:
        """Whether that is right, in a word or two."""
        return outcome(self.row.truth.targets, self.verdict, self.targets)

    @property
    def group(self) -> str:
        """The networks that this one stands with, one of ``families.table.GROUPS``."""
        row = self.row
        return group(row.trigger, row.mode, row.family, row.planted_asr)

    @property
    def counts(self) -> bool:
        """Whether it is one of the networks that are counted."""
        return self.group in (ONE, CLEAN) and self.verdict != REFUSED

    @property
    def passes(self) -> int:
        """Images forward and backward."""
        return self.row.image_passes + self.row.image_passes_backward


def seen(row: ScanRow) -> Seen:
    """Return a row with the verdict of the rule of today."""
    if row.method == OURS:
        assert row.scan is not None
        return _ours(row, row.scan)
    peer = next(one for one in PEERS if one.key == row.method)
    if not row.classes:
        return Seen(row, peer.name, REFUSED, [], 0.0)
    ruling = peer.rule([one.statistic for one in row.classes])
    accused = [row.classes[place].index for place in ruling.accused]
    return Seen(row, peer.name, ruling.verdict, accused, max(ruling.scores))


def _ours(row: ScanRow, scan: FamiliesRow) -> Seen:
    if (evidence := evidence_of(scan)) is None:  # the network guesses, or was refused
        return Seen(row, OURS, scan.verdict, [], 0.0)
    judgement = ByRate()(evidence)
    return Seen(row, OURS, judgement.verdict, judgement.targets, judgement.score)


def by_method(rows: Sequence[ScanRow]) -> dict[str, list[Seen]]:
    """Return what each method says of every network."""
    methods: dict[str, list[Seen]] = {}
    for one in map(seen, rows):
        methods.setdefault(one.name, []).append(one)
    return methods


def scores(some: Sequence[Seen]) -> tuple[list[float], list[float]]:
    """Return the scores of networks with one target that works, and of clean ones."""
    counted = [one for one in some if one.counts]
    planted = [one.score for one in counted if one.group == ONE]
    return planted, [one.score for one in counted if one.group == CLEAN]


@dataclass(frozen=True)
class Area:
    """The area under a ROC curve, and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def area(backdoored: Sequence[float], clean: Sequence[float]) -> Area | None:
    """Return the area under the ROC curve of a score; None without networks of either kind.

    The interval is Newcombe's fifth (*Confidence intervals for an effect size measure based on the
    Mann–Whitney statistic*, 2006): it solves for the areas from which the one that was measured
    lies 1.96 standard errors away, with the standard error of Hanley and McNeil (1982) there. So it
    has a width where no two networks stand in the wrong order too.

    Example:
        >>> found = area([3.0, 4.0, 5.0], [1.0, 2.0])
        >>> found.value, found.high, 0.3 < found.low < 0.7
        (1.0, 1.0, True)

    """
    if not backdoored or not clean:
        return None
    scores = torch.tensor([*backdoored, *clean], dtype=torch.float64)
    truth = torch.arange(len(scores)) < len(backdoored)
    value = separation(scores, truth)

    def away(other: float) -> float:
        more = (len(backdoored) + len(clean)) / 2 - 1
        spread = 1 + more * ((1 - other) / (2 - other) + other / (1 + other))
        error = math.sqrt(other * (1 - other) * spread / (len(backdoored) * len(clean)))
        return abs(value - other) - CONFIDENT * error

    return Area(value, _crossing(away, value, 0.0), _crossing(away, value, 1.0))


def _crossing(away: Callable[[float], float], inside: float, outside: float) -> float:
    """Return where the interval ends between the area and a bound."""
    if inside == outside:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if away(middle) <= 0 else (inside, middle)
    return (inside + outside) / 2


def curve(backdoored: Sequence[float], clean: Sequence[float]) -> list[tuple[float, float]]:
    """Return the ROC curve: shares of clean and of backdoored networks from each score on.

    Example:
        >>> curve([2.0, 3.0], [1.0, 2.0])
        [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]

    """
    levels = sorted({*backdoored, *clean}, reverse=True)
    points = [
        (
            sum(score >= level for score in clean) / len(clean),
            sum(score >= level for score in backdoored) / len(backdoored),
        )
        for level in levels
    ]
    return [(0.0, 0.0), *points]
