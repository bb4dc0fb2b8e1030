"""Storage of finished rows: a file of JSON lines that only grows, keyed by the measurement.

A row is appended under a lock as soon as it is measured, so a killed run loses at most one row, two
runs can share a folder, and stores are merged by joining their files.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from unbackdoor.errors import ArgumentError, ContentError

R = TypeVar("R", bound=msgspec.Struct)


class Store(Generic[R]):
    """The rows of one table.

    Args:
        folder: of the file ``NAME.jsonl``, which need not exist yet.
        name: of the table.
        row: type of a row, the content of a line besides its key.

    """

    def __init__(self, folder: Path, name: str, row: type[R]) -> None:
        self.path = folder / f"{name}.jsonl"
        self._row = row

    def read(self) -> dict[str, R]:
        """Return the finished rows by key; a line that a kill cut short is ignored.

        Raises:
            ContentError: a line is no row of this type, or the file cannot be read.

        """
        if not self.path.is_file():
            return {}
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ContentError(
                f"--store: cannot read {self.path} ({error.strerror}); take another folder."
            ) from error
        rows: dict[str, R] = {}
        for number, line in enumerate(_whole(content).splitlines(), 1):
            try:
                entry: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
                rows[str(entry["key"])] = msgspec.convert(entry["row"], self._row)
            except (msgspec.DecodeError, msgspec.ValidationError, KeyError) as error:
                raise ContentError(
                    f"--store: line {number} of {self.path} is no row of this benchmark ({error}); "
                    f"take another folder."
                ) from error
        return rows

    def add(self, key: str, row: R) -> None:
        """Append a row.

        Raises:
            ArgumentError: the folder cannot be written.

        """
        line = msgspec.json.encode({"key": key, "row": row}) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                file.truncate(len(_whole(file.read())))
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ArgumentError(
                f"--store: cannot write {self.path} ({error.strerror}); take another folder."
            ) from error


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
