"""A benchmark as a value: its measurements, its table and figure, and the options it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine, Serial
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.framework.table import Line
from unbackdoor.errors import ArgumentError
from unbackdoor.runtime.progress import Bars, Progress

R = TypeVar("R")
T = TypeVar("T")
Drawn = TypeVar("Drawn", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The measurements to make, and where to make them.

    Args:
        models: names, as on the command line.
        seeds: each is one run.
        store: folder that keeps finished rows.
        reference: a clean model.
        engine: runs the pieces.
        device: where models run.
        progress: where to report.
        only: names of the paper's attacks, separated by commas; when left out, all attacks, or one
            for ``paper-robust``; of families and scan, names of networks.
        columns: of the paper's table, ``main`` or ``all``.
        variant: how the paper's backdoors are made, ``implanted`` or ``scratch``.
        arch: of the paper's networks; the data set's own when left out.
        make: whether the networks of families that are not there are trained.
        networks: folder of networks of families that were trained before.
        listed: file that lists networks of others, for families, scan and repairs.
        methods: names of detectors for scan, separated by commas; those it runs unasked when left
            out.
        limit: seconds after which no further piece is started.

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
    make: bool = False
    networks: Path | None = None
    listed: Path | None = None
    methods: str | None = None
    limit: float = math.inf


def those_named(only: str | None, every: Mapping[str, T], told: str | None = None) -> list[T]:
    """Return the networks of the names after ``--only``; all when left out.

    Args:
        only: names with commas between them.
        every: by name.
        told: the names in the sentence of an error; all when left out.

    Raises:
        ArgumentError: there is no network of a name.

    """
    if only is None:
        return list(every.values())
    names = [name for name in only.split(",") if name]
    if unknown := [name for name in names if name not in every]:
        raise ArgumentError(
            f"--only: there is no network {unknown[0]!r} of this benchmark; there are "
            f"{told or ', '.join(every)}."
        )
    return [every[name] for name in names]


Rows = Callable[[Request, Sequence[Spec], Archive], list[R]]
"""Makes the rows of a table from a request, its planned specs, and the archive of results."""


def each_result(request: Request, specs: Sequence[Spec], archive: Archive) -> list[Any]:
    """Return the result of each finished spec; each result is one row."""
    del request
    return [archive[spec] for spec in specs if spec in archive]


def rows_in_each_result(request: Request, specs: Sequence[Spec], archive: Archive) -> list[Any]:
    """Return the rows of each finished spec; each result has several rows."""
    return [row for result in each_result(request, specs, archive) for row in result.rows]


class Figure(Protocol[Drawn]):
    """A figure of the rows of a benchmark."""

    def check(self, request: Request, specs: Sequence[Spec], archive: Archive) -> None:
        """Raise before any work if the figure cannot be drawn, however much is measured.

        Raises:
            ArgumentError: it cannot be drawn.

        """
        del request, specs, archive

    def draw(self, rows: Sequence[Drawn]) -> str:
        """Return the figure as SVG.

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
        summary: its measurements, in a sentence.
        plan: returns the pieces of work of a request; raises an error if it is impossible.
        rows: makes the rows of its table from the results; when left out, each result is a row.
        table: returns the lines of its table; none for no rows.
        flat: returns the rows as JSON values.
        figure: the figure of ``-f svg``; none when left out.
        seeds: the default number of seeds.
        flags: which of ``models``, ``only``, ``columns``, ``variant``, ``arch``, ``make``,
            ``networks``, ``list`` and ``methods`` it takes.

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
    """The finished part of a request.

    Args:
        rows: of the table.
        planned: the number of results that were requested.
        missing: how many of them are missing because of a limit.

    """

    rows: list[R]
    planned: int
    missing: int


def measure(bench: Bench[R], request: Request, *, drawn: bool = False) -> Measured[R]:
    """Measure the missing results of a request, and return all finished rows.

    Args:
        bench: the benchmark.
        request: the measurements to make, and where to make them.
        drawn: whether its figure will be drawn; if that is impossible, an error is raised before
            any work.

    Raises:
        ArgumentError: the request is impossible, or the store cannot be written.
        ContentError: a file of the store is invalid, or a model cannot be used.
        UnbackdoorError: a piece failed; the others are finished and saved.

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
