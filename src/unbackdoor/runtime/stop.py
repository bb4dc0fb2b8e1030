"""SIGINT and SIGTERM end work as KeyboardInterrupt, also where foreign code swallows that.

Python raises the exception wherever the program is. Inside code that is not Python's it can be lost
or come out as some other error, which then seems to be the fault of a file.
"""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work in the same way as SIGINT."""


_came: list[type[KeyboardInterrupt]] = []


def listen() -> None:
    """Let both signals end the work of this process; to be called in its main thread."""
    _came.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def check() -> None:
    """Raise if a signal has come; to be called before an error is blamed on a file.

    Raises:
        KeyboardInterrupt: one has come.

    """
    if _came:
        raise _came[0]


def _stop(number: int, _frame: FrameType | None) -> None:
    _came.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    raise _came[-1]
