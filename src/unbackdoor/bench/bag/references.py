"""From the scans of reference networks to the bag that comes with the package.

``python -m unbackdoor.bench.bag.references RESULTS FILE`` writes it, of all drawn networks that
have a row; of several rows of one network the newest counts, whatever spaces it is of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from unbackdoor.bench.bag.recipes import RECIPES
from unbackdoor.bench.families.scanned import FamiliesRow, evidence_of
from unbackdoor.bench.framework.store import Store
from unbackdoor.runtime.files import write_bytes
from unbackdoor.triggers import AUTO
from unbackdoor.verdict.bag import Bag, Reference
from unbackdoor.verdict.judge import ByRate


def bag(rows: Iterable[FamiliesRow]) -> Bag:
    """Return the bag of these scans; a network that guesses is left out."""
    judge = ByRate()
    networks = [
        Reference(
            name=row.network,
            backdoor=row.network.partition("-")[2] if row.trigger else "",
            works=row.planted_asr or 0.0,
            score=round(judge(evidence).score, 4),
            accuracy=evidence.accuracy,
            classes=len(row.classes),
            side=row.pictures.side,
        )
        for row in rows
        if (evidence := evidence_of(row)) is not None
    ]
    return Bag(name="the package's own", budget="standard", space=AUTO, networks=networks)


def main() -> None:
    """Write the bag of a folder of results."""
    folder, file = map(Path, sys.argv[1:])
    rows = {row.network: row for row in Store(folder, "bag", FamiliesRow).read().values()}
    made = bag(rows[recipe.name] for recipe in RECIPES if recipe.name in rows)
    if not made.networks:
        raise SystemExit(f"RESULTS: {folder} has no rows of reference networks.")
    write_bytes(file, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")


if __name__ == "__main__":
    main()
