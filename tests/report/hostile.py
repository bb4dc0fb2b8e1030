"""Results whose every text is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle
from typing import Any, TypeVar, get_args

import msgspec

from unbackdoor.results import Result, Status, Unscanned, Verdict

Shown = TypeVar("Shown", bound=Result | Unscanned)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>]]>-->{{ 7*7 }}</title></style>"
PAYLOADS = (
    EVIL,
    "\"><svg onload=alert(1)><rect width='1'/></svg>",
    "' onmouseover='alert(1)' autofocus onfocus='alert(1)",
    '" style="position:fixed" tabindex="0" onfocus="alert(1)',
    "</title></style></svg></table></main><script>alert(1)</script>",
    "<!-- <style>*{display:none}",
    "<base href=//example.invalid/><link rel=stylesheet href=a.css>",
    '<meta http-equiv=refresh content="0;url=http://example.invalid/">',
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href=javascript:alert(1)>javascript:alert(1)</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62; &quot;",
    "{% include 'page.css' %}{{ view.__class__ }}",
    "<script\x00>alert(1)</script\n>\u202e<b>\u2066",
    "<math><mtext></p><img src=x onerror=alert(1)>",
)
KEPT = {*get_args(Status), *get_args(Verdict), "note", "warning"}
"""Texts that a result holds only from a closed list."""


def poisoned(result: Shown, *payloads: str) -> Shown:
    """Replace each text of a result by the next payload, round and round; keys stay distinct."""
    return _poisoned(result, cycle(payloads), count())


def _poisoned(value: Any, payloads: Iterator[str], number: Iterator[int]) -> Any:
    if isinstance(value, str):
        return value if value in KEPT else next(payloads)
    if isinstance(value, list):
        return [_poisoned(one, payloads, number) for one in value]
    if isinstance(value, dict):
        return {
            f"{next(payloads)}{next(number)}": _poisoned(one, payloads, number)
            for one in value.values()
        }
    if isinstance(value, msgspec.Struct):
        changed = {
            name: _poisoned(getattr(value, name), payloads, number)
            for name in value.__struct_fields__
        }
        return msgspec.structs.replace(value, **changed)
    return value
