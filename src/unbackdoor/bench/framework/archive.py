"""Results of specs in one folder: rows in a store for each table, networks in files beside them.

Everything is named by the key of its spec and written atomically, so a sweep that was killed
continues where it was, and two folders are merged by joining their files. The clean networks from
which all rows of a table start come with the package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.store import Store
from unbackdoor.errors import ArgumentError
from unbackdoor.runtime.files import write_bytes


class Archive:
    """The results computed so far.

    Args:
        folder: of the stores; networks are in its subfolders.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stores: dict[str, Store[Any]] = {}
        self._rows: dict[str, dict[str, Any]] = {}

    def __contains__(self, spec: Spec) -> bool:
        if spec.result is bytes:
            return self.path_of(spec).is_file() or _shipped(spec).is_file()
        return spec.key in self._read(spec)

    def __getitem__(self, spec: Spec) -> Any:
        if spec.result is bytes:
            own = self.path_of(spec)
            return (own if own.is_file() else _shipped(spec)).read_bytes()
        return self._read(spec)[spec.key]

    def path_of(self, spec: Spec) -> Path:
        """Return the path of a network's file in this folder, which need not exist."""
        return self.folder / spec.table / f"{spec.key}.safetensors"

    def check_writable(self) -> None:
        """Create the folder if it does not exist, and check that it can be written.

        Raises:
            ArgumentError: the folder cannot be made or written.

        """
        _make(self.folder)
        if not os.access(self.folder, os.W_OK):
            raise _not_writable(self.folder, "no permission")

    def keep(self, spec: Spec, result: Any) -> None:
        """Add a result.

        Raises:
            ArgumentError: the folder cannot be written.

        """
        if spec.result is not bytes:
            key = spec.key
            self._read(spec)[key] = result
            self._stores[spec.table].add(key, result)
            return
        path = self.path_of(spec)
        _make(path.parent)
        write_bytes(path, result)

    def _read(self, spec: Spec) -> dict[str, Any]:
        """Return the rows of a table; rows that other processes add later are not included."""
        if spec.table not in self._rows:
            self._stores[spec.table] = Store(self.folder, spec.table, spec.result)
            self._rows[spec.table] = self._stores[spec.table].read()
        return self._rows[spec.table]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error.strerror) from error


def _not_writable(folder: Path, why: str | None) -> ArgumentError:
    return ArgumentError(f"--store: cannot write {folder} ({why}); take another folder.")


def _shipped(spec: Spec) -> Path:
    return Path(__file__).parents[1] / "networks" / f"{spec.key}.safetensors"
