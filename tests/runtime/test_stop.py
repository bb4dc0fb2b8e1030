"""A signal that foreign code swallows ends the work all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from unbackdoor.runtime import stop


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop.listen()
    yield
    stop.listen()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, stop.Terminated)]
)
def test_a_signal_that_was_swallowed_is_raised_again(
    number: signal.Signals, kind: type[KeyboardInterrupt]
) -> None:
    stop.check()
    with pytest.raises(kind):
        os.kill(os.getpid(), number)
    with pytest.raises(kind):
        stop.check()
    stop.listen()
    stop.check()
