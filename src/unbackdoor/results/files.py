"""Results as files: written as JSON with escapes, checked when they are read, with a schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, cast

import msgspec

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.results.records import (
    LARGEST,
    MOST_DIMENSIONS,
    SCHEMA_VERSION,
    WRITTEN,
    RepairResult,
    Result,
    Scanned,
    ScanResult,
    Unscanned,
)
from unbackdoor.runtime.files import read_bytes, write_bytes


def encode(result: Result | Unscanned | Sequence[Scanned]) -> bytes:
    """Return a result, or those of several models, as indented JSON with a newline at the end.

    Control and direction characters are escaped, since the text may be printed to a terminal.
    """
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode()
    return (re.sub("[^\n -~]", _escaped, text) + "\n").encode()


def _escaped(sign: re.Match[str]) -> str:
    return sign[0] if sign[0].isprintable() else json.dumps(sign[0])[1:-1]


def write(result: Result | Unscanned | Sequence[Scanned], path: Path) -> None:
    """Write what :func:`encode` returns to ``path`` atomically."""
    write_bytes(path, encode(result))


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what ``scan`` or ``repair`` writes.

    A scan of several models writes a list of results. A repair that found nothing to unlearn writes
    its scan.
    """
    written = msgspec.json.schema(WRITTEN[command])
    for part in written["$defs"].values():
        part["description"] = cleandoc(part["description"])  # Python 3.13 does this itself
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"What unbackdoor {command} -f json writes",
        **written,
    }


def read(path: Path, argument: str = "RESULT") -> Result:
    """Read the result of one model and check it.

    Args:
        path: of the file.
        argument: the argument that named the file, for messages.

    Raises:
        ArgumentError: there is no such file.
        ContentError: it is no result of this schema version, or that of several models.

    """
    result = read_any(path, argument)
    if not isinstance(result, ScanResult | RepairResult):
        raise ContentError(f"{argument}: {path} is not the result of one scan; name one's.")
    return result


def read_any(path: Path, argument: str = "RESULT") -> Result | Unscanned | list[Scanned]:
    """Read a result, or those of several models, and check them.

    Args:
        path: of the file.
        argument: the argument that named the file, for messages.

    Raises:
        ArgumentError: there is no such file.
        ContentError: it is no result of this schema version.

    """
    content = read_bytes(path, argument, LARGEST)
    try:
        decoded: Any = msgspec.json.decode(content, type=Result | Unscanned | list[Scanned])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArgumentError) as error:
        raise ContentError(
            f"{argument}: {path} is not a result of this tool ({error}); scan anew."
        ) from error
    result = cast("Result | Unscanned | list[Scanned]", decoded)
    if not result:
        raise ContentError(f"{argument}: {path} is an empty list; scan anew.")
    every = result if isinstance(result, list) else [result]
    for one in every:
        if one.schema_version != SCHEMA_VERSION:
            raise ContentError(
                f"{argument}: {path}: expected schema version {SCHEMA_VERSION}, came "
                f"{one.schema_version}; scan again."
            )
        scans = [one.scan, one.rescan] if isinstance(one, RepairResult) else [one]
        for scan in scans:
            if isinstance(scan, ScanResult) and (problem := _problem(scan)):
                raise ContentError(
                    f"{argument}: {path}: {problem}; the result is damaged, scan again."
                )
    return result


def _problem(scan: ScanResult) -> str | None:
    """Return the first inconsistency in a scan, or None."""
    classes, n = len(scan.data.classes), scan.dimensions
    if not 1 <= n <= MOST_DIMENSIONS or len(scan.image_shape) != 3 or min(scan.image_shape) < 1:
        return (
            f"expected sizes above 0 and up to {MOST_DIMENSIONS} dimensions, came {n} of images "
            f"{scan.image_shape}"
        )
    shape = scan.trigger_shape
    if shape and (len(shape) != 3 or min(shape) < 1 or math.prod(shape) != n):
        return f"expected a picture of {n} values for a trigger, came one of shape {shape}"
    if [record.index for record in scan.classes] != list(range(classes)):
        return f"expected a record for each of {classes} classes in order"
    targets = scan.targets
    if sorted(set(targets)) != targets or not all(0 <= target < classes for target in targets):
        return f"expected targets from 0 to {classes - 1}, came {targets}"
    if bool(targets) != (scan.verdict == "backdoored"):
        return f"the verdict {scan.verdict} does not fit the targets {targets}"
    if any(not scan.classes[target].stairs for target in targets):
        return "a backdoored class has no stairs"
    told = [x for one in scan.examples for x in (one.label, one.predicted, one.predicted_stamped)]
    if not all(0 <= label < classes for label in told):
        return f"expected labels of examples from 0 to {classes - 1}"
    for record in scan.classes:
        if not 0 <= record.asr <= 1:
            return f"expected an ASR from 0 to 1, came {record.asr}"
        if len(record.best) != n:
            return f"expected a trigger of {n} values, came {len(record.best)}"
        for stair in record.stairs:
            count = len(stair.values)
            if not count or len(stair.draws) != n * count or len(stair.log_q) not in {0, count}:
                return f"expected {n} bytes and a density for each of {count} draws"
            if not 0 <= stair.gamma <= 1:
                return f"expected weights from 0 to 1, came {stair.gamma}"
    return None
