"""Results that were tampered with are refused in a sentence."""

from __future__ import annotations

import base64
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
    scans = (synthetic.of_folder(synthetic.scan()), synthetic.scan())
    for result in (*scans, synthetic.repair(), synthetic.wrecked("stuck")):
        results.write(result, tmp_path / "result.json")
        assert results.read(tmp_path / "result.json") == result


@pytest.mark.parametrize("version", [1, 2])
def test_results_without_a_record_of_the_pictures_are_read(tmp_path: Path, version: int) -> None:
    old = json.loads(results.encode(synthetic.of_folder(synthetic.scan())))
    del old["data"]["intake"]
    old["schema_version"] = version
    if version == 1:
        old |= {"dimensions": 27}
    (tmp_path / "old.json").write_text(json.dumps(old))
    read = results.read(tmp_path / "old.json")
    assert isinstance(read, results.ScanResult)
    assert read.data.intake is None


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


def clean_with_a_found_class(scan: dict[str, Any]) -> None:
    scan |= {"verdict": "clean", "targets": []}


def clean_with_a_suspicious_class(scan: dict[str, Any]) -> None:
    clean_with_a_found_class(scan)
    scan["classes"][0]["status"] = "suspicious"


def target_that_is_clean(scan: dict[str, Any]) -> None:
    scan["targets"] = [3]


def draws_cut(scan: dict[str, Any]) -> None:
    stairs = next(record["stairs"] for record in scan["classes"] if record["stairs"])
    stairs[0]["draws"] = stairs[0]["draws"][:4]


def weight_below(scan: dict[str, Any]) -> None:
    stairs = next(record["stairs"] for record in scan["classes"] if record["stairs"])
    stairs[0]["gamma"] = -0.5


def class_missing(scan: dict[str, Any]) -> None:
    scan["classes"].pop()


def no_size(scan: dict[str, Any]) -> None:
    scan["image_shape"] = [3, 0, 32]


def no_space(scan: dict[str, Any]) -> None:
    scan["classes"][2]["space"] = ""


def no_shape(scan: dict[str, Any]) -> None:
    del scan["classes"][2]["trigger_shape"]


def other_shape(scan: dict[str, Any]) -> None:
    scan["classes"][2]["trigger_shape"] = [3, 3, 4]


def too_many_values(scan: dict[str, Any]) -> None:
    values = 3 * 65 * 65
    best = base64.b64encode(bytes(values)).decode()
    scan["classes"][2] |= {"best": best, "trigger_shape": [3, 65, 65]}


def too_many_dimensions(scan: dict[str, Any]) -> None:
    values = 3 * 17 * 17
    best = base64.b64encode(bytes(values)).decode()
    found = scan["classes"][0]
    found |= {"best": best, "trigger_shape": [3, 17, 17], "stairs": found["stairs"][:1]}
    draws = base64.b64encode(bytes(2 * values)).decode()
    found["stairs"][0] |= {"draws": draws, "values": [0.9, 0.9], "log_q": [0.0, 0.0]}


def rate_above(scan: dict[str, Any]) -> None:
    scan["classes"][2]["ladder"] = [{"space": "warp:2x4", "asr": 1.5}]


def few_sources(scan: dict[str, Any]) -> None:
    scan["classes"][2]["sources"] = [0.5]


def place_outside(scan: dict[str, Any]) -> None:
    scan["places"] = [{"row": 30, "column": 0, "size": 3, "target": 0, "rate": 0.5}]


def place_of_no_class(scan: dict[str, Any]) -> None:
    scan["places"] = [{"row": 0, "column": 0, "size": 3, "target": 10, "rate": 0.5}]


def other_version(scan: dict[str, Any]) -> None:
    scan["schema_version"] = 3


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
        clean_with_a_found_class,
        clean_with_a_suspicious_class,
        target_that_is_clean,
        draws_cut,
        weight_below,
        class_missing,
        no_size,
        no_space,
        no_shape,
        other_shape,
        too_many_values,
        too_many_dimensions,
        rate_above,
        few_sources,
        place_outside,
        place_of_no_class,
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
    assert msgspec.json.decode(results.encode(synthetic.scan()))["schema_version"] == 2


def as_version_1(scan: dict[str, Any], shape: list[int]) -> dict[str, Any]:
    """Take from a scan what results of version 1 did not hold, and add what they did."""
    for record in scan["classes"]:
        for name in ("space", "trigger_shape", "ladder", "sources"):
            del record[name]
    for name in ("spaces", "places", "not_searched"):
        del scan[name]
    return scan | {"schema_version": 1, "dimensions": 27, "trigger_shape": shape}


@pytest.mark.parametrize("shape", [[], [3, 3, 3]])
def test_version_1_is_read_as_the_present_one(shape: list[int], tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    scan = as_version_1(json.loads(results.encode(synthetic.scan())), shape)
    path.write_text(json.dumps(scan))
    expected = synthetic.scan()
    words = results.SearchedSpace(name=expected.space, description=expected.space)
    expected = msgspec.structs.replace(expected, spaces=[words])
    assert results.read(path) == expected

    other = json.loads(results.encode(synthetic.unscanned())) | {"schema_version": 1}
    path.write_text(json.dumps([scan, other]))
    assert results.read_any(path) == [expected, synthetic.unscanned()]

    repair = json.loads(results.encode(synthetic.repair()))
    repair |= {part: as_version_1(repair[part], shape) for part in ("scan", "rescan")}
    path.write_text(json.dumps(repair | {"schema_version": 1}))
    read = results.read(path)
    assert isinstance(read, results.RepairResult)
    assert read.scan == expected
    assert read.rescan.schema_version == read.schema_version == 2


@pytest.mark.parametrize("dimensions", [0, 12, -27, 120_000, None, "27"])
def test_a_damaged_result_of_version_1_is_refused(dimensions: object, tmp_path: Path) -> None:
    scan = as_version_1(json.loads(results.encode(synthetic.scan())), [])
    (tmp_path / "scan.json").write_text(json.dumps(scan | {"dimensions": dimensions}))
    with pytest.raises(ContentError, match=r"again|not a result"):
        results.read(tmp_path / "scan.json")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("assumed", "targets", [10]),
        ("guard", "taken", 5),
        ("guard", "taken", -1),
        ("guard", "attempts", []),
        ("guard", "broken", 2001),
        ("guard", "mended", -1),
    ],
)
def test_a_repair_that_was_tampered_with_is_refused(
    tmp_path: Path, part: str, name: str, value: Any
) -> None:
    told = json.loads(results.encode(synthetic.repair()))
    told[part][name] = value
    path = tmp_path / "repair.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ContentError, match="damaged"):
        results.read(path)


def test_a_repair_of_before_there_was_a_guard_is_read(tmp_path: Path) -> None:
    told = json.loads(results.encode(synthetic.repair()))
    del told["guard"], told["assumed"]
    path = tmp_path / "repair.json"
    path.write_text(json.dumps(told))
    read = results.read(path)
    assert isinstance(read, results.RepairResult)
    assert (read.guard, read.assumed) == (None, None)
    assert results.verdict(read) == "clean"
