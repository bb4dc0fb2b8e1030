from __future__ import annotations

import hashlib

import pytest
from cifar_layouts import NAMES, PER_FILE, Files, random_files

from unbackdoor.data import cifar


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """A small data set that passes for CIFAR-10."""
    content = random_files(PER_FILE)
    monkeypatch.setattr(cifar, "_PER_FILE", PER_FILE)
    monkeypatch.setattr(cifar, "TRAIN_SHA256", digest(content, NAMES[:5]))
    monkeypatch.setattr(cifar, "TEST_SHA256", digest(content, NAMES[5:]))
    return content


def digest(files: Files, names: list[str]) -> str:
    pixels = b"".join(files[name][0].tobytes() for name in names)
    labels = b"".join(files[name][1].astype("<i4").tobytes() for name in names)
    return hashlib.sha256(pixels + labels).hexdigest()
