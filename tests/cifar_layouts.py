"""Writers of the published layouts of CIFAR-10, for data sets of any size."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
Files = dict[str, tuple[Bytes, Bytes]]
"""Name of the batch without suffix → pixels ``(n, 3072)`` and labels ``(n,)``."""

PER_FILE = 60
NAMES = [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]


def random_files(per_file: int) -> Files:
    draw = np.random.default_rng(0)
    return {
        name: (
            draw.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            draw.integers(0, 10, per_file, dtype=np.uint8),
        )
        for name in NAMES
    }


class Python2Pickler:
    """The opcodes of Python 2's ``cPickle`` under protocol 2, as in the official archive."""

    def __init__(self) -> None:
        self.memo = 0

    def put(self) -> bytes:
        number = self.memo = self.memo + 1
        return b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number)

    def string(self, text: bytes) -> bytes:
        if len(text) < 256:
            return b"U" + bytes([len(text)]) + text + self.put()
        return b"T" + struct.pack("<i", len(text)) + text + self.put()

    def listed(self, items: list[bytes]) -> bytes:
        chunks = (items[at : at + 1000] for at in range(0, len(items), 1000))
        return b"]" + self.put() + b"".join(b"(" + b"".join(chunk) + b"e" for chunk in chunks)

    def array(self, pixels: Bytes) -> bytes:
        rows, columns = (struct.pack("<H", size) for size in pixels.shape)
        parts = [
            b"cnumpy.core.multiarray\n_reconstruct\n" + self.put(),
            b"cnumpy\nndarray\n" + self.put(),
            b"K\x00\x85" + self.put() + self.string(b"b") + b"\x87" + self.put(),
            b"R" + self.put() + b"(K\x01M" + rows + b"M" + columns + b"\x86" + self.put(),
            b"cnumpy\ndtype\n" + self.put() + self.string(b"u1"),
            b"K\x00K\x01\x87" + self.put() + b"R" + self.put(),
            b"(K\x03" + self.string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
            self.put() + b"b\x89" + self.string(pixels.tobytes()) + b"t" + self.put() + b"b",
        ]
        return b"".join(parts)

    def batch(self, pixels: Bytes, labels: Bytes) -> bytes:
        names = [b"picture_s_%06d.png" % index for index in range(len(labels))]
        parts = [
            b"\x80\x02}" + self.put() + b"(",
            self.string(b"batch_label") + self.string(b"training batch 1 of 5"),
            self.string(b"labels") + self.listed([b"K" + bytes([label]) for label in labels]),
            self.string(b"data") + self.array(pixels),
            self.string(b"filenames") + self.listed([self.string(name) for name in names]),
            b"u.",
        ]
        return b"".join(parts)


def write_python(folder: Path, files: Files) -> None:
    for name, (pixels, labels) in files.items():
        (folder / name).write_bytes(Python2Pickler().batch(pixels, labels))


def write_binary(folder: Path, files: Files) -> None:
    for name, (pixels, labels) in files.items():
        (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())


def write_sprites(folder: Path, files: Files) -> None:
    for name, (pixels, _) in files.items():
        rows = np.ascontiguousarray(pixels.reshape(-1, 3, 1024).transpose(0, 2, 1))
        Image.fromarray(rows).save(folder / f"{name}.png", compress_level=0)
    train = [int(label) for name in NAMES[:5] if name in files for label in files[name][1]]
    (folder / "train_lables.json").write_text(json.dumps(train))
    test = files["test_batch"][1] if "test_batch" in files else []
    (folder / "test_lables.json").write_text(json.dumps([int(label) for label in test]))


WRITERS = {
    "cifar-10-batches-py": write_python,
    "cifar-10-batches-bin": write_binary,
    "package": write_sprites,
}
