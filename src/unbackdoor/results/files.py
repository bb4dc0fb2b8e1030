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
from unbackdoor.results.older import upgraded
from unbackdoor.results.records import (
    LARGEST,
    MOST_DIMENSIONS,
    MOST_STORED,
    MOST_VALUES,
    SCHEMA_VERSION,
    ClassRecord,
    Scanned,
    ScanResult,
    Unscanned,
)
from unbackdoor.results.repairs import WRITTEN, RepairResult, Result
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
        result = upgraded(cast("Result | Unscanned | list[Scanned]", decoded), content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArgumentError) as error:
        raise ContentError(
            f"{argument}: {path} is not a result of this tool ({error}); scan anew."
        ) from error
    if not result:
        raise ContentError(f"{argument}: {path} is an empty list; scan anew.")
    every = result if isinstance(result, list) else [result]
    for one in every:
        scans = [one.scan, one.latest] if isinstance(one, RepairResult) else [one]
        for part in [one, *scans]:
            if part.schema_version != SCHEMA_VERSION:
                raise ContentError(
                    f"{argument}: {path}: expected schema version {SCHEMA_VERSION}, came "
                    f"{part.schema_version}; scan again."
                )
        problems = [_problem(scan) for scan in scans if isinstance(scan, ScanResult)]
        if isinstance(one, RepairResult):
            problems.append(_problem_of_repair(one))
        if problem := next(filter(None, problems), None):
            raise ContentError(f"{argument}: {path}: {problem}; the result is damaged, scan again.")
    return result


def _problem(scan: ScanResult) -> str | None:
    """Return the first inconsistency in a scan, or None."""
    classes, shape = len(scan.data.classes), scan.image_shape
    if len(shape) != 3 or min(shape) < 1:
        return f"expected channels, height and width of images above 0, came {shape}"
    if [record.index for record in scan.classes] != list(range(classes)):
        return f"expected a record for each of {classes} classes in order"
    targets = scan.targets
    if sorted(set(targets)) != targets or not all(0 <= target < classes for target in targets):
        return f"expected targets from 0 to {classes - 1}, came {targets}"
    if bool(targets) != (scan.verdict == "backdoored"):
        return f"the verdict {scan.verdict} does not fit the targets {targets}"
    if targets != [record.index for record in scan.classes if record.status == "backdoored"]:
        return f"the targets {targets} do not fit the status of each class"
    if scan.verdict == "clean" and any(record.status != "clean" for record in scan.classes):
        return "the verdict clean does not fit the status of each class"
    told = [x for one in scan.examples for x in (one.label, one.predicted, one.predicted_stamped)]
    if not all(0 <= label < classes for label in told):
        return f"expected labels of examples from 0 to {classes - 1}"
    for record in scan.classes:
        if problem := _problem_of_class(record, classes):
            return f"class {record.index}: {problem}"
    for place in scan.places:
        room = min(shape[1] - place.row, shape[2] - place.column)
        if min(place.row, place.column) < 0 or not 1 <= place.size <= room:
            return f"expected places within images of {shape[1]}×{shape[2]}, came {place}"
        if not 0 <= place.target < classes or not 0 <= place.rate <= 1:
            return f"expected a class and a rate from 0 to 1 of a place, came {place}"
    return None


def _problem_of_class(record: ClassRecord, classes: int) -> str | None:
    """Return the first inconsistency in the record of a class, or None."""
    n, shape = len(record.best), record.trigger_shape
    if not record.space:
        return "expected the name of a space"
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) != n or n > MOST_VALUES:
        return (
            f"expected a trigger of at most {MOST_VALUES} values that are a picture, came {n} of "
            f"shape {shape}"
        )
    rates = [record.asr, record.confusion, *(rung.asr for rung in record.ladder), *record.sources]
    if not all(0 <= rate <= 1 for rate in rates):
        return "expected rates from 0 to 1"
    if len(record.sources) not in {0, classes}:
        return f"expected the rates of {classes} classes, came {len(record.sources)}"
    if len(record.goal) not in {0, classes} or not all(0 <= goal < classes for goal in record.goal):
        return f"expected for each of {classes} classes where its images go, came {record.goal}"
    for stair in record.stairs:
        count = len(stair.values)
        if n > MOST_DIMENSIONS and (stair.log_q or n * count > MOST_STORED):
            return f"expected stairs of at most {MOST_DIMENSIONS} dimensions, came {n}"
        if not count or len(stair.draws) != n * count or len(stair.log_q) not in {0, count}:
            return f"expected {n} bytes and a density for each of {count} draws"
        if not 0 <= stair.gamma <= 1:
            return f"expected weights from 0 to 1, came {stair.gamma}"
    return None


def _problem_of_repair(repair: RepairResult) -> str | None:
    """Return the first inconsistency in what a repair adds to its scans, or None."""
    classes = len(repair.scan.data.classes)
    if repair.assumed and not all(0 <= one < classes for one in repair.assumed.targets):
        return f"expected targets of the repair from 0 to {classes - 1}"
    lengths = {len(rates) for row in repair.rows for rates in (row.recovered, row.without)}
    rates = [rate for row in repair.rows for rate in (*row.recovered, *row.without)]
    if len(lengths) > 1 or not all(0 <= rate <= 1 for rate in rates):
        return "expected rates from 0 to 1 of the same classes in each row"
    if (guard := repair.guard) is None:
        return None
    attempts, states = len(guard.attempts), len(guard.states)
    if not all(0 <= state.attempt < attempts for state in guard.states):
        return f"expected states of {attempts} attempts"
    if not all(0 <= one < states for one in guard.turned_down):
        return f"expected some of {states} states to be turned down, came {guard.turned_down}"
    if guard.taken is not None and not 0 <= guard.taken < states:
        return f"expected one of {states} states to be taken, came {guard.taken}"
    if not all(
        -1 <= one.accuracy_lost <= 1 and 0 <= (one.asr or 0) <= 1 and -2 <= (one.stronger or 0) <= 1
        for one in guard.states
    ):
        return "expected rates from 0 to 1 of each state"
    if not 0 <= guard.broken + guard.mended <= guard.unseen or min(guard.broken, guard.mended) < 0:
        return f"expected at most {guard.unseen} images that are broken or mended"
    return None
