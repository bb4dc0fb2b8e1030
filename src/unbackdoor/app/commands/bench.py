"""``unbackdoor bench``: measure what a store lacks of a benchmark, and print it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from rich.text import Text

from unbackdoor import models
from unbackdoor.app.commands.common import REFERENCE, prepare, print_wide, reporting
from unbackdoor.errors import ArgumentError

if TYPE_CHECKING:
    from unbackdoor.app import cli
    from unbackdoor.bench import Engine


def bench(options: cli.Bench) -> int:
    """Measure what the store lacks of a benchmark, print it, and return how many rows it lacks."""
    from unbackdoor.bench import BENCHMARKS, DRAWN, ONCE, SWEEPS, Request, markdown

    if options.name not in BENCHMARKS:
        raise ArgumentError(
            f"NAME: unknown benchmark {options.name!r}; there are: {', '.join(BENCHMARKS)}."
        )
    if options.format == "svg" and options.name not in DRAWN:
        raise ArgumentError(f"-f svg: {options.name} has no figure; {_listed(DRAWN, 'and')} have.")
    for flag, given, own in (
        ("--models", bool(options.models), set(BENCHMARKS) - {*SWEEPS, "toys", "modes"}),
        ("--only", options.only is not None, SWEEPS),
        ("--variant", options.variant != "implanted", SWEEPS),
        ("--arch", options.arch is not None, SWEEPS),
        ("--columns", options.columns != "main", ("paper",)),
    ):
        if given and options.name not in own:
            raise ArgumentError(f"{flag}: {options.name} does not have it; leave it out.")
    seeds = options.seeds if options.seeds is not None else 1 if options.name in ONCE else 5
    if seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {seeds}.")
    kind = _engine_kind(options)
    if kind != "serial" and options.name not in SWEEPS:
        raise ArgumentError(
            f"--engine: {kind} runs {_listed(SWEEPS, 'and')}; {options.name} takes serial alone."
        )
    limit = math.inf
    if options.minutes is not None:
        if options.name not in SWEEPS or not options.minutes >= 0:
            raise ArgumentError(
                f"--minutes: expected 0 or more, for {_listed(SWEEPS, 'or')}, came "
                f"{options.minutes:g} for {options.name}."
            )
        limit = 60 * options.minutes
    prepare(options)
    request = Request(
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
        limit=limit,
    )
    try:
        outcome = BENCHMARKS[options.name](request)
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", []):
            interrupt.add_note("finished rows are kept, the same command goes on from there")
        raise
    if options.format == "json":
        print(json.dumps(outcome.rows, indent=1))
    elif not outcome.lines:
        pass
    elif options.format == "markdown":
        print(markdown(outcome.lines))
    elif options.format == "svg":
        if outcome.figure is None:
            raise ArgumentError(
                f"--store: {options.store} has no staircases of the networks that were defended; "
                f"take the store where they were measured, or an empty one."
            )
        print(outcome.figure)
    else:
        table = Table(*outcome.lines[0])
        for line in outcome.lines:
            table.add_row(*(Text(cell) for cell in line.values()))
        print_wide(table)
    if outcome.missing:
        print(
            f"{outcome.missing} of {outcome.missing + len(outcome.rows)} rows are missing; the "
            f"same command goes on from there.",
            file=sys.stderr,
        )
    return outcome.missing


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


def _listed(names: Sequence[str], word: str) -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}"
