"""A benchmark as a value: what it measures, what it shows of it, and what may be asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine, Serial
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.framework.table import Line
from unbackdoor.runtime.progress import Bars, Progress

R = TypeVar("R")
Drawn = TypeVar("Drawn", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured, and where.

    Args:
        models: as the command line writes them.
        seeds: one run each.
        store: folder that keeps finished rows.
        reference: a clean model.
        engine: where the pieces run.
        device: where models run.
        progress: where to report.
        only: of the paper's attacks, divided by commas; all when left out, one for robustness.
        columns: of the paper's table, ``main`` or ``all``.
        variant: how the paper's backdoors get in, ``implanted`` or ``scratch``.
        arch: of the paper's networks; the data set's own when left out.
        limit: seconds after which no further piece is begun.

    """

    models: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    store: Path
    reference: str
    engine: Engine = field(default_factory=Serial)
    device: str = "cpu"
    progress: Progress = field(default_factory=Bars)
    only: str | None = None
    columns: str = "main"
    variant: str = "implanted"
    arch: str | None = None
    limit: float = math.inf


Rows = Callable[[Request, Sequence[Spec], Archive], list[R]]
"""Makes the rows of a table of a request, of what it planned, and of what is there of it."""


def each_result(request: Request, specs: Sequence[Spec], archive: Archive) -> list[Any]:
    """Return the result of each spec that is there: a row is what one spec measures."""
    del request
    return [archive[spec] for spec in specs if spec in archive]


def rows_in_each_result(request: Request, specs: Sequence[Spec], archive: Archive) -> list[Any]:
    """Return the rows in the result of each spec that is there: one spec measures several."""
    return [row for result in each_result(request, specs, archive) for row in result.rows]


class Figure(Protocol[Drawn]):
    """A picture of the rows of a benchmark."""

    def check(self, request: Request, specs: Sequence[Spec], archive: Archive) -> None:
        """Refuse, before any work, what cannot be drawn however much is measured.

        Raises:
            ArgumentError: it cannot be drawn.

        """
        del request, specs, archive

    def draw(self, rows: Sequence[Drawn]) -> str:
        """Return it as SVG.

        Args:
            rows: of the table, at least one.

        Raises:
            ArgumentError: the rows hold nothing that could be drawn.

        """
        ...


@dataclass(frozen=True, kw_only=True)
class Bench(Generic[R]):
    """A benchmark.

    Args:
        name: on the command line.
        summary: what it measures, in a sentence.
        plan: returns the pieces of work of a request; refuses with an error what cannot be done.
        rows: makes the rows of its table of the results; each result is one when left out.
        table: returns the lines of its table; none for no rows.
        flat: returns the rows as JSON values.
        figure: what ``-f svg`` draws; it has none when left out.
        seeds: how many are measured where no number is given.
        flags: which of ``models``, ``only``, ``columns``, ``variant`` and ``arch`` it takes.

    """

    name: str
    summary: str
    plan: Callable[[Request], Sequence[Spec]]
    rows: Rows[R] = each_result
    table: Callable[[Sequence[R]], list[Line]]
    flat: Callable[[Sequence[R]], list[dict[str, Any]]] = msgspec.to_builtins
    figure: Figure[R] | None = None
    seeds: int = 5
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Measured(Generic[R]):
    """What is there of a request.

    Args:
        rows: of the table.
        planned: how many results were asked for.
        missing: how many of them a limit left out.

    """

    rows: list[R]
    planned: int
    missing: int


def measure(bench: Bench[R], request: Request, *, drawn: bool = False) -> Measured[R]:
    """Measure what the store lacks of a request, and return all that is there.

    Args:
        bench: what is measured.
        request: of what, and where.
        drawn: whether its figure will be wanted, so that it is refused now where it cannot be.

    Raises:
        ArgumentError: the request cannot be met, or the store cannot be written.
        ContentError: the store holds something else, or a model cannot be used.
        UnbackdoorError: a piece failed; the others are done and kept.

    """
    specs, archive = bench.plan(request), Archive(request.store)
    if drawn and bench.figure:
        bench.figure.check(request, specs, archive)
    complete(
        specs,
        archive,
        request.engine,
        request.progress,
        device=request.device,
        description=bench.name,
        limit=request.limit,
    )
    return Measured(
        rows=bench.rows(request, specs, archive),
        planned=len(specs),
        missing=sum(spec not in archive for spec in specs),
    )
