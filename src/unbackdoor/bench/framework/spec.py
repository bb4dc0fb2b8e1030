"""Experiments as data: a spec describes what to compute, and from what.

Specs are frozen, hashable, and made of values that can be sent to another process. The inputs of a
spec are specs too, so an experiment is a graph in which equal parts are computed once. The key of a
spec names its result permanently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, cast

from unbackdoor.runtime.journal import Journal, forget, key_of, opened, state_folder


class Spec(Protocol):
    """One piece of work; subclasses are frozen dataclasses of values and of other specs."""

    table: ClassVar[str]
    """Name of the table that stores results of this kind."""
    result: ClassVar[type]
    """Type of a result: a ``msgspec.Struct`` for a row, ``bytes`` for the file of a network."""
    version: ClassVar[int]
    """Increased when the code changes the meaning of a result, so that it is computed again."""

    @property
    def key(self) -> str:
        """The key under which its result is stored: by default its fingerprint."""
        return fingerprint(self)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The specs whose results it takes: by default none."""
        return ()

    @property
    def work(self) -> float:
        """How long it takes, for the progress bar, in a unit common to all specs of a sweep."""
        return 1.0

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Any:
        """Return the result, which depends on the spec alone.

        Args:
            inputs: the results of the specs that it needs.
            device: where networks run.

        """
        ...


def fingerprint(spec: object) -> str:
    """Return 16 hexadecimal digits, equal only for equal specs, or parts of specs."""
    return key_of(_tagged(spec))


def journal_of(spec: Spec) -> AbstractContextManager[Journal]:
    """Open the journal of a piece; it is kept until :func:`settle`."""
    return opened(state_folder(), "piece", spec.key)


def settle(spec: Spec) -> None:
    """Remove the journal of a piece whose result is saved."""
    forget(state_folder(), "piece", spec.key)


def _tagged(value: object) -> object:
    """Return a value for JSON; for a dataclass with its type, so that different types differ.

    A field that was added after rows were stored, which says so in its metadata, counts only where
    it is not at its default: so these rows keep their keys.
    """
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: _tagged(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("later") and getattr(value, f.name) == f.default)
        }
        kind = type(value)
        return {"": [kind.__name__, getattr(kind, "version", 0)], **fields}
    if isinstance(value, tuple):
        return [_tagged(item) for item in cast("tuple[object, ...]", value)]
    return value
