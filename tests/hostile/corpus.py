"""What hostile files are made with: a folder, pictures, containers, and a register of makers."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ARCH = "resnet8-wide"


@dataclass(frozen=True)
class Subject:
    name: str
    arguments: list[str]


class Corpus:
    """Where files are written, and what they would do."""

    def __init__(self, folder: Path, canary: Path, port: int) -> None:
        self.folder, self.canary, self.port = folder, canary, port
        self.data = folder / "pictures"
        draw = np.random.default_rng(0)
        for label, level in enumerate((40, 200)):
            (self.data / str(label)).mkdir(parents=True)
            for index in range(24):
                pixels = draw.integers(level - 20, level + 20, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(self.data / str(label) / f"{index}.png")

    def scan(
        self, model: Path, *more: str, data: Path | None = None, arch: str | None = ARCH
    ) -> list[str]:
        named = ["--arch", arch] if arch else []
        return ["scan", str(model), *named, "--data", str(data or self.data), *more]

    def pickled(self, name: str, content: bytes) -> list[str]:
        """A pickle without a container."""
        path = self.folder / f"{name}.pt"
        path.write_bytes(content)
        return self.scan(path)

    def zipped(
        self, name: str, content: bytes, *members: tuple[str, bytes], **options: Any
    ) -> list[str]:
        """A pickle in the container of torch.save."""
        path = self.folder / f"{name}.pt"
        with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
            archive.writestr("m/data.pkl", content)
            archive.writestr("m/byteorder", "little")
            for member, body in members:
                archive.writestr(member, body)
            archive.writestr("m/version", "3\n")
        return self.scan(path)

    def tensors(
        self, name: str, header: object, data: bytes = b"", *, length: int | None = None
    ) -> list[str]:
        path = self.folder / f"{name}.safetensors"
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        return self.scan(path)

    def graph(
        self,
        name: str,
        nodes: list[Any],
        weights: dict[str, Any],
        *,
        shape: tuple[Any, ...] = ("n", 3, 8, 8),
        change: Callable[[Any], None] | None = None,
    ) -> list[str]:
        path = self.folder / f"{name}.onnx"
        tensors = [
            value
            if isinstance(value, onnx.TensorProto)
            else numpy_helper.from_array(np.asarray(value), key)
            for key, value in weights.items()
        ]
        model = helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                tensors,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        if change is not None:
            change(model)
        path.write_bytes(model.SerializeToString())
        return self.scan(path, arch=None)


HOSTILE: dict[str, Callable[[Corpus, str], list[str]]] = {}


def hostile(make: Callable[[Corpus, str], list[str]]) -> Callable[[Corpus, str], list[str]]:
    HOSTILE[make.__name__.replace("_", "-")] = make
    return make
