"""The README states what the stores hold, all rows of a table measured with the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unbackdoor.experiments import markdown, modes, panels, reference, robust, shipped, toys
from unbackdoor.experiments.store import Store

ROOT = Path(__file__).parents[2]


def rows(of: str) -> list[shipped.Row]:
    kept = Store(ROOT / "results", "shipped", shipped.Row).read().values()
    found = [row for row in kept if row.model.startswith(of)]
    assert len({row.settings for row in found}) == 1
    return sorted(found, key=lambda row: (row.model, row.seed))


@pytest.mark.parametrize(("of", "count"), [("shipped:", 15), ("results/unseen/", 5)])
def test_the_tables_of_the_readme_are_those_of_the_store(of: str, count: int) -> None:
    found = rows(of)
    assert len(found) == count
    assert markdown(shipped.summary(found)) in (ROOT / "README.md").read_text()


def test_the_table_and_the_figure_of_the_toys_are_those_of_the_store() -> None:
    found = flat("toys", toys.Rows)
    assert markdown(toys.summary(found)) in (ROOT / "docs" / "toys.md").read_text()
    assert toys.figure(found) + "\n" == (ROOT / "docs" / "toys.svg").read_text()


def test_the_table_of_the_modes_is_that_of_the_store() -> None:
    found = list(Store(ROOT / "results", "modes", modes.Row).read().values())
    assert markdown(modes.summary(found)) in (ROOT / "docs" / "modes.md").read_text()


def test_the_tables_of_real_networks_are_those_of_the_store() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    assert markdown(reference.summary(flat("reference", reference.Rows))) in text
    assert markdown(panels.summary(flat("panels", panels.Rows))) in text
    found = list(Store(ROOT / "results", "robust", robust.Row).read().values())
    assert markdown(robust.summary(found)) in text


def flat(name: str, of: type[Any]) -> list[Any]:
    kept = Store(ROOT / "results", name, of).read().values()
    return [row for rows in kept for row in rows.rows]
