"""Numbers of ONNX files: in the graph's own file, or in files beside it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unbackdoor.errors import ContentError, brief
from unbackdoor.runtime.files import check_fetched, solid_bytes

LARGEST_WEIGHTS = 16 << 30
MOST_SHARED = 64 << 20
"""Bytes that may be read beyond the total size of the files, because tensors may share data."""


class Beside:
    """The files beside a graph that hold its tensors.

    Args:
        folder: where they lie.
        graph: content of the graph's own file.

    """

    def __init__(self, folder: Path, graph: bytes) -> None:
        self.folder = folder
        self._graph = hashlib.sha256(graph)
        self._data = hashlib.sha256(self._graph.digest())
        self._sizes: dict[str, int] = {}
        self._read = 0

    def sha256(self) -> str:
        """Return the SHA-256 of the graph's file; where it has data elsewhere, also over those.

        In that case the hash is computed over the 32 bytes of the graph's own SHA-256, followed by
        the data of every tensor in the order of the graph. The graph says where these data lie and
        how long they are.
        """
        return (self._data if self._sizes else self._graph).hexdigest()

    def read(self, tensor: Any, expected: int) -> bytes:
        """Return the bytes of a tensor that lie in another file of the folder.

        Raises:
            ValueError: they do not, or more are asked for than there are.

        """
        entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self.folder / location
        own = self.folder.resolve()
        # Without links and steps upwards, a path is as it is resolved.
        inside = own in path.resolve().parents and path.resolve() == own / location
        if not location or not inside or not path.is_file():
            raise ValueError(
                f"its external data {location!r} are no file of its folder or of one in it"
            )
        check_fetched(path, "MODEL")
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        size = solid_bytes(path)
        if length != expected or not 0 <= offset <= size - length:
            raise ValueError(f"its external data have no {expected:,} bytes at {offset:,}")
        self._sizes[location] = size
        self._read += length
        if self._read > sum(self._sizes.values()) + MOST_SHARED:
            raise ValueError("its tensors refer to the same external data too often")
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(length)
        self._data.update(content)
        return content


def read_tensor(tensor: Any, beside: Beside, where: str) -> Tensor:
    """Return a tensor of the file, or of a file beside it; floating ones as float32."""
    try:
        array = _array(tensor, beside)
    except ContentError:  # a sentence of its own
        raise
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        beside_it = "put that file beside it, or " if len(tensor.external_data) else ""
        raise ContentError(
            f"{where} cannot be read ({brief(error)}); {beside_it}export it anew."
        ) from error
    if array.dtype.kind not in "biu":
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array, order="C"))


def _array(tensor: Any, beside: Beside) -> NDArray[Any]:
    from onnx import TensorProto, helper, numpy_helper

    kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if kind.kind not in "biuf" and kind.name != "bfloat16":
        raise ValueError(f"values of type {kind}")
    shape = tuple(tensor.dims)
    expected = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or expected > LARGEST_WEIGHTS:
        raise ValueError(f"a shape of {shape}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return np.frombuffer(beside.read(tensor, expected), kind).reshape(shape)
    if tensor.raw_data and len(tensor.raw_data) != expected:
        raise ValueError(f"{len(tensor.raw_data):,} bytes for a shape of {shape}")
    return numpy_helper.to_array(tensor)
