"""Safetensors, both ways: a header that is checked before any tensor is touched, then tensors.

The layout: eight bytes n, a JSON object of n bytes (name → dtype, shape, offsets), and the data,
which the offsets cover from end to end without a gap or an overlap.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard, cast

import safetensors
import safetensors.torch
from torch import Tensor

from unbackdoor.errors import ContentError, brief
from unbackdoor.runtime.files import solid_bytes

HEADER = "unbackdoor"
"""The key of the header under which provenance stands, as JSON."""
LARGEST_HEADER = 4 << 20
MOST_AXES = 16
BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of an element, by the name of its type."""


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file and the provenance in its header, empty where there is none.

    Raises:
        ContentError: it is no such file, or a damaged one.
        OSError: it cannot be read.

    """
    try:
        text = check(path).get(HEADER, "{}")
        facts: object = json.loads(text)
        with cast(Any, safetensors).safe_open(path, framework="pt") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ContentError(
            f"MODEL: {path} is not a safetensors file that can be read ({brief(error)}); fetch or "
            f"save it anew."
        ) from error
    return state, cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}


def encode(state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Return a file of these tensors, with provenance in its header."""
    return safetensors.torch.save(dict(state), {HEADER: json.dumps(dict(facts))})


def check(path: Path) -> dict[str, str]:
    """Check the header of a file against the size of the file and return its metadata.

    Raises:
        ValueError: what does not fit, in a few words.

    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise ValueError(
                f"a header of {length:,} bytes in a file of {size:,}; at most "
                f"{LARGEST_HEADER >> 20} MiB are read"
            )
        header: object = json.loads(file.read(length), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("a header that is not an object")  # noqa: TRY004
    entries = cast("dict[str, Any]", header)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in cast("dict[str, object]", metadata).values()
    ):
        raise ValueError("metadata that are not texts")
    if (written := solid_bytes(path)) < size:
        raise ValueError(f"{size:,} bytes, of which only {written:,} were ever written")
    end = 0
    for name, (first, last) in sorted(
        ((name, _span(name, entry)) for name, entry in entries.items()), key=lambda item: item[1]
    ):
        if first != end:
            what = "overlaps another" if first < end else "leaves a gap before it"
            raise ValueError(f"{_short(name)} {what}")
        end = last
    if end != size - 8 - length:
        raise ValueError(f"tensors of {end:,} bytes, data of {size - 8 - length:,}")
    return cast("dict[str, str]", metadata)


def _span(name: str, entry: object) -> tuple[int, int]:
    """Return where a tensor begins and ends, once its type and shape agree with that."""
    if not isinstance(entry, dict):
        raise ValueError(f"{_short(name)} is not described")  # noqa: TRY004
    fields = cast("dict[str, object]", entry)
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{_short(name)} has other fields than dtype, shape and data_offsets")
    kind, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(kind, str) or kind not in BYTES:
        raise ValueError(f"{_short(name)} is of the unknown type {_short(str(kind))}")
    if not _sizes(shape) or len(shape) > MOST_AXES or not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{_short(name)} has a shape or offsets that are no sizes")
    first, last = offsets
    if math.prod(shape) * BYTES[kind] != last - first:
        raise ValueError(f"{_short(name)} does not have the bytes that its shape takes")
    return first, last


def _sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < 1 << 63 for item in cast("list[object]", value)
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice in the header")
    return found


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:59] + "…"
