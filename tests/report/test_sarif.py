"""SARIF: one finding per class, levels that a collector understands, nothing it would refuse."""

from __future__ import annotations

import json

import msgspec
import pytest

import synthetic
from unbackdoor.report.sarif import RULES, encode_sarif


@pytest.mark.parametrize(
    ("targets", "verdict", "level", "kind"),
    [
        ([0], "backdoored", "error", "fail"),
        ([0, 3], "backdoored", "error", "fail"),
        ([], "inconclusive", "warning", "fail"),
        ([], "clean", "none", "pass"),
    ],
)
def test_findings(targets: list[int], verdict: str, level: str, kind: str) -> None:
    scan = msgspec.structs.replace(synthetic.scan(), targets=targets, verdict=verdict)
    log = json.loads(encode_sarif(scan))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert len(run["results"]) == max(1, len(targets))
    for result in run["results"]:
        assert (result["ruleId"], result["level"], result["kind"]) == (verdict, level, kind)
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == verdict
        assert scan.reason in result["message"]["text"]
    prints = {r["partialFingerprints"]["modelAndTarget/v1"] for r in run["results"]}
    assert len(prints) == len(run["results"])


def test_a_path_becomes_a_valid_uri() -> None:
    scan = synthetic.scan()
    model = msgspec.structs.replace(scan.model, path='models/a "b" ü.safetensors')
    log = json.loads(encode_sarif(msgspec.structs.replace(scan, model=model)))
    uri = log["runs"][0]["artifacts"][0]["location"]["uri"]
    assert uri == "models/a%20%22b%22%20%C3%BC.safetensors"


def test_every_verdict_has_a_rule() -> None:
    assert [rule["id"] for rule in RULES] == ["backdoored", "inconclusive", "clean"]
