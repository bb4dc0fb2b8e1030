"""Engines: where the pieces of a sweep run, one after the other here, or side by side through Ray.

An engine takes calls and hands back their results as they are done. What a call returns depends on
its arguments alone, so the order in which calls are done cannot change a number.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from unbackdoor.errors import ArgumentError, brief


class Engine(Protocol):
    """Where calls run."""

    @property
    def slots(self) -> int:
        """How many calls run at a time."""
        ...

    def start(self, token: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Take a call; ``token`` comes back with its result."""
        ...

    def next(self) -> tuple[Any, Any]:
        """Wait until some call is done, and return its token and its result."""
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
        """Make the first call that was taken."""
        token, function, arguments = self._calls.popleft()
        return token, function(*arguments)


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
        # By default Ray makes its workers give way to everything else on the machine.
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
