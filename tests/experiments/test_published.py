"""The README states what the stores hold, measured with the settings of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from unbackdoor.experiments import markdown, shipped
from unbackdoor.experiments.store import Store, key_of
from unbackdoor.settings import RepairSettings, ScanSettings

ROOT = Path(__file__).parents[2]
SETTINGS = key_of(shipped.SPACE, shipped.DATA, ScanSettings(), RepairSettings())


def rows(of: str) -> list[shipped.Row]:
    kept = Store(ROOT / "results", "shipped", shipped.Row).read().values()
    found = [row for row in kept if row.model.startswith(of) and row.settings == SETTINGS]
    return sorted(found, key=lambda row: (row.model, row.seed))


@pytest.mark.parametrize(("of", "count"), [("shipped:", 15), ("results/unseen/", 5)])
def test_the_tables_of_the_readme_are_those_of_the_store(of: str, count: int) -> None:
    found = rows(of)
    assert len(found) == count
    assert markdown(shipped.summary(found)) in (ROOT / "README.md").read_text()
