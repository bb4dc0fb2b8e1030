"""``unbackdoor bench``: measure what a store lacks of a benchmark, and print it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from rich.text import Text

from unbackdoor import models
from unbackdoor.app.commands.common import REFERENCE, prepare, print_wide, reporting
from unbackdoor.errors import ArgumentError

if TYPE_CHECKING:
    from unbackdoor.app import cli
    from unbackdoor.bench import Bench, Engine, Measured, Request


def bench(options: cli.Bench) -> int:
    """Measure what the store lacks of a benchmark, print it, and return how many rows it lacks.

    Raises:
        ArgumentError: an option is wrong, or is not of this benchmark; nothing is measured then.
        UnbackdoorError: see :func:`unbackdoor.bench.measure`.

    """
    from unbackdoor.bench import measure

    chosen = _chosen(options)
    request = _request(chosen, options)
    try:
        measured = measure(chosen, request, drawn=options.format == "svg")
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", []):
            interrupt.add_note("finished rows are kept, the same command goes on from there")
        raise
    _print(chosen, measured, options.format)
    if measured.missing:
        print(
            f"{measured.missing} of {measured.planned} rows are missing; the same command goes on "
            f"from there.",
            file=sys.stderr,
        )
    return measured.missing


def _chosen(options: cli.Bench) -> Bench[Any]:
    """Return the benchmark of that name, which has all that is asked of it."""
    from unbackdoor.bench import BENCHES, listed

    if options.name not in BENCHES:
        raise ArgumentError(
            f"NAME: unknown benchmark {options.name!r}; there are: {', '.join(BENCHES)}."
        )
    chosen = BENCHES[options.name]
    if options.format == "svg" and chosen.figure is None:
        drawn = listed([name for name, other in BENCHES.items() if other.figure])
        raise ArgumentError(f"-f svg: {options.name} has no figure; {drawn} have.")
    known = frozenset[str]().union(*(other.flags for other in BENCHES.values()))
    for field in dataclasses.fields(options):
        given = getattr(options, field.name) != field.default
        if given and field.name in known - chosen.flags:
            raise ArgumentError(f"--{field.name}: {options.name} does not have it; leave it out.")
    return chosen


def _request(chosen: Bench[Any], options: cli.Bench) -> Request:
    """Return what is asked of a benchmark, with the processor set up for it."""
    from unbackdoor.bench import Request

    seeds = chosen.seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {seeds}.")
    if options.minutes is not None and not options.minutes >= 0:
        raise ArgumentError(f"--minutes: expected 0 or more, came {options.minutes:g}.")
    kind = _engine_kind(options)
    prepare(options)
    return Request(
        models=options.models or tuple(f"shipped:{name}" for name in models.shipped()),
        seeds=range(options.seed, options.seed + seeds),
        store=options.store,
        reference=REFERENCE,
        device=options.device,
        progress=reporting(options),
        engine=_engine(kind, options),
        only=options.only,
        columns=options.columns,
        variant=options.variant,
        arch=options.arch,
        limit=math.inf if options.minutes is None else 60 * options.minutes,
    )


def _print(chosen: Bench[Any], measured: Measured[Any], form: str) -> None:
    """Print what there is."""
    from unbackdoor.bench import markdown

    if form == "json":
        print(json.dumps(chosen.flat(measured.rows), indent=1))
    elif not measured.rows:
        pass
    elif form == "svg" and chosen.figure:
        print(chosen.figure.draw(measured.rows))
    elif form == "markdown":
        print(markdown(chosen.table(measured.rows)))
    else:
        lines = chosen.table(measured.rows)
        table = Table(*lines[0])
        for line in lines:
            table.add_row(*(Text(cell) for cell in line.values()))
        print_wide(table)


def _engine_kind(options: cli.Bench) -> str:
    """Return the name of the engine that is asked for, also by what belongs to it alone."""
    kind = options.engine
    for flag, value, own in (
        ("--address", options.address, "ray"),
        ("--workers", options.workers, "processes"),
    ):
        if value is None:
            continue
        if kind not in {"serial", own}:
            raise ArgumentError(f"{flag}: it is of --engine {own}, came {kind} too; leave one out.")
        kind = own
    return kind


def _engine(kind: str, options: cli.Bench) -> Engine:
    """Return the engine; processes share the processors that are there."""
    from unbackdoor.bench import Processes, Ray, Serial

    if kind == "ray":
        return Ray(options.address, torch.get_num_threads(), options.device)
    if kind == "processes":
        processors = os.cpu_count() or 1
        each = 1 if options.threads is None else options.threads
        workers = max(1, processors // each) if options.workers is None else options.workers
        engine = Processes(workers)
        if options.threads is None:
            torch.set_num_threads(max(1, processors // workers))
        return engine
    return Serial()
