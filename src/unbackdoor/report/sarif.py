"""The verdict of a scan in SARIF 2.1.0 (OASIS, 2020), for systems that collect findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from unbackdoor.errors import printable
from unbackdoor.report.ladder import rates, strongest
from unbackdoor.report.sentences import REPAIR, UNLEARN
from unbackdoor.report.spaces import described, place_of, searched
from unbackdoor.report.words import moves, percent
from unbackdoor.results import Scanned, ScanResult, Unscanned, versions

RULES: list[dict[str, Any]] = [
    {
        "id": "backdoored",
        "name": "Backdoor",
        "shortDescription": {"text": "A small trigger decides what the model answers."},
        "help": {"text": REPAIR},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security"], "security-severity": "9.0"},
    },
    {
        "id": "inconclusive",
        "name": "Suspicion",
        "shortDescription": {"text": "A backdoor was neither found nor ruled out."},
        "help": {
            "text": "The message says why. More images or time, or --budget thorough, may tell. "
            f"{UNLEARN}"
        },
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["security"], "security-severity": "5.0"},
    },
    {
        "id": "clean",
        "name": "NothingFound",
        "shortDescription": {"text": "No trigger that counts was found."},
        "help": {"text": "Triggers outside the searched spaces are not seen."},
        "defaultConfiguration": {"level": "none"},
    },
    {
        "id": "unscanned",
        "name": "NotScanned",
        "shortDescription": {
            "text": "A model could not be scanned, so it is not known to be clean."
        },
        "help": {"text": "The message says why; do not deploy this model before it is scanned."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security"], "security-severity": "7.0"},
    },
]


def encode_sarif(outcomes: Sequence[Scanned]) -> bytes:
    """Return a SARIF log of one run with all models.

    Each has a result for every found class, one that says that none was found, or one that says why
    it was not scanned.
    """
    number = versions()["unbackdoor"]
    driver = {"name": "unbackdoor", "version": number, "semanticVersion": number, "rules": RULES}
    failures = [outcome for outcome in outcomes if isinstance(outcome, Unscanned)]
    invocation: dict[str, Any] = {"executionSuccessful": not failures}
    if failures:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": _literal(failure.error)}} for failure in failures
        ]
    artifacts: list[dict[str, Any]] = []  # each once: the schema wants them unique
    places: list[int] = []
    for artifact in map(_artifact, outcomes):
        if artifact not in artifacts:
            artifacts.append(artifact)
        places.append(artifacts.index(artifact))
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "artifacts": artifacts,
        "results": [
            finding
            for outcome, place in zip(outcomes, places, strict=True)
            for finding in _results(outcome, place)
        ],
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=1) + b"\n"


def _artifact(outcome: Scanned) -> dict[str, Any]:
    sha256 = outcome.model.sha256
    return {"location": _location(outcome), **({"hashes": {"sha-256": sha256}} if sha256 else {})}


def _location(outcome: Scanned) -> dict[str, Any]:
    """Return the path as a relative reference, in which a colon would end the name of a scheme.

    GitHub refuses a whole log in which one address has a scheme that it does not know.
    """
    path = outcome.model.path.replace("\\", "/").encode("utf-8", "replace")
    return {"uri": quote(path, safe="/")}


def _results(outcome: Scanned, index: int) -> list[dict[str, Any]]:
    if isinstance(outcome, Unscanned):
        return [_finding(outcome, index, "unscanned", None, outcome.error, {})]
    said = searched(outcome)
    common: dict[str, Any] = {
        "accuracy": outcome.model.accuracy,
        "searched": outcome.searched,
        "notSearched": outcome.not_searched,
        "spaces": [space.name for space in outcome.spaces],
    }
    if not outcome.targets:
        ladder = {space: rate for space, (_, rate) in strongest(outcome).items()}
        properties = {**common, "space": outcome.space, "ladder": ladder}
        text = f"{said} {outcome.reason}"
        return [_finding(outcome, index, outcome.verdict, None, text, properties)]
    return [_towards(outcome, index, target, common) for target in outcome.targets]


def _towards(scan: ScanResult, index: int, target: int, common: dict[str, Any]) -> dict[str, Any]:
    record = scan.classes[target]
    trigger, place = described(scan, record.space), place_of(record.space)
    properties = {
        **common,
        "target": target,
        "class": record.name,
        "asr": record.asr,
        "space": record.space,
        "trigger": trigger,
        **({"place": list(place)} if place else {}),
        "ladder": rates(record),
        "logVolume": {f"{item.beta:g}": item.value for item in record.log_volume},
    }
    what = f"{percent(record.asr)} of pictures become {record.name!r} with a trigger"
    if record.goal:
        what = (
            f"A trigger sends {percent(record.asr)} of pictures to another class, each class to "
            f"its own ({moves(scan, record.goal)})"
        )
    text = f"{what}: {trigger}. {scan.reason} {searched(scan)}"
    return _finding(scan, index, scan.verdict, target, text, properties)


def _finding(
    outcome: Scanned,
    index: int,
    rule_id: str,
    target: int | None,
    text: str,
    properties: dict[str, Any],
) -> dict[str, Any]:
    number, rule = next((at, rule) for at, rule in enumerate(RULES) if rule["id"] == rule_id)
    location = {"artifactLocation": {**_location(outcome), "index": index}}
    identity = outcome.model.sha256 or outcome.model.path
    return {
        "ruleId": rule_id,
        "ruleIndex": number,
        "kind": "pass" if rule_id == "clean" else "fail",
        "level": rule["defaultConfiguration"]["level"],
        "message": {"text": _literal(text)},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"modelAndTarget/v1": f"{identity}:{target}"},
        "properties": properties,
    }


def _literal(text: str) -> str:
    """Return text in which nothing is a placeholder or a link (sections 3.11.5 and 3.11.6)."""
    return printable(text).replace("{", "{{").replace("}", "}}").replace("](", "] (")
