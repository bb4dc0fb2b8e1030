"""Experiments as data: a spec says what is to be computed, from what, and nothing else.

Specs are frozen, hashable, and made of values that travel to another process. What a spec needs are
specs too, so an experiment is a graph in which equal parts are one part, and the key of a spec
names its result for good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, cast

from unbackdoor.runtime.journal import Journal, forget, key_of, opened, state_folder


class Spec(Protocol):
    """One piece of work; a frozen dataclass of values and of other specs derives from it."""

    table: ClassVar[str]
    """Where results of this kind are kept."""
    result: ClassVar[type]
    """What a result is: a ``msgspec.Struct`` for a row, ``bytes`` for the file of a network."""
    version: ClassVar[int]
    """Raised when the code changes what a result means, so that it is computed again."""

    @property
    def key(self) -> str:
        """What its result is kept under: its fingerprint, unless it says something else."""
        return fingerprint(self)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The specs whose results it takes: none, unless it says so."""
        return ()

    @property
    def work(self) -> float:
        """How long it takes, in any unit that all specs of one sweep share; for the bar alone."""
        return 1.0

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Any:
        """Return the result, which the spec alone decides.

        Args:
            inputs: the results of what it needs.
            device: where networks run.

        """
        ...


def fingerprint(spec: Spec) -> str:
    """Return 16 hexadecimal digits, equal for equal specs and for no others."""
    return key_of(_tagged(spec))


def journal_of(spec: Spec) -> AbstractContextManager[Journal]:
    """Open the journal of a piece; its steps stay until :func:`settle`."""
    return opened(state_folder(), "piece", spec.key)


def settle(spec: Spec) -> None:
    """Remove the journal of a piece whose result is kept."""
    forget(state_folder(), "piece", spec.key)


def _tagged(value: object) -> object:
    """Return a value for JSON; a dataclass says its type, so that equal fields do not suffice."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: _tagged(getattr(value, f.name)) for f in dataclasses.fields(value)}
        kind = type(value)
        return {"": [kind.__name__, getattr(kind, "version", 0)], **fields}
    if isinstance(value, tuple):
        return [_tagged(item) for item in cast("tuple[object, ...]", value)]
    return value
