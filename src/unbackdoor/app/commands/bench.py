"""``unbackdoor bench``: measure the missing rows of a benchmark, and print its table."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from rich.text import Text

from unbackdoor import models
from unbackdoor.app import options
from unbackdoor.app.commands.common import REFERENCE, prepare, print_wide, reporting
from unbackdoor.app.exit_codes import DONE, INCONCLUSIVE
from unbackdoor.errors import ArgumentError

if TYPE_CHECKING:
    from unbackdoor.bench import Bench, Engine, Measured, Request


def bench(asked: options.Bench) -> int:
    """Measure the missing rows of a benchmark, print its table, and return the exit code.

    Raises:
        ArgumentError: an option is wrong, or does not apply to this benchmark; nothing is measured.
        UnbackdoorError: see :func:`unbackdoor.bench.measure`.

    """
    from unbackdoor.bench import measure

    chosen = _chosen(asked)
    request = _request(chosen, asked)
    try:
        measured = measure(chosen, request, drawn=asked.format == "svg")
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", []):
            interrupt.add_note("finished rows are kept, the same command goes on from there")
        raise
    _print(chosen, measured, asked.format)
    if measured.missing:
        print(
            f"{measured.missing} of {measured.planned} results are missing; the same command goes "
            f"on from there.",
            file=sys.stderr,
        )
    return INCONCLUSIVE if measured.missing else DONE


def _chosen(asked: options.Bench) -> Bench[Any]:
    """Return the benchmark of that name, after checking that it takes the given options."""
    from unbackdoor.bench import BENCHES
    from unbackdoor.report.words import listed

    if asked.name not in BENCHES:
        raise ArgumentError(
            f"NAME: unknown benchmark {asked.name!r}; there are: {', '.join(BENCHES)}."
        )
    chosen = BENCHES[asked.name]
    if asked.format == "svg" and chosen.figure is None:
        drawn = listed([name for name, other in BENCHES.items() if other.figure])
        raise ArgumentError(f"-f svg: {asked.name} has no figure; {drawn} have.")
    known = frozenset[str]().union(*(other.flags for other in BENCHES.values()))
    for field in dataclasses.fields(asked):
        given = getattr(asked, field.name) != field.default
        if given and field.name in known - chosen.flags:
            raise ArgumentError(f"--{field.name}: {asked.name} does not have it; leave it out.")
    return chosen


def _request(chosen: Bench[Any], asked: options.Bench) -> Request:
    """Return the request for a benchmark, after setting up the processor."""
    from unbackdoor.bench import Request

    seeds = chosen.seeds if asked.seeds is None else asked.seeds
    if seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {seeds}.")
    if asked.minutes is not None and not asked.minutes >= 0:
        raise ArgumentError(f"--minutes: expected 0 or more, came {asked.minutes:g}.")
    kind = _engine_kind(asked)
    prepare(asked)
    return Request(
        models=asked.models or tuple(f"shipped:{name}" for name in models.shipped()),
        seeds=range(asked.seed, asked.seed + seeds),
        store=asked.store,
        reference=REFERENCE,
        device=asked.device,
        progress=reporting(asked),
        engine=_engine(kind, asked),
        only=asked.only,
        columns=asked.columns,
        variant=asked.variant,
        arch=asked.arch,
        make=asked.make,
        networks=_networks(asked.networks),
        listed=asked.list,
        methods=asked.methods,
        limit=math.inf if asked.minutes is None else 60 * asked.minutes,
    )


def _networks(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise ArgumentError(f"--networks: there is no folder {folder}; check the path.")
    return folder


def _print(chosen: Bench[Any], measured: Measured[Any], form: str) -> None:
    """Print the rows that are measured so far."""
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
        table = Table(*lines[0], title=chosen.summary)
        for line in lines:
            table.add_row(*(Text(cell) for cell in line.values()))
        print_wide(table)


def _engine_kind(asked: options.Bench) -> str:
    """Return the name of the engine, which ``--address`` or ``--workers`` may imply."""
    kind = asked.engine
    for flag, value, own in (
        ("--address", asked.address, "ray"),
        ("--workers", asked.workers, "processes"),
    ):
        if value is None:
            continue
        if kind not in {"serial", own}:
            raise ArgumentError(
                f"{flag}: it belongs to --engine {own}, came {kind} too; leave one out."
            )
        kind = own
    return kind


def _engine(kind: str, asked: options.Bench) -> Engine:
    """Return the engine; its processes share the processors of this machine."""
    from unbackdoor.bench import Processes, Ray, Serial

    if kind == "ray":
        return Ray(asked.address, torch.get_num_threads(), asked.device)
    if kind == "processes":
        processors = os.cpu_count() or 1
        each = 1 if asked.threads is None else asked.threads
        workers = max(1, processors // each) if asked.workers is None else asked.workers
        engine = Processes(workers)
        if asked.threads is None:
            torch.set_num_threads(max(1, processors // workers))
        return engine
    return Serial()
