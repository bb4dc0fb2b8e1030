"""A sweep computes all missing results that a list of specs needs, in the right order."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine
from unbackdoor.bench.framework.spec import Spec, settle
from unbackdoor.errors import ContentError, UnbackdoorError, brief
from unbackdoor.runtime import cpu, stop
from unbackdoor.runtime.progress import Progress


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
    """Compute all missing results, save each as soon as it is done, and return those requested.

    With a limit, results that are not finished in time are left out; the next call continues from
    there. If a piece fails, such as a training that diverged, the others are still computed.

    Args:
        specs: the requested specs; the first ones are finished first, as far as the engine allows.
        archive: the results so far.
        engine: runs the pieces, each with as many threads as this process has.
        progress: shows one bar for all missing results.
        device: where networks run.
        description: label of the bar.
        limit: seconds after which no further piece is started.

    Raises:
        ArgumentError: the archive cannot be written; no work is started.
        UnbackdoorError: a piece failed; all pieces that do not need it are finished and saved.

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
    if missing and limit > 0:
        archive.check_writable()
    waiting, pending, running = list(missing), set(missing), 0
    failed: dict[str, UnbackdoorError] = {}
    with progress.task(description, sum(spec.work for spec in waiting)) as task:
        while running or (waiting and time.monotonic() < began + limit):
            ready = [spec for spec in waiting if pending.isdisjoint(spec.needs)]
            for spec in ready:
                if running == engine.slots or time.monotonic() >= began + limit:
                    break
                inputs = {need: archive[need] for need in spec.needs}
                engine.start(spec, execute, spec, inputs, device, torch.get_num_threads())
                waiting.remove(spec)
                running += 1
            if not running:
                break
            done, result = engine.next()
            running -= 1
            task.advance(done.work)
            if isinstance(result, Failure):
                failed[str(result.error)] = result.error
            else:
                archive.keep(done, result)
                settle(done)
                pending.remove(done)
    results = [archive[spec] for spec in specs if spec in archive]
    kept = " What is done is kept, --minutes 0 shows it." if results else ""
    if len(failed) > 1:
        raise ContentError(f"the sweep failed in more than one way: {' '.join(failed)}{kept}")
    for error in failed.values():
        raise type(error)(f"{error}{kept}") from error
    return results


@dataclass(frozen=True)
class Failure:
    """The outcome of a piece that failed."""

    error: UnbackdoorError


def execute(spec: Spec, inputs: Mapping[Spec, Any], device: str, threads: int) -> Any:
    """Run one spec, in this process or another, and return its result or a failure."""
    cpu.prepare(threads)
    try:
        return spec.run(inputs, device)
    except UnbackdoorError as error:
        stop.check()
        return Failure(error)
    except Exception as error:  # a failure of one piece, such as a GPU out of memory
        if isinstance(error.__cause__, KeyboardInterrupt):  # it came while a class was being made
            raise error.__cause__ from None
        stop.check()
        told = ContentError(f"a piece failed with {type(error).__name__} ({brief(error)}).")
        told.add_note(traceback.format_exc())
        return Failure(told)
