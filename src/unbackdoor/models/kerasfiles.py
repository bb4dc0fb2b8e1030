"""Files of Keras: a configuration in JSON beside numbers in HDF5. Nothing of them is ever run.

HDF5 can point to other files, to parts of other arrays and to filters that unpack; none of that is
followed. What is read are plain arrays that lie in the file as they are.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unbackdoor.errors import ArgumentError, brief

Array = NDArray[np.float32]
MOST_ARRAYS, DEEPEST, LARGEST_CONFIG = 20_000, 16, 1 << 24
CONFIG, NUMBERS = "config.json", "model.weights.h5"
"""The two members of a zip archive that count."""
ROOTS = ("layers", "_layer_checkpoint_dependencies")
"""What the group of the layers of a network is called in a zip archive."""


class UnreadableError(Exception):
    """A file of Keras has something that is not followed or not known; in a few words."""


class DamagedError(Exception):
    """A file is not what it begins as; in a few words."""


@dataclass(frozen=True)
class KerasFile:
    """What a file holds.

    Args:
        config: of the network, with ``class_name`` and ``config``.
        arrays: every array by its path in the file.
        zipped: whether arrays are kept by the kinds of layers and their order, not by names.

    """

    config: Mapping[str, Any]
    arrays: Mapping[tuple[str, ...], Array]
    zipped: bool

    def named(self, where: tuple[str, ...]) -> dict[str, Array]:
        """Return the arrays of a layer by their own names.

        Those of a network in a network are kept together, so there the names of their scopes have
        to tell them apart.

        Args:
            where: names of the networks that the layer is in, from the outermost on, and its own.

        Raises:
            UnreadableError: two layers have this name.

        """
        found: dict[str, Array] = {}
        first, names = tuple(where[0].split("/")), tuple(where[-1].split("/"))
        for path, array in self.arrays.items():
            inside = path[1 : 1 + len(first)] == first
            if inside and (len(where) == 1 or path[-1 - len(names) : -1] == names):
                own = path[-1].partition(":")[0]
                if own in found:
                    raise UnreadableError(f"two layers of the name {where[-1][:80]!r}")
                found[own] = array
        return found

    def numbered(self, path: tuple[str, ...]) -> list[Array]:
        """Return the arrays of the layer at a path, in their order."""
        own = {
            found[-1]: array
            for found, array in self.arrays.items()
            if found[:-1] == (*path, "vars")
        }
        return [own[number] for number in sorted(own, key=lambda name: (len(name), name))]


def read_file(path: Path) -> KerasFile:
    """Return what a file holds that begins as HDF5 or as a zip archive.

    Raises:
        ArgumentError: the package h5py is not installed.
        DamagedError: it is damaged.
        UnreadableError: it has something that is not followed.

    """
    h5py = _package()
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = _json(_member(archive, CONFIG, min(size, LARGEST_CONFIG)))
                content = _member(archive, NUMBERS, size)
            with h5py.File(io.BytesIO(content), "r") as file:
                return KerasFile(config, dict(_arrays(file, h5py, size)), zipped=True)
        with h5py.File(path, "r") as file:
            config = _json(file.attrs["model_config"])
            arrays = {
                path: array
                for path, array in _arrays(file, h5py, size)
                if path[0] == "model_weights"  # beside those of an optimizer
            }
            return KerasFile(config, arrays, zipped=False)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedError(brief(error)) from error
    except (KeyError, ValueError, RuntimeError, TypeError, NotImplementedError) as error:
        raise UnreadableError(brief(error)) from error


def _package() -> Any:
    try:
        import h5py  # pyright: ignore[reportMissingTypeStubs]

        import_module("onnx")
    except ImportError as error:
        raise ArgumentError(
            "MODEL: networks of Keras are read with the packages h5py and onnx, which are not "
            "both installed; pip install 'unbackdoor[keras]'."
        ) from error
    return h5py


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if archive.namelist().count(name) != 1:
        raise ValueError(f"not one {name}")
    if (size := archive.getinfo(name).file_size) > most:
        raise ValueError(f"its {name} has {size:,} bytes, more than the file")
    return archive.read(name)


def _json(text: object) -> dict[str, Any]:
    if not isinstance(text, str | bytes) or len(text) > LARGEST_CONFIG:
        raise ValueError("its configuration is no text")
    try:
        config: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("its configuration is too deep") from error
    if not isinstance(config, dict):
        raise UnreadableError("its configuration is no object")
    return cast("dict[str, Any]", config)


def _arrays(group: Any, h5py: Any, size: int) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield the arrays below a group, which together are no larger than the file."""
    left, seen = size, 0
    waiting: list[tuple[tuple[str, ...], Any]] = [((), group)]
    while waiting:
        path, one = waiting.pop()
        for name in one:
            seen += 1
            if seen > MOST_ARRAYS or len(path) > DEEPEST:
                raise ValueError("it has more groups than a network does")
            if not isinstance(one.get(name, getlink=True), h5py.HardLink):
                raise UnreadableError(f"{name[:80]!r} is a link")
            item, below = one[name], (*path, str(name))
            if isinstance(item, h5py.Group):
                waiting.append((below, item))
                continue
            left -= _bytes(item, name)
            if left < 0:
                raise ValueError("its arrays are larger than the file")
            if item.dtype.kind == "f":
                yield below, np.asarray(item[()], np.float32)


def _bytes(item: Any, name: str) -> int:
    """Return the bytes of an array, which has to lie in the file as it is."""
    plain = item.chunks is None and item.external is None and not item.is_virtual
    size = math.prod(item.shape) * item.dtype.itemsize
    if item.dtype.kind not in "fiub" or not plain or item.id.get_storage_size() != size:
        raise ValueError(f"{name[:80]!r} is no plain array in the file itself")
    return size
