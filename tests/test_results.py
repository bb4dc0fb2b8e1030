"""Results that were tampered with are refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from report import synthetic
from unbackdoor import results
from unbackdoor.errors import ArgumentError, ContentError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for result in (synthetic.scan(), synthetic.repair()):
        results.write(result, tmp_path / "result.json")
        assert results.read(tmp_path / "result.json") == result


def test_no_mark_of_a_name_reaches_a_terminal() -> None:
    marks = "a\x9bm\u202e\U000e0001é\u2028"
    named = msgspec.structs.replace(synthetic.scan().model, path=marks)
    written = results.encode(msgspec.structs.replace(synthetic.scan(), model=named)).decode()
    assert all(sign.isprintable() for sign in written.replace("\n", ""))
    assert json.loads(written)["model"]["path"] == marks


def target_out_of_range(scan: dict[str, Any]) -> None:
    scan["targets"] = [99]


def target_below(scan: dict[str, Any]) -> None:
    scan["targets"] = [-1]


def target_without_verdict(scan: dict[str, Any]) -> None:
    scan["verdict"] = "clean"


def draws_cut(scan: dict[str, Any]) -> None:
    stairs = next(record["stairs"] for record in scan["classes"] if record["stairs"])
    stairs[0]["draws"] = stairs[0]["draws"][:4]


def weight_below(scan: dict[str, Any]) -> None:
    stairs = next(record["stairs"] for record in scan["classes"] if record["stairs"])
    stairs[0]["gamma"] = -0.5


def no_stairs(scan: dict[str, Any]) -> None:
    scan["classes"][scan["targets"][0]]["stairs"] = []


def class_missing(scan: dict[str, Any]) -> None:
    scan["classes"].pop()


def no_size(scan: dict[str, Any]) -> None:
    scan["image_shape"] = [3, 0, 32]


def too_many_dimensions(scan: dict[str, Any]) -> None:
    scan["dimensions"] = 120_000


def other_version(scan: dict[str, Any]) -> None:
    scan["schema_version"] = 2


def other_kind(scan: dict[str, Any]) -> None:
    scan["kind"] = "cake"


def deep(scan: dict[str, Any]) -> None:
    nest: list[Any] = []
    for _ in range(500):
        nest = [nest]
    scan["settings"] = {"deep": nest}
    scan["targets"] = [99]


@pytest.mark.parametrize(
    "tamper",
    [
        target_out_of_range,
        target_below,
        target_without_verdict,
        draws_cut,
        weight_below,
        no_stairs,
        class_missing,
        no_size,
        too_many_dimensions,
        other_version,
        other_kind,
        deep,
    ],
)
def test_a_damaged_scan_is_refused(
    tamper: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    path = tmp_path / "scan.json"
    scan = json.loads(results.encode(synthetic.scan()))
    tamper(scan)
    path.write_text(json.dumps(scan))
    with pytest.raises(ContentError, match=r"again|not a result"):
        results.read(path)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        results.read(tmp_path / "none.json")
    (tmp_path / "text.json").write_bytes(b"\xff\x00")
    with pytest.raises(ContentError):
        results.read(tmp_path / "text.json")
    assert msgspec.json.decode(results.encode(synthetic.scan()))["schema_version"] == 1
