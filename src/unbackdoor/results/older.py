"""Results of schema version 1, whose scan had one space and one size of triggers for all classes.

They are brought into the present form when they are read, so that nothing after that knows two.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from unbackdoor.results.records import (
    SCHEMA_VERSION,
    Rung,
    Scanned,
    ScanResult,
    SearchedSpace,
    Unscanned,
)
from unbackdoor.results.repairs import RepairResult, Result

OLDER = 1
"""The schema version that is read and no longer written."""
One = TypeVar("One", bound=Result | Unscanned)


class _Scan(msgspec.Struct, frozen=True, kw_only=True, tag="scan", tag_field="kind"):
    """What a scan of version 1 held for all of its classes.

    Args:
        dimensions: n, parameters of one trigger.
        trigger_shape: channels, height and width of the picture that θ is; empty for a square.

    """

    dimensions: int = 0
    trigger_shape: list[int] = []


class _Repair(msgspec.Struct, frozen=True, kw_only=True, tag="repair", tag_field="kind"):
    scan: _Scan
    rescan: _Scan


class _Unscanned(msgspec.Struct, frozen=True, kw_only=True, tag="unscanned", tag_field="kind"):
    pass


def upgraded(
    result: Result | Unscanned | list[Scanned], content: bytes
) -> Result | Unscanned | list[Scanned]:
    """Return a result in the present form; one that has it already is returned as it is.

    Args:
        result: decoded by the present types.
        content: the file, which holds what these types do not.

    Raises:
        msgspec.DecodeError: the file has not the form of version 1.

    """
    every = result if isinstance(result, list) else [result]
    if all(one.schema_version != OLDER for one in every):
        return result
    known: Any = msgspec.json.decode(
        content, type=_Scan | _Repair | _Unscanned | list[_Scan | _Unscanned]
    )
    if isinstance(result, list):
        return [_upgraded(one, old) for one, old in zip(result, known, strict=True)]
    return _upgraded(result, known)


def _upgraded(one: One, old: Any) -> One:
    if one.schema_version != OLDER:
        return one
    if isinstance(one, RepairResult):
        after = one.rescan and _upgraded(one.rescan, old.rescan)
        scans = {"scan": _upgraded(one.scan, old.scan), "rescan": after}
        return msgspec.structs.replace(one, schema_version=SCHEMA_VERSION, **scans)
    if isinstance(one, ScanResult):
        return _of_scan(one, old)
    return msgspec.structs.replace(one, schema_version=SCHEMA_VERSION)


def _of_scan(scan: ScanResult, old: _Scan) -> ScanResult:
    """Give every class the space and the shape that all of them had."""
    shape = old.trigger_shape or _square(old.dimensions, scan.image_shape)
    return msgspec.structs.replace(
        scan,
        schema_version=SCHEMA_VERSION,
        spaces=[SearchedSpace(name=scan.space, description=scan.searched or scan.space)],
        classes=[
            msgspec.structs.replace(
                record,
                space=scan.space,
                trigger_shape=shape,
                ladder=[Rung(space=scan.space, asr=record.asr)],
            )
            for record in scan.classes
        ],
    )


def _square(dimensions: int, image_shape: list[int]) -> list[int]:
    channels = max([1, *image_shape[:1]])
    side = math.isqrt(max(0, dimensions) // channels)
    return [channels, side, side]
