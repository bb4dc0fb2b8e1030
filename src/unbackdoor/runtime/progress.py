"""How long work reports itself: a silent sink for libraries and pipes, bars for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from unbackdoor.errors import printable


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


class Bars:
    """Remarks on standard error, and bars with the time left where that is a terminal.

    Args:
        shown: whether there are bars at all.

    """

    def __init__(self, *, shown: bool = True) -> None:
        self.shown = shown

    def say(self, remark: str) -> None:
        """Print the remark."""
        print(f"unbackdoor: {printable(remark)}", file=sys.stderr)

    @contextmanager
    def task(self, description: str, total: float | None) -> Generator[Task]:
        """Show one bar for the length of the block."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not (self.shown and console.is_terminal),
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
