"""Benchmarks: what the README states, measured by one command each, kept with its provenance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from unbackdoor.bench import profile, robust, shipped
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine, Processes, Ray, Serial
from unbackdoor.bench.framework.table import Line, markdown
from unbackdoor.bench.modes import modes
from unbackdoor.bench.paper import cross_sections, features
from unbackdoor.bench.paper import figure as paper_figure
from unbackdoor.bench.paper import robust as paper_robust
from unbackdoor.bench.paper import table as paper
from unbackdoor.bench.reference import panels, reference
from unbackdoor.bench.toys import toys
from unbackdoor.errors import ArgumentError
from unbackdoor.runtime.progress import Bars, Progress
from unbackdoor.triggers.planted import parse_trigger

__all__ = ["BENCHMARKS", "SWEEPS", "Outcome", "Processes", "Ray", "Request", "Serial", "markdown"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured.

    Args:
        models: as the command line writes them.
        seeds: one run each.
        store: folder that keeps finished rows.
        reference: a clean model.
        engine: where the pieces of a sweep run.
        device: where models run.
        progress: where to report.
        only: of the paper's attacks, divided by commas; all when left out, one for robustness.
        columns: of the paper's table, ``main`` or ``all``.
        variant: how the paper's backdoors get in, ``implanted`` or ``scratch``.
        arch: of the paper's networks; the data set's own when left out.
        limit: seconds after which a sweep begins no further piece.

    """

    models: Sequence[str]
    seeds: Sequence[int]
    store: Path
    reference: str
    engine: Engine
    device: str = "cpu"
    progress: Progress = field(default_factory=Bars)
    only: str | None = None
    columns: str = "main"
    variant: str = "implanted"
    arch: str | None = None
    limit: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Args:
        rows: flat, with everything.
        lines: of a table.
        figure: as SVG, where there is one.
        missing: rows that a limit left out.

    """

    rows: list[dict[str, Any]]
    lines: list[Line]
    figure: str | None = None
    missing: int = 0


Benchmark = Callable[[Request], Outcome]
R = TypeVar("R")


def _shipped(request: Request) -> Outcome:
    rows = shipped.measure(
        request.models,
        request.seeds,
        request.store,
        request.reference,
        request.device,
        request.progress,
    )
    return Outcome(msgspec.to_builtins(rows), shipped.summary(rows))


def _profile(request: Request) -> Outcome:
    rows = profile.measure(
        request.models, request.seeds[0], request.store, request.device, request.progress
    )
    return Outcome(msgspec.to_builtins(rows), profile.summary(rows))


def _toys(request: Request) -> Outcome:
    rows = toys.measure(request.seeds, request.store, request.progress)
    return Outcome(msgspec.to_builtins(rows), toys.summary(rows), toys.figure(rows))


def _modes(request: Request) -> Outcome:
    rows = modes.measure(request.seeds, request.store, request.progress)
    return Outcome(msgspec.to_builtins(rows), modes.summary(rows))


def _of_backdoored(
    measure: Callable[..., list[R]], summary: Callable[[list[R]], list[Line]]
) -> Benchmark:
    """Make a benchmark of the models that hide something: all but the clean one."""

    def run(request: Request) -> Outcome:
        names = [name for name in request.models if name != request.reference]
        rows = measure(names, request.seeds, request.store, request.device, request.progress)
        return Outcome(msgspec.to_builtins(rows), summary(rows))

    return run


def _paper(request: Request) -> Outcome:
    chosen = [
        paper.networks(attack, request.variant, request.arch)
        for attack in paper.select(request.only)
    ]
    specs = paper.plan(chosen, paper.COLUMNS[request.columns], request.seeds)
    rows = paper.measure(
        specs,
        Archive(request.store),
        request.engine,
        request.progress,
        request.device,
        request.limit,
    )
    return Outcome(
        msgspec.to_builtins(rows),
        paper.summary(rows),
        paper_figure.figure(rows, paper.OURS),
        len(specs) - len(rows),
    )


def _paper_features(request: Request) -> Outcome:
    chosen = [
        paper.networks(attack, request.variant, request.arch)
        for attack in paper.select(request.only)
    ]
    measured = features.measure(
        chosen,
        request.seeds,
        Archive(request.store),
        request.engine,
        request.progress,
        request.device,
        request.limit,
    )
    missing = len(chosen) - len(measured)
    return Outcome(features.flat(measured), features.summary(measured), None, missing)


def _paper_robust(request: Request) -> Outcome:
    attack, *others = paper.select(request.only or "cifar10-bw:170")
    if others:
        raise ArgumentError(
            f"--only: paper-robust is of one attack, came {1 + len(others)}; name one."
        )
    networks = paper.networks(attack, request.variant, request.arch)
    chosen = paper_robust.variants(*networks, request.seeds)
    archive = Archive(request.store)
    measured = paper_robust.measure(
        chosen, archive, request.engine, request.progress, request.device, request.limit
    )
    planted = parse_trigger(attack.trigger)
    laws = paper_robust.laws(measured, archive)
    return Outcome(
        paper_robust.flat(measured),
        paper_robust.summary(measured),
        cross_sections.figure(laws, planted) if laws else None,
        len(chosen) - len(measured),
    )


BENCHMARKS: dict[str, Benchmark] = {
    "shipped": _shipped,
    "profile": _profile,
    "toys": _toys,
    "modes": _modes,
    "reference": _of_backdoored(reference.measure, reference.summary),
    "robust": _of_backdoored(robust.measure, robust.summary),
    "panels": _of_backdoored(panels.measure, panels.summary),
    "paper": _paper,
    "paper-features": _paper_features,
    "paper-robust": _paper_robust,
}
"""By name on the command line."""

DRAWN = ("toys", "paper", "paper-robust")
"""Those that have a figure."""

ONCE = ("paper", "paper-features")
"""Those of which one seed is measured where no number is given: they have many triggers."""

SWEEPS = ("paper", "paper-features", "paper-robust")
"""Those whose pieces an engine runs."""
