"""``bench few``: what a verdict is worth where there are only a few clean images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from unbackdoor.bench.bag.bench import scans
from unbackdoor.bench.bag.recipes import EVERY, RECIPES
from unbackdoor.bench.families.bench import rows
from unbackdoor.bench.families.scanned import FamiliesRow, Scanned
from unbackdoor.bench.families.table import GROUPS, NONE, WRONG, group_of, outcome_of, told
from unbackdoor.bench.families.truth import REFUSED
from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line, averaged
from unbackdoor.data import Split
from unbackdoor.data.catalogue import FOLDER_DEFEND_SHARE
from unbackdoor.errors import InsufficientDataError
from unbackdoor.mesa.uniform import share_upper_bound
from unbackdoor.runtime.journal import key_of
from unbackdoor.scanning.settings import FIRST_SHARE
from unbackdoor.subject import Subject

COUNTS = (50, 200, 1000)
"""Clean images that a user has."""
NETWORKS = RECIPES[: 2 * EVERY]
"""The networks of which a scan is made with each number of images."""


class FewRow(FamiliesRow, frozen=True, kw_only=True):
    """One scan with a few images.

    Args:
        count: clean images that the user had, those for a second scan among them.

    """

    count: int


@dataclass(frozen=True, kw_only=True)
class Few(Scanned):
    """The scan of a reference network with a few images.

    Args:
        count: clean images that the user has, equally many of each class.

    """

    count: int

    table: ClassVar[str] = "few"
    result: ClassVar[type] = FewRow

    @property
    def key(self) -> str:
        """That of the scan, and the number of images."""
        return key_of(super().key, self.count)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> FamiliesRow:
        """Scan the network, unless there are too few images for that."""
        try:
            return super().run(inputs, device)
        except InsufficientDataError as error:
            known = self.known(super().opened(inputs, device))
            return self.row(verdict=REFUSED, reason=str(error), **known)

    def opened(self, inputs: Mapping[Spec, Any], device: str) -> Subject:
        """Return the network with the images that remain."""
        subject = super().opened(inputs, device)
        first = FIRST_SHARE * self.count
        few = Split(
            subject.images.defend.fewer(round(FOLDER_DEFEND_SHARE * first)),
            subject.images.evaluate.fewer(round((1 - FOLDER_DEFEND_SHARE) * first)),
        )
        return replace(subject, images=few)

    def row(self, **measured: Any) -> FamiliesRow:
        """Return a row with the number of images."""
        return super().row(count=self.count, **measured)


def plan(request: Request) -> list[Spec]:
    """Return a scan for each network, number of images and seed.

    Raises:
        ArgumentError: there is no network of a name.

    """
    kinds = [partial(Few, count=count) for count in COUNTS]
    return [spec for kind in kinds for spec in scans(request, NETWORKS, kind)]


def table(rows: Sequence[FamiliesRow]) -> list[Line]:
    """Return a line for each number of images and group of networks."""
    lines: list[Line] = []
    counted = [row for row in rows if isinstance(row, FewRow)]
    for count in dict.fromkeys(row.count for row in counted):
        for group in GROUPS:
            of = [row for row in counted if row.count == count and group_of(row) == group]
            if of:
                lines.append(_line(count, group, of))
    return lines


def _line(count: int, group: str, of: Sequence[FewRow]) -> Line:
    outcomes = Counter(map(outcome_of, of))
    wrong, scanned = WRONG.get(group), len(of) - outcomes[REFUSED]
    bound = share_upper_bound(outcomes[wrong], scanned) if wrong and scanned else None
    return {
        "clean images": f"{count:,}",
        "scans": f"{group}: {len(of)}",
        "outcome": told(outcomes),
        "wrong at most (95 %)": NONE if bound is None else f"{wrong} {bound:.0%}",
        "their ASR": averaged([row.planted_asr for row in of], lowest=True),
        "seconds": f"{sum(row.seconds for row in of) / len(of):.0f}",
    }


BENCH = Bench[FamiliesRow](
    name="few",
    summary="What a verdict is worth with 50, 200 and 1,000 clean images.",
    plan=plan,
    rows=rows,
    table=table,
    seeds=1,
    flags=frozenset({"only"}),
)
