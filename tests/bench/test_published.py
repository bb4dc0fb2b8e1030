"""README and docs state what the stores hold, every table with one choice of settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from unbackdoor.bench import markdown, profile, robust, shipped
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Serial
from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.modes import modes
from unbackdoor.bench.paper import cross_sections, features
from unbackdoor.bench.paper import figure as paper_figure
from unbackdoor.bench.paper import robust as paper_robust
from unbackdoor.bench.paper import table as paper
from unbackdoor.bench.paper.stages import Defence, Row
from unbackdoor.bench.reference import panels, reference
from unbackdoor.bench.toys import toys
from unbackdoor.runtime.progress import Silent
from unbackdoor.triggers.planted import parse_trigger

ROOT = Path(__file__).parents[2]
BRIEF = (
    *("data", "triggers", "defence", "ASR before", "ASR after"),
    *("excess over the clean network", "accuracy lost"),
)
"""The columns of the paper's table that docs/measured.md shows."""


@pytest.mark.parametrize(("of", "counts"), [("shipped:", {15, 5}), ("results/unseen/", {5})])
def test_the_tables_of_shipped_and_unseen_models_are_those_of_the_store(
    of: str, counts: set[int]
) -> None:
    tables = by_settings(of)
    assert {len(rows) for rows in tables} == counts
    text = (ROOT / "docs" / "measured.md").read_text()
    for rows in tables:
        assert markdown(shipped.summary(rows)) in text


def test_the_one_table_of_the_readme_is_of_one_model_and_five_seeds() -> None:
    (rows,) = (rows for rows in by_settings("shipped:") if len(rows) == 5)
    text = (ROOT / "README.md").read_text()
    assert markdown(shipped.summary(rows)) in text
    assert sum(line.startswith("| --- |") for line in text.splitlines()) == 1


def by_settings(of: str) -> list[list[shipped.Row]]:
    """Return the rows of models whose names begin with ``of``, those of one table together."""
    kept = Store(ROOT / "results", "shipped", shipped.Row).read().values()
    tables: dict[str, list[shipped.Row]] = {}
    for row in sorted(kept, key=lambda row: (row.model, row.seed)):
        if row.model.startswith(of):
            tables.setdefault(row.settings, []).append(row)
    return list(tables.values())


def test_the_profile_is_that_of_the_store() -> None:
    rows = sorted(Store(ROOT / "results", "profile", profile.Row).read().values(), key=by_model)
    assert markdown(profile.summary(rows)) in (ROOT / "docs" / "measured.md").read_text()


def by_model(row: profile.Row) -> str:
    return row.model


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


@pytest.mark.stored
def test_the_tables_and_the_figure_of_the_paper_are_those_of_the_store() -> None:
    every, main = (of_the_paper(paper.COLUMNS[name]) for name in ("all", "main"))
    text = (ROOT / "docs" / "paper.md").read_text()
    assert markdown(paper.summary(every)) in text
    drawn = paper_figure.figure(main, paper.OURS)
    assert drawn + "\n" == (ROOT / "docs" / "paper.svg").read_text()
    assert markdown(features_of(None, Archive(ROOT / "results"))) in text
    brief = [{name: line[name] for name in BRIEF} for line in paper.summary(main)]
    assert markdown(brief) in (ROOT / "docs" / "measured.md").read_text()


def test_the_tables_and_the_figure_of_one_trigger_are_those_of_the_store() -> None:
    only, store = "cifar10-bw:170", "results/two-cores"
    archive = Archive(ROOT / store)
    text = (ROOT / "docs" / "paper.md").read_text()
    for variant, columns in (("implanted", "all"), ("scratch", "main")):
        rows = of_the_paper(paper.COLUMNS[columns], only, store, variant)
        assert markdown(paper.summary(rows)) in text
        assert markdown(features_of(only, archive, variant)) in text
    (attack,) = paper.select(only)
    networks = paper.networks(attack, "implanted", None)
    chosen = paper_robust.variants(*networks, range(5))
    measured = paper_robust.measure(chosen, archive, Serial(), Silent(), limit=0)
    assert markdown(paper_robust.summary(measured)) in text
    laws = paper_robust.laws(measured, archive)
    drawn = cross_sections.figure(laws, parse_trigger(attack.trigger))
    assert drawn + "\n" == (ROOT / "docs" / "paper-robust.svg").read_text()


def features_of(only: str | None, archive: Archive, variant: str = "implanted") -> list[Line]:
    chosen = [paper.networks(attack, variant, None) for attack in paper.select(only)]
    return features.summary(
        features.measure(chosen, [0], archive, Serial(), Silent(), "cpu", limit=0)
    )


def of_the_paper(
    columns: Sequence[Defence],
    only: str | None = None,
    store: str = "results",
    variant: str = "implanted",
) -> list[Row]:
    chosen = [paper.networks(attack, variant, None) for attack in paper.select(only)]
    specs = paper.plan(chosen, columns, [0])
    return paper.measure(specs, Archive(ROOT / store), Serial(), Silent(), limit=0)


def flat(name: str, of: type[Any]) -> list[Any]:
    kept = Store(ROOT / "results", name, of).read().values()
    return [row for rows in kept for row in rows.rows]
