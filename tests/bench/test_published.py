"""README and docs state what the stores hold, every table with one choice of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from unbackdoor.bench import BENCHES, Request, markdown, measure, profile, robust, shipped
from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.modes import bench as modes
from unbackdoor.bench.reference import bench as reference
from unbackdoor.bench.reference import comparisons, panels
from unbackdoor.bench.repairs import table as repairs_table
from unbackdoor.bench.repairs.recipes import CASES
from unbackdoor.bench.repairs.repaired import RepairedRow
from unbackdoor.bench.repairs.repairs import REPAIRS
from unbackdoor.bench.toys import bench as toys
from unbackdoor.bench.toys import estimates
from unbackdoor.runtime.progress import Silent

ROOT = Path(__file__).parents[2]
BRIEF = (
    *("data", "triggers", "defence", "ASR before", "ASR after"),
    *("excess over the clean network", "accuracy lost"),
)
"""The columns of the paper's table that docs/measured.md shows."""


@pytest.mark.parametrize(("of", "counts"), [("shipped:", [15, 15]), ("results/unseen/", [5, 13])])
def test_the_tables_of_shipped_and_unseen_models_are_those_of_the_store(
    of: str, counts: list[int]
) -> None:
    tables = by_settings(of)
    assert [len(rows) for rows in tables] == counts
    text = (ROOT / "docs" / "measured.md").read_text()
    for rows in tables:
        assert markdown(shipped.table(rows)) in text


def test_the_one_table_of_the_readme_is_of_one_model_and_five_seeds() -> None:
    rows = [row for row in by_settings("shipped:")[-1] if row.model == "shipped:bw170"]
    assert len(rows) == 5
    text = (ROOT / "README.md").read_text()
    assert markdown(shipped.table(rows)) in text
    assert sum(line.startswith("| --- |") for line in text.splitlines()) == 1


def by_settings(of: str) -> list[list[shipped.ShippedRow]]:
    """Return the rows of models whose names begin with ``of``, those of one table together."""
    kept = Store(ROOT / "results", "shipped", shipped.ShippedRow).read().values()
    tables: dict[str, list[shipped.ShippedRow]] = {}
    for row in sorted(kept, key=lambda row: (row.model, row.seed)):
        if row.model.startswith(of):
            tables.setdefault(row.settings, []).append(row)
    return list(tables.values())


def test_the_repairs_of_our_networks_are_those_of_the_store() -> None:
    cases = [case.attacked.name for case in CASES]
    names = [repair.name for repair in REPAIRS]
    kept = Store(ROOT / "results", "repairs", RepairedRow).read().values()
    rows = sorted(
        (row for row in kept if row.network in cases),
        key=lambda row: (cases.index(row.network), names.index(row.repair)),
    )
    text = (ROOT / "docs" / "repair.md").read_text()
    assert markdown(repairs_table.table(rows)) in text
    assert markdown(repairs_table.relearning(rows)) in text


def test_the_profile_is_that_of_the_store() -> None:
    rows = sorted(
        Store(ROOT / "results", "profile", profile.ProfileRow).read().values(), key=by_model
    )
    assert markdown(profile.table(rows)) in (ROOT / "docs" / "measured.md").read_text()


def by_model(row: profile.ProfileRow) -> str:
    return row.model


def test_the_table_and_the_figure_of_the_toys_are_those_of_the_store() -> None:
    found = flat("toys", estimates.Estimates)
    assert markdown(toys.table(found)) in (ROOT / "docs" / "toys.md").read_text()
    assert toys.BENCH.figure.draw(found) + "\n" == (ROOT / "docs" / "toys.svg").read_text()


def test_the_table_of_the_modes_is_that_of_the_store() -> None:
    found = list(Store(ROOT / "results", "modes", modes.ModesRow).read().values())
    assert markdown(modes.table(found)) in (ROOT / "docs" / "modes.md").read_text()


def test_the_tables_of_real_networks_are_those_of_the_store() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    assert markdown(reference.table(flat("reference", comparisons.Comparisons))) in text
    assert markdown(panels.table(flat("panels", panels.PanelRows))) in text
    found = list(Store(ROOT / "results", "robust", robust.VariantRow).read().values())
    assert markdown(robust.table(found)) in text


@pytest.mark.stored
def test_the_tables_and_the_figure_of_the_paper_are_those_of_the_store() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    assert markdown(shown("paper", columns="all").lines) in text
    assert markdown(shown("paper-features").lines) in text
    main = shown("paper")
    assert main.figure + "\n" == (ROOT / "docs" / "paper.svg").read_text()
    brief = [{name: line[name] for name in BRIEF} for line in main.lines]
    assert markdown(brief) in (ROOT / "docs" / "measured.md").read_text()


def test_the_tables_and_the_figure_of_one_trigger_are_those_of_the_store() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    store = ROOT / "results" / "two-cores"
    for variant, columns in (("implanted", "all"), ("scratch", "main")):
        one: dict[str, Any] = {"only": "cifar10-bw:170", "store": store, "variant": variant}
        assert markdown(shown("paper", columns=columns, **one).lines) in text
        assert markdown(shown("paper-features", **one).lines) in text
    robustness = shown("paper-robust", store=store, seeds=range(5))
    assert markdown(robustness.lines) in text
    assert robustness.figure + "\n" == (ROOT / "docs" / "paper-robust.svg").read_text()


def test_the_table_of_attackers_who_know_the_scanner_is_that_of_the_store() -> None:
    lines = shown("evasion", seeds=range(1)).lines
    assert len(lines) > 2
    assert markdown(lines) in (ROOT / "docs" / "threats.md").read_text()


@dataclass(frozen=True)
class Shown:
    """What a benchmark prints of what is stored."""

    lines: list[dict[str, str]]
    figure: str


def shown(name: str, **asked: Any) -> Shown:
    request = Request(
        **{"reference": "", "store": ROOT / "results", "progress": Silent(), "limit": 0, **asked}
    )
    bench = BENCHES[name]
    rows = measure(bench, request).rows
    return Shown(bench.table(rows), bench.figure.draw(rows) if bench.figure else "")


def flat(name: str, of: type[Any]) -> list[Any]:
    kept = Store(ROOT / "results", name, of).read().values()
    return [row for rows in kept for row in rows.rows]
