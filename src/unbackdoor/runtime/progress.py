"""How long work reports itself: nothing for libraries, bars for a terminal, lines for a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from unbackdoor.errors import printable

EVERY = 30.0
"""Seconds between two lines where standard error is no terminal."""


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Say that ``steps`` more are done; ``note`` replaces the text shown beside the bar."""
        ...


class Progress(Protocol):
    """Where long work reports itself."""

    def task(self, description: str, total: float | None) -> AbstractContextManager[Task]:
        """Open a task of ``total`` steps, None for unknown, for the length of a ``with`` block."""
        ...

    def say(self, remark: str) -> None:
        """Tell a person something, in a sentence."""
        ...


class _SilentTask:
    def advance(self, steps: float = 1, note: str = "") -> None:
        pass


class Silent:
    """Reports nothing; the default of every library call."""

    @contextmanager
    def task(self, description: str, total: float | None) -> Generator[Task]:
        """Accept the task and show nothing."""
        del description, total
        yield _SilentTask()

    def say(self, remark: str) -> None:
        """Say nothing."""


class _Lines:
    """A task that says now and then how far it is.

    Args:
        description: of the task.
        total: its steps; None for unknown.
        due: whether a line is due, which is so once every :data:`EVERY` seconds.
        say: prints a line.

    """

    def __init__(
        self,
        description: str,
        total: float | None,
        due: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.description, self.total, self.due, self.say = description, total, due, say
        self.done, self.note = 0.0, ""

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.done += steps
        self.note = note or self.note
        if self.due():
            share = f"{min(1.0, self.done / self.total):.0%}" if self.total else "under way"
            self.say(", ".join(filter(None, [f"{self.description}: {share}", self.note])))


class Bars:
    """Remarks on standard error, and how far work is: bars on a terminal, else a line at times.

    Args:
        shown: whether it is said how far work is.
        clock: seconds from any moment on.

    """

    def __init__(self, *, shown: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown, self._clock = shown, clock
        self._said = clock()

    def say(self, remark: str) -> None:
        """Print the remark."""
        print(f"unbackdoor: {printable(remark)}", file=sys.stderr, flush=True)

    def _due(self) -> bool:
        now = self._clock()
        due = self.shown and now - self._said >= EVERY
        self._said = now if due else self._said
        return due

    @contextmanager
    def task(self, description: str, total: float | None) -> Generator[Task]:
        """Show how far a task is for the length of the block."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        if not (self.shown and console.is_terminal):
            yield _Lines(description, total, self._due, self.say)
            return
        bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        with bars:
            identity = bars.add_task(description, total=total, note="")

            class Bar:
                note = ""

                def advance(self, steps: float = 1, note: str = "") -> None:
                    self.note = note or self.note
                    bars.update(identity, advance=steps, note=self.note)

            yield Bar()
