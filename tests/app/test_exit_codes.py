"""One exit code for the outcomes of several models."""

from __future__ import annotations

import msgspec
import pytest

from report import synthetic
from unbackdoor.app.exit_codes import FailOn, exit_code
from unbackdoor.results import FileRecord, Scanned, Unscanned, Verdict


def unscanned(code: int) -> Unscanned:
    return Unscanned(model=FileRecord(path="x.pt", sha256=""), error="no", exit_code=code)


OUTCOMES: dict[str, Scanned] = {
    "clean": synthetic.scan("clean"),
    "backdoored": synthetic.scan(),
    "inconclusive": synthetic.scan("inconclusive"),
    "unusable": unscanned(2),
    "no such name": unscanned(4),
    "few images": unscanned(3),
}


@pytest.mark.parametrize(
    ("names", "fail_on", "code"),
    [
        (["clean"], None, 0),
        (["clean", "inconclusive"], None, 3),
        (["inconclusive", "unusable"], None, 2),
        (["clean", "no such name"], None, 2),
        (["clean", "few images"], None, 3),
        (["unusable", "clean", "backdoored"], None, 1),
        (["inconclusive"], "backdoored", 0),
        (["inconclusive"], "inconclusive", 3),
        (["backdoored"], "backdoored", 1),
        (["backdoored"], "inconclusive", 1),
        (["inconclusive", "unusable"], "backdoored", 2),
        (["few images"], "backdoored", 3),
    ],
)
def test_the_worst_decides(names: list[str], fail_on: FailOn | None, code: int) -> None:
    assert exit_code([OUTCOMES[name] for name in names], fail_on) == code
    assert exit_code([OUTCOMES[name] for name in reversed(names)], fail_on) == code


@pytest.mark.parametrize(
    ("after", "left", "code"),
    [
        ("clean", 0.01, 0),
        ("clean", 0.05, 0),
        ("clean", 0.1, 3),
        ("backdoored", 0.9, 3),
        ("inconclusive", 0.01, 3),
    ],
)
def test_a_repair_is_done_where_nothing_is_left(after: Verdict, left: float, code: int) -> None:
    result = synthetic.repair(after)
    rows = [
        msgspec.structs.replace(row, recovered_asr=left) if row.name == "repaired" else row
        for row in result.rows
    ]
    assert exit_code([msgspec.structs.replace(result, rows=rows)]) == code


def test_an_entry_survives_its_file() -> None:
    entry = unscanned(2)
    assert msgspec.json.decode(msgspec.json.encode(entry), type=Scanned) == entry
