"""Work that somebody else's file decides about, tried in a process of its own that can be ended."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SECONDS, MEMORY = 5, 640 << 20
"""Of processor time, and bytes beyond what the process has, for the work."""
PATIENCE = 10
"""How many times as long the work may take by the clock, because others may be at work too."""


class Ended(Exception):  # noqa: N818  the caller makes the sentence
    """The work took more time or memory than it is given."""


def tried(work: Callable[[], int]) -> int:
    """Return what some work gives, done in a child with limits; without ``fork`` it is done here.

    Nothing but the number comes back. An exception of the work is raised again as its text.

    Args:
        work: counts something.

    Raises:
        Ended: it took too much time or memory.
        ValueError: it failed.

    """
    if not hasattr(os, "fork"):
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, writing)
    os.close(writing)
    try:
        ready = select.select([reading], [], [], SECONDS * PATIENCE)[0]
        with os.fdopen(reading, "rb") as answer:
            content = answer.read() if ready else b""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not content:
        raise Ended
    kind, _, text = content.decode(errors="replace").partition(" ")
    if kind == "failed":
        raise ValueError(text)
    if kind != "done":
        raise Ended
    return int(text)


def _work(work: Callable[[], int], writing: int) -> None:
    """Do the work in the child, write what it gives, and leave."""
    try:
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + MEMORY
            if (hard := resource.getrlimit(resource.RLIMIT_AS)[1]) != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.write(writing, f"done {work()}".encode())
    except MemoryError:
        os.write(writing, b"ended ")
    except BaseException as error:  # nothing but its text leaves the child
        text = str(error).strip().splitlines() or [type(error).__name__]
        kind = "ended" if "allocate memory" in text[0] else "failed"
        os.write(writing, f"{kind} {text[0][:200]}".encode())
    finally:
        os._exit(0)
