"""A few hundred mutants of what somebody could hand in; ``fuzz.py`` opens as many as one likes."""

from __future__ import annotations

from pathlib import Path

from fuzz import Seeds, fuzz

COUNT = 300


def test_mutants_are_opened_or_refused_with_a_sentence(tmp_path: Path) -> None:
    seeds = Seeds(tmp_path)
    fuzz(COUNT, seeds)
    assert seeds.seen["structurally valid"] >= COUNT / 3
    assert seeds.seen.total() == 2 * COUNT
