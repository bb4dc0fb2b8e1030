"""Benchmarks: what the README states, measured by one command each, kept with its provenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from unbackdoor.experiments import modes, profile, reference, robust, shipped, toys
from unbackdoor.experiments.table import Line, markdown
from unbackdoor.progress import Bars, Progress

__all__ = ["BENCHMARKS", "Outcome", "Request", "markdown"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured.

    Args:
        models: as the command line writes them.
        seeds: one run each.
        store: folder that keeps finished rows.
        reference: a clean model.
        device: where models run.
        progress: where to report.

    """

    models: Sequence[str]
    seeds: Sequence[int]
    store: Path
    reference: str
    device: str = "cpu"
    progress: Progress = field(default_factory=Bars)


@dataclass(frozen=True)
class Outcome:
    """Flat rows with everything, lines for a table, and an SVG figure where there is one."""

    rows: list[dict[str, Any]]
    lines: list[Line]
    figure: str | None = None


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
    rows = profile.measure(request.models, request.seeds[0], request.device)
    return Outcome(msgspec.to_builtins(rows), profile.summary(rows))


def _toys(request: Request) -> Outcome:
    rows = toys.measure(request.seeds, request.store, request.progress)
    return Outcome(msgspec.to_builtins(rows), toys.summary(rows), toys.figure(rows))


def _modes(request: Request) -> Outcome:
    rows = modes.measure(request.seeds, request.store, request.progress)
    return Outcome(msgspec.to_builtins(rows), modes.summary(rows))


def _reference(request: Request) -> Outcome:
    names = [name for name in request.models if name != request.reference]
    rows = reference.measure(names, request.seeds, request.store, request.device, request.progress)
    return Outcome(msgspec.to_builtins(rows), reference.summary(rows))


def _robust(request: Request) -> Outcome:
    names = [name for name in request.models if name != request.reference]
    rows = robust.measure(names, request.seeds, request.store, request.device, request.progress)
    return Outcome(msgspec.to_builtins(rows), robust.summary(rows))


BENCHMARKS: dict[str, Callable[[Request], Outcome]] = {
    "shipped": _shipped,
    "profile": _profile,
    "toys": _toys,
    "modes": _modes,
    "reference": _reference,
    "robust": _robust,
}
"""By name on the command line."""
