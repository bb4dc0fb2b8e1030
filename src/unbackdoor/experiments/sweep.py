"""A sweep: everything that a list of specs needs and that is not there yet, in the right order."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unbackdoor import cpu
from unbackdoor.experiments.archive import Archive
from unbackdoor.experiments.engine import Engine
from unbackdoor.experiments.spec import Spec
from unbackdoor.progress import Progress


def complete(
    specs: Sequence[Spec],
    archive: Archive,
    engine: Engine,
    progress: Progress,
    *,
    device: str = "cpu",
    description: str = "sweep",
    limit: float = math.inf,
) -> list[Any]:
    """Compute what is missing, keep each result as soon as it is there, and return those asked for.

    With a limit, what is not there in time is left out; the next call goes on from there.

    Args:
        specs: what is wanted; the first ones are finished first, as far as the engine has room.
        archive: what is there.
        engine: where the work is done, with as many threads for each piece as this process has.
        progress: one bar for everything that is missing.
        device: where networks run.
        description: what the bar is called.
        limit: seconds after which no further piece is begun.

    """
    began = time.monotonic()
    missing: dict[Spec, None] = {}

    def plan(spec: Spec) -> None:
        if spec not in missing and spec not in archive:
            for need in spec.needs:
                plan(need)
            missing[spec] = None

    for spec in specs:
        plan(spec)
    waiting, running = list(missing), 0
    with progress.task(description, sum(spec.work for spec in waiting)) as task:
        while running or (waiting and time.monotonic() < began + limit):
            for spec in [spec for spec in waiting if all(need in archive for need in spec.needs)]:
                if running == engine.slots or time.monotonic() >= began + limit:
                    break
                inputs = {need: archive[need] for need in spec.needs}
                engine.start(spec, execute, spec, inputs, device, torch.get_num_threads())
                waiting.remove(spec)
                running += 1
            if running:
                done, result = engine.next()
                archive.keep(done, result)
                running -= 1
                task.advance(done.work)
    return [archive[spec] for spec in specs if spec in archive]


def execute(spec: Spec, inputs: Mapping[Spec, Any], device: str, threads: int) -> Any:
    """Run one spec, in this process or in one of Ray's."""
    cpu.prepare(threads)
    return spec.run(inputs, device)
