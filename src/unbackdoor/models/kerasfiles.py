"""Files of Keras: a configuration in JSON beside numbers in HDF5. Nothing of them is ever run.

HDF5 can point to other files, to parts of other arrays and to filters that unpack; none of that is
followed. What is read are plain arrays that lie in the file as they are.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import count, takewhile
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unbackdoor.errors import ArgumentError, brief
from unbackdoor.models.contents import HDF5

Array = NDArray[np.float32]
MOST_ARRAYS, DEEPEST, LARGEST_CONFIG = 20_000, 16, 1 << 24
CONFIG, NUMBERS = "config.json", "model.weights.h5"
"""The two members of a zip archive that count."""
ROOTS = ("layers", "_layer_checkpoint_dependencies")
"""What the group of the layers of a network is called in a zip archive."""
BACKENDS = ("tensorflow", "jax", "torch", "numpy")
"""Those of Keras that lay out weights alike."""


class UnreadableError(Exception):
    """A file of Keras has something that is not followed or not known; in a few words."""


class DamagedError(Exception):
    """A file is not what it begins as; in a few words."""


Place = tuple[str, ...]
"""Of an array, or of the group of a layer, in a file."""


@dataclass(frozen=True)
class KerasFile:
    """What a file holds.

    Args:
        config: of the network, with ``class_name`` and ``config``.
        arrays: those of its layers, each by its path.
        root: the group of all layers in a zip archive, which keeps them by their kinds and their
            order; empty for HDF5, which keeps them by their names.
        order: their paths as HDF5 lists them, which is how Keras takes them.

    """

    config: Mapping[str, Any]
    arrays: Mapping[Place, Array]
    root: str = ""
    order: tuple[Place, ...] = ()

    def named(self, where: Place) -> dict[str, Place]:
        """Return where the arrays of a layer are, by their own names.

        Those of a network in a network are kept together, so there the names of their scopes have
        to tell them apart.

        Args:
            where: names of the networks that the layer is in, from the outermost on, and its own.

        Raises:
            UnreadableError: two layers have this name.

        """
        found: dict[str, Place] = {}
        first, names = tuple(where[0].split("/")), tuple(where[-1].split("/"))
        for path in self.arrays:
            inside = path[1 : 1 + len(first)] == first
            if inside and (len(where) == 1 or path[-1 - len(names) : -1] == names):
                own = path[-1].partition(":")[0]
                if own in found:
                    raise UnreadableError(f"two layers of the name {where[-1][:80]!r}")
                found[own] = path
        return found

    def numbered(self, where: Place) -> list[Place]:
        """Return where the arrays of the layer at a path are, in their order."""
        own = [path for path in self.arrays if path[:-1] == (*where, "vars")]
        return [(*where, "vars", str(number)) for number in range(len(own))]


def read_file(content: bytes) -> KerasFile:
    """Return what the content of a file holds that begins as HDF5 or as a zip archive.

    Raises:
        ArgumentError: the package h5py is not installed.
        DamagedError: it is damaged.
        UnreadableError: it has something that is not followed.

    """
    h5py = _package()
    size, whole = len(content), io.BytesIO(content)
    hdf5 = content.startswith(HDF5)
    if hdf5 and zipfile.is_zipfile(whole):
        raise UnreadableError("a zip archive behind it")
    try:
        if hdf5:
            with h5py.File(whole, "r") as file:
                return _of_hdf5(file, h5py, size)
        with zipfile.ZipFile(whole) as archive:
            config = _json(_member(archive, CONFIG, LARGEST_CONFIG))
            numbers = _member(archive, NUMBERS, size)
        with h5py.File(io.BytesIO(numbers), "r") as file:
            every = dict(_arrays(file, h5py, size))
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedError(brief(error)) from error
    except (AttributeError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise UnreadableError(brief(error)) from error
    roots = [root for root in ROOTS if any(path[0] == root for path in every)]
    if len(roots) != 1:
        raise UnreadableError(f"{len(roots)} groups of layers")
    own = {path: array for path, array in every.items() if path[0] == roots[0]}
    return KerasFile(config, own, roots[0])


def _of_hdf5(file: Any, h5py: Any, size: int) -> KerasFile:
    """Return what HDF5 holds, where it lists its arrays as they are."""
    config = _json(_attribute(file, "model_config"))
    backend = _attribute(file, "backend") if "backend" in file.attrs else "tensorflow"
    if (told := backend.decode() if isinstance(backend, bytes) else str(backend)) not in BACKENDS:
        raise UnreadableError(f"the backend {told[:80]!r}")
    own = {
        path: array
        for path, array in _arrays(file, h5py, size)
        if path[0] == "model_weights"  # beside those of an optimizer
    }
    order: list[Place] = []
    group = file["model_weights"]
    for layer in _texts(group, "layer_names"):
        for name in _texts(group[layer], "weight_names"):
            order.append(("model_weights", *layer.split("/"), *name.split("/")))
    if len(order) != len(own) or {*order} != {*own}:
        raise UnreadableError("other arrays than it lists")
    return KerasFile(config, own, order=tuple(order))


def _texts(group: Any, name: str) -> list[str]:
    """Return a list of names, which Keras cuts into parts where it is long."""
    cut = takewhile(group.attrs.__contains__, (f"{name}{part}" for part in count()))
    names = [name] if name in group.attrs else cut
    return [
        one.decode() if isinstance(one, bytes) else str(one)
        for part in names
        for one in group.attrs[part]
    ]


def _attribute(file: Any, name: str) -> object:
    """Return one text of a file, and not what refers to a text many times."""
    if file.attrs.get_id(name).shape != ():
        raise ValueError(f"its {name} is no text")
    return file.attrs[name]


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
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
        raise ValueError(f"its {name} is compressed or larger than the file")
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


def _arrays(group: Any, h5py: Any, size: int) -> Iterator[tuple[Place, Array]]:
    """Yield the arrays below a group, which together are no larger than the file."""
    left, seen = size, 0
    waiting: list[tuple[Place, Any]] = [((), group)]
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
            if not isinstance(item, h5py.Dataset):
                raise UnreadableError(f"{name[:80]!r} is no array")
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
