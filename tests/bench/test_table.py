"""Means with their worst case, as cells and as a table of a document."""

from __future__ import annotations

from unbackdoor.bench.framework.table import averaged, markdown, share


def test_percent_says_averaged() -> None:
    assert averaged([0.01, 0.02, 0.06]) == "3.0 (6.0) %"
    assert averaged([0.97, 0.99], lowest=True) == "98.0 (97.0) %"
    assert averaged([0.5, 0.5]) == "50.0 %"
    assert averaged([None]) == averaged([]) == "–"


def test_share() -> None:
    assert share([True, False, True]) == "2/3"
    assert share([]) == "–"


def test_markdown() -> None:
    assert markdown([{"a": "1", "b": "2"}]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
