"""Results whose every text is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, TypeVar, get_args

import msgspec

from unbackdoor.results import Basis, Outcome, Result, Status, Unscanned, Verdict

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
KEPT = {
    *get_args(Status),
    *get_args(Verdict),
    *get_args(Outcome),
    *get_args(Basis),
    "note",
    "warning",
}
"""Texts that a result holds only from a closed list."""


def harmless(text: str) -> str:
    """Return text without markup that has as many parts, because a list is made of parts."""
    return "; ".join("x" for _ in text.split("; "))


def poisoned(result: Shown, *payloads: str) -> Shown:
    """Replace each text of a result by the next payload, round and round.

    Texts that are the same stay the same, others stay different, as names of spaces have to.
    """
    return _poisoned(result, cycle(payloads), {})


def _poisoned(value: Any, payloads: Iterator[str], known: dict[str, str]) -> Any:
    if isinstance(value, str):
        if value not in KEPT and value not in known:
            known[value] = f"{next(payloads)}{len(known)}"
        return known.get(value, value)
    if isinstance(value, list):
        return [_poisoned(one, payloads, known) for one in value]
    if isinstance(value, dict):
        return {
            _poisoned(name, payloads, known): _poisoned(one, payloads, known)
            for name, one in value.items()
        }
    if isinstance(value, msgspec.Struct):
        changed = {
            name: _poisoned(getattr(value, name), payloads, known)
            for name in value.__struct_fields__
        }
        return msgspec.structs.replace(value, **changed)
    return value
