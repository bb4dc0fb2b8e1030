"""Engines run the pieces of a sweep: one after the other, in several processes, or through Ray.

An engine takes calls and returns their results as they finish. A result depends only on the
arguments of its call, so the order of the calls cannot change a number.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, cast

from unbackdoor.errors import ArgumentError, ContentError, brief


class Engine(Protocol):
    """Runs calls."""

    @property
    def slots(self) -> int:
        """How many calls run at a time."""
        ...

    def start(self, token: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Take a call; ``token`` is returned with its result."""
        ...

    def next(self) -> tuple[Any, Any]:
        """Wait until any call is done, and return its token and its result."""
        ...


class Serial:
    """One call after the other, in this process."""

    slots = 1

    def __init__(self) -> None:
        self._calls: deque[tuple[Hashable, Callable[..., Any], tuple[Any, ...]]] = deque()

    def start(self, token: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Take a call."""
        self._calls.append((token, function, arguments))

    def next(self) -> tuple[Any, Any]:
        """Run the call that was taken first."""
        token, function, arguments = self._calls.popleft()
        return token, function(*arguments)


class Processes:
    """Several calls at a time, in as many processes of this machine, which may share one GPU.

    A small network leaves most of a GPU idle while its next kernel is launched, so several
    processes finish a sweep over many small networks sooner.

    Args:
        slots: how many.

    Raises:
        ArgumentError: fewer than one.

    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ArgumentError(f"--workers: expected at least 1, came {slots}.")
        self.slots = slots
        self._idle: list[Connection] = []
        self._tokens: dict[Connection, Hashable] = {}

    def start(self, token: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Send a call to an idle process."""
        worker = self._idle.pop() if self._idle else _spawned()
        try:
            worker.send((function, arguments))
        except OSError as error:
            raise self._ended() from error
        self._tokens[worker] = token

    def next(self) -> tuple[Any, Any]:
        """Wait for whichever call is done first."""
        worker = cast(Connection, wait(list(self._tokens))[0])
        token = self._tokens.pop(worker)
        try:
            done, result = worker.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._idle.append(worker)
        if not done:
            raise result
        return token, result

    def _ended(self) -> ContentError:
        return ContentError(
            f"--workers: one of up to {self.slots} processes was ended from outside, perhaps for "
            f"want of memory; take fewer. What is done is kept."
        )


def _spawned() -> Connection:
    """Start a process that runs calls, and return this end of its pipe."""
    # Threads and accelerators do not outlive a fork.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    # It must end with this process: a daemon is terminated, an orphan ends itself.
    context.Process(target=_serve, args=(there,), daemon=True).start()
    there.close()
    return here


def _serve(calls: Connection) -> None:
    """Run calls from the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides
    threading.Thread(target=_follow, daemon=True).start()
    while True:
        try:
            function, arguments = calls.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ForkingPickler.dumps((True, function(*arguments)))
        except Exception as error:  # raised in the parent, so sent as text
            told = ContentError(
                f"--workers: a piece failed with {type(error).__name__} ({brief(error)})."
            )
            told.add_note(traceback.format_exc())
            answer = ForkingPickler.dumps((False, told))
        try:
            calls.send_bytes(answer)
        except OSError:  # the parent has ended
            return


def _follow() -> None:
    """End this process when its parent ends, even in the middle of a call.

    The results of an orphan would be lost, and it would lock a journal that the next run needs.
    """
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


class Ray:
    """As many calls at a time as there are free processors, through Ray (``unbackdoor[ray]``).

    Args:
        address: of a cluster; processes of this machine when left out.
        threads: of each call.
        device: where networks run; anything but a CPU takes one accelerator for each call.

    Raises:
        ArgumentError: Ray is not installed, or no cluster answers there.

    """

    def __init__(self, address: str | None, threads: int, device: str = "cpu") -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ArgumentError(
                "--engine: ray is not installed; pip install 'unbackdoor[ray]', or leave "
                "--engine out."
            ) from error
        # By default Ray gives its workers a lower priority than all other processes.
        os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            self._ray.init(
                address=address,
                ignore_reinit_error=True,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ArgumentError(
                f"--address: no Ray cluster answers at {address} ({brief(error)})."
            ) from error
        kind, each = ("CPU", threads) if device == "cpu" else ("GPU", 1)
        options = {"num_cpus": threads, "num_gpus": 0 if device == "cpu" else 1}
        self._remote: Any = self._ray.remote(**options)(_call)
        self.slots = int(self._ray.cluster_resources().get(kind, 0) // each)
        if not self.slots:
            raise ArgumentError(
                f"--engine: Ray has not the {each} {kind} that one call takes; lower --threads or "
                f"choose another --device."
            )
        self._tokens: dict[Any, Hashable] = {}

    def start(self, token: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Send a call to Ray."""
        self._tokens[self._remote.remote(function, *arguments)] = token

    def next(self) -> tuple[Any, Any]:
        """Wait for whichever call is done first."""
        (done, *_), _ = self._ray.wait(list(self._tokens))
        try:
            return self._tokens.pop(done), self._ray.get(done)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
