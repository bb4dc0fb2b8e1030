from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis
from PIL import Image

from cifar_layouts import NAMES, PER_FILE, Files, random_files
from kills import SMALL
from unbackdoor import rng
from unbackdoor.data import cifar
from unbackdoor.runtime import progress
from unbackdoor.scanning import settings

WritePictures = Callable[..., Path]
hypothesis.register_profile("unhurried", deadline=None)  # how busy the machine is says nothing
hypothesis.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--draws",
        default="",
        help="draw every random stream anew: what then fails hangs on the luck of one seed",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "stored: holds to draws that are in a file or another process; not with --draws"
    )
    if salt := config.getoption("--draws"):
        sha256 = lambda content: hashlib.sha256(content + salt.encode())  # noqa: E731
        rng.hashlib = SimpleNamespace(sha256=sha256)  # pyright: ignore


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--draws"):
        for item in items:
            if item.get_closest_marker("stored"):
                item.add_marker(pytest.mark.skip(reason="its draws are those that were stored"))


@pytest.fixture(autouse=True)
def _one_thread_for_small_tensors(request: pytest.FixtureRequest) -> Iterator[None]:
    """In ``mesa`` a second thread would cost more than it brings."""
    threads = torch.get_num_threads()
    if "mesa" in request.path.parts:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _denormals_as_they_were() -> Iterator[None]:
    """Commands flush denormals in this process, which other tests take offence at."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _no_line_because_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that take long say so on standard error, and how long they take is chance."""
    monkeypatch.setattr(progress, "EVERY", float("inf"))


@pytest.fixture(autouse=True)
def _no_journal_of_others(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was killed elsewhere is not gone on with here."""
    monkeypatch.setenv("UNBACKDOOR_STATE", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def write_pictures() -> WritePictures:
    """Write a folder of noisy pictures, each class around its own brightness."""

    def write(
        folder: Path, *, classes: dict[str, int], count: int, side: int = 8, seed: int = 0
    ) -> Path:
        draw = np.random.default_rng(seed)
        for name, level in classes.items():
            (folder / name).mkdir(parents=True)
            for index in range(count):
                noise = draw.integers(-20, 21, (side, side, 3))
                picture = np.clip(level + noise, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(folder / name / f"{index:03}.png")
        return folder

    return write


@pytest.fixture
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the way, not how well the scan sees."""
    monkeypatch.setitem(settings.BUDGETS, "quick", replace(SMALL, evaluate=100))


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
