"""A row with the verdict that its method comes to, made anew each time it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.bench.families.scanned import FamiliesRow, evidence_of
from unbackdoor.bench.families.table import group
from unbackdoor.bench.families.truth import REFUSED, outcome
from unbackdoor.bench.scan.looked import ScanRow
from unbackdoor.bench.scan.methods import OURS, PEERS
from unbackdoor.verdict.judge import ByRate

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
