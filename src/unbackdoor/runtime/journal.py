"""What is finished stays finished: the steps of long work, kept so that a killed command goes on.

A journal is a folder of steps, named by a fingerprint of everything that determines the result, so
that the same command finds it and any other does not. A step is one safetensors file whose header
holds the rest as JSON; it is written aside and renamed, so a kill loses the step under way alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unbackdoor.errors import UnbackdoorError, brief
from unbackdoor.runtime.files import write_bytes
from unbackdoor.runtime.progress import Progress, Silent

T = TypeVar("T")

HEADER = "step"
ABANDONED = 30 * 24 * 3600
"""Seconds after which a journal that nobody went on with is removed."""


def state_folder() -> Path | None:
    """Return where commands keep journals: ``$UNBACKDOOR_STATE``, or a folder in ``~/.cache``.

    None, and nothing is kept, for a user without a home.
    """
    if named := os.environ.get("UNBACKDOOR_STATE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "unbackdoor" / "state"
    except RuntimeError:
        return None


def key_of(*parts: object) -> str:
    """Return a fingerprint of settings, hashes and tensors, equal wherever they are equal."""
    content = msgspec.json.encode(parts, order="sorted", enc_hook=_hash_of)
    return hashlib.sha256(content).hexdigest()[:16]


def _hash_of(tensor: Any) -> str:
    content = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content).hexdigest()


@dataclass
class _Shelf:
    """The folder of one journal; ``folder`` becomes None where nothing can be kept any more."""

    folder: Path | None
    progress: Progress

    def give_up(self, why: str) -> None:
        self.folder = None
        self.progress.say(f"finished steps cannot be kept ({why}); the work goes on without.")


class Journal:
    """The finished steps of one piece of work.

    Args:
        shelf: where they are kept.
        prefix: of the names of steps.

    """

    def __init__(self, shelf: _Shelf, prefix: str = "") -> None:
        self._shelf, self._prefix = shelf, prefix

    def within(self, name: str) -> Journal:
        """Return the journal of a part of the work, whose steps may have the names of others."""
        return Journal(self._shelf, f"{self._prefix}{name}.")

    def read(self, name: str, kind: type[T]) -> T | None:
        """Return a step as it was written; None where it was not, or cannot be read."""
        if (path := self._path(name)) is None or not path.is_file():
            return None
        try:
            with cast(Any, safetensors).safe_open(path, framework="pt") as file:
                content: str = file.metadata()[HEADER]
                tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

            def tensor(_kind: type, key: Any) -> Tensor:
                return tensors[key]

            return msgspec.json.decode(content, type=kind, dec_hook=tensor)
        except (safetensors.SafetensorError, OSError, LookupError, TypeError, ValueError):
            return None

    def write(self, name: str, value: object) -> None:
        """Keep a step: dataclasses, structs and what JSON has, with tensors anywhere in it.

        Where the disk is full or the folder cannot be written, that is said once and the work goes
        on without a journal.
        """
        if (path := self._path(name)) is None:
            return
        tensors: dict[str, Tensor] = {}

        def key(tensor: Any) -> str:
            name = str(len(tensors))
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            return name

        content = msgspec.json.encode(value, enc_hook=key).decode()
        try:
            write_bytes(path, safetensors.torch.save(tensors, {HEADER: content}))
        except UnbackdoorError as error:
            self._shelf.give_up(brief(error.__cause__ or error))

    def keep(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return a step as it was written, or else compute and write it."""
        value = self.read(name, kind)
        if value is None:
            value = compute()
            self.write(name, value)
        return value

    def discard(self) -> None:
        """Remove all steps: what they were kept for is written."""
        if self._shelf.folder:
            shutil.rmtree(self._shelf.folder, ignore_errors=True)

    def _path(self, name: str) -> Path | None:
        folder = self._shelf.folder
        return folder and folder / f"{self._prefix}{name}.safetensors".replace(" ", "-")


FORGETFUL = Journal(_Shelf(None, Silent()))
"""A journal that keeps nothing; the default of every library call."""


@contextmanager
def opened(
    state: Path | None, *parts: object, progress: Progress | None = None
) -> Generator[Journal]:
    """Open the journal of a piece of work, for this process alone.

    The steps stay until :meth:`Journal.discard`, so that nothing is lost before it is written.

    Args:
        state: the folder of journals; None keeps nothing.
        parts: everything that determines the result; equal parts find each other's steps.
        progress: where to say that work is gone on with, or that it cannot be kept.

    """
    progress = progress or Silent()
    shelf = _Shelf(None, progress)
    lock: int | None = None
    if state is not None:
        try:
            _remove_abandoned(state)
            shelf.folder, lock = _locked(state / key_of(*parts))
        except BlockingIOError:
            progress.say(
                "another process is doing the same work; this one saves no finished steps."
            )
        except OSError as error:
            shelf.give_up(error.strerror or brief(error))
    if shelf.folder and (found := len([*shelf.folder.glob("*.safetensors")])):
        progress.say(f"going on after {found} finished step{'s' if found > 1 else ''}.")
    try:
        yield Journal(shelf)
    except KeyboardInterrupt as interrupt:
        if shelf.folder and any(shelf.folder.glob("*.safetensors")):
            interrupt.add_note("what is finished is kept, the same command goes on from there")
        raise
    finally:
        if lock is not None:
            os.close(lock)


def forget(state: Path | None, *parts: object) -> None:
    """Remove the journal of a piece of work, unless another process is at it.

    For work of which the result is written by another process than the one that had the journal.
    """
    if state is None or not (folder := state / key_of(*parts)).is_dir():
        return
    with suppress(OSError):
        _, lock = _locked(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> tuple[Path, int]:
    """Make a folder and return it with its lock, which is free again when the process ends."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(folder)
            # Another process may have finished and removed the folder in between.
            if (folder / "lock").stat().st_ino == os.fstat(lock).st_ino:
                return folder, lock
        except FileNotFoundError:
            pass
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def _remove_abandoned(state: Path) -> None:
    for lock in state.glob("[0-9a-f]" * 16 + "/lock"):
        with suppress(FileNotFoundError):
            if lock.parent.stat().st_mtime < time.time() - ABANDONED:
                shutil.rmtree(lock.parent, ignore_errors=True)
