"""Every hostile file gets a sentence and an exit code, within bounds; nothing in it is executed."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from make import HOSTILE, Corpus

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(HERE / "bounded.py"),
            str(tmp_path_factory.mktemp("hostile")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_corpus_is_large(rows: list[dict[str, Any]]) -> None:
    assert len(rows) - 1 == len(HOSTILE) >= 30


def test_nothing_was_executed(rows: list[dict[str, Any]]) -> None:
    assert rows[-1] == {"executed": False, "called": False}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_a_sentence_and_an_exit_code(
    name: str, rows: list[dict[str, Any]]
) -> None:
    (row,) = [row for row in rows[:-1] if row["name"] == name]
    assert row["code"] in {2, 3, 4}, row
    assert row["sentence"].startswith("unbackdoor: ")
    assert row["sentence"].count("\n") == 1
    assert row["sentence"].strip().isprintable()
    assert "internal error" not in row["sentence"]
    assert row["mib"] <= 1024
    assert row["seconds"] <= 10


def test_the_payloads_work_where_they_are_let(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, tmp_path / "executed", 1)
    arguments = HOSTILE["pickle-writes-a-file"](corpus, "payload")
    pickle.loads(Path(arguments[1]).read_bytes())
    assert corpus.canary.exists()
