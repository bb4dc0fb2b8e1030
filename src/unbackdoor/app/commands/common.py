"""Steps that several commands share."""

from __future__ import annotations

import os
import sys

import torch
from rich.table import Table

from unbackdoor.app.options import Machine
from unbackdoor.app.terminal import Terminal
from unbackdoor.errors import ArgumentError
from unbackdoor.runtime import cpu
from unbackdoor.runtime.progress import Bars, Progress, Silent

REFERENCE = "shipped:clean"


def reporting(machine: Machine) -> Progress:
    """Return the progress display of long work."""
    return Silent() if machine.quiet else Bars(shown=machine.progress)


def prepare(machine: Machine) -> None:
    """Check the device and set the CPU up.

    Raises:
        ArgumentError: no such device, or no positive number of threads.

    """
    most = max(16, 4 * (os.cpu_count() or 1))  # OpenMP aborts if it gets too few threads
    if machine.threads is not None and not 1 <= machine.threads <= most:
        raise ArgumentError(f"--threads: expected 1 to {most} here, came {machine.threads}.")
    try:
        torch.zeros(1, device=machine.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ArgumentError(
            f"--device: {machine.device!r} cannot be used here; try cpu."
        ) from error
    cpu.prepare(machine.threads)


def print_wide(table: Table) -> None:
    """Print at the width of a terminal; elsewhere without breaking lines."""
    Terminal(width=None if sys.stdout.isatty() else 400).print(table)
