"""The verdict of a scan in SARIF 2.1.0 (OASIS, 2020), for systems that collect findings."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from unbackdoor.results import ScanResult

LEVELS = {"backdoored": "error", "inconclusive": "warning", "clean": "none"}
RULES: list[dict[str, Any]] = [
    {
        "id": "backdoored",
        "name": "Backdoor",
        "shortDescription": {"text": "A small patch sends any picture to one class."},
        "help": {
            "text": "Do not deploy this model. 'unbackdoor repair' unlearns what was found, "
            "measures the result and scans again."
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security"], "security-severity": "9.0"},
    },
    {
        "id": "inconclusive",
        "name": "Suspicion",
        "shortDescription": {
            "text": "A patch works too often for a clean class, too rarely to tell."
        },
        "help": {"text": "Scan again with --budget thorough and more images."},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["security"], "security-severity": "5.0"},
    },
    {
        "id": "clean",
        "name": "NothingFound",
        "shortDescription": {"text": "No patch that was searched for sends pictures to one class."},
        "help": {"text": "Triggers outside the searched space are not seen."},
        "defaultConfiguration": {"level": "none"},
    },
]


def encode_sarif(result: ScanResult) -> bytes:
    """Return a scan as a SARIF log: a result for each found class, or one that says none was."""
    artifact = {"uri": quote(result.model.path.replace("\\", "/"), safe="/:")}
    hashes = {"hashes": {"sha-256": result.model.sha256}} if result.model.sha256 else {}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "unbackdoor",
                        "version": result.versions["unbackdoor"],
                        "semanticVersion": result.versions["unbackdoor"],
                        "rules": RULES,
                    }
                },
                "invocations": [{"executionSuccessful": True}],
                "artifacts": [{"location": artifact, **hashes}],
                "results": [
                    _finding(result, target, artifact) for target in result.targets or [None]
                ],
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=1) + b"\n"


def _finding(result: ScanResult, target: int | None, artifact: dict[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {"space": result.space, "accuracy": result.model.accuracy}
    text = result.reason
    if target is not None:
        record = result.classes[target]
        text = f"Any picture becomes {record.name!r}: {result.reason}"
        properties |= {
            "target": target,
            "class": record.name,
            "asr": record.asr,
            "logVolume": {f"{item.beta:g}": item.value for item in record.log_volume},
        }
    rule = next(index for index, rule in enumerate(RULES) if rule["id"] == result.verdict)
    return {
        "ruleId": result.verdict,
        "ruleIndex": rule,
        "kind": "pass" if result.verdict == "clean" else "fail",
        "level": LEVELS[result.verdict],
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {**artifact, "index": 0}}}],
        "partialFingerprints": {"modelAndTarget/v1": f"{result.model.sha256}:{target}"},
        "properties": properties,
    }
