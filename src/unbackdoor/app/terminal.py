"""Standard output, which keeps the exit code if its reader stops early, as ``head`` does."""

from __future__ import annotations

import os
import sys

from rich.console import Console


class Terminal(Console):
    """A console for tables that prints nothing more after its reader has stopped."""

    def on_broken_pipe(self) -> None:
        """Go on without a reader, rather than exit with a code that means a verdict."""
        self.quiet = True
        print_nowhere()


def write(text: str) -> None:
    """Write to standard output, if anybody reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        print_nowhere()


def print_nowhere() -> None:
    """Discard all further output."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
