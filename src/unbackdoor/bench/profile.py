"""``bench profile``: how much of a scan's time is the model's own forward and backward passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.models import Frozen, freeze
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning import Described, scan
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers.registry import parse_space

VERSION = 1
"""Raised when the code changes what a row means, so that stored rows are measured again."""
DATA, SPACE = "cifar10-sample", "patch:3"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one scan went.

    Args:
        model: as written after ``--models``.
        seed: of the scan.
        seconds: of the whole scan.
        forward: seconds inside the model, forward.
        backward: seconds inside the model, backward.
        outside: share of the scan's time that is neither.
        image_passes: images forward.
        image_passes_backward: images backward.
        versions: of what the figures depend on.

    """

    model: str
    seed: int
    seconds: float
    forward: float
    backward: float
    outside: float
    image_passes: int
    image_passes_backward: int
    versions: dict[str, str]


class Clock(nn.Module):
    """A model that takes the time of its own passes.

    The backward pass begins when the gradient of its answer arrives and ends when that of its
    input leaves, so stamping, the flow and the optimiser do not count.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.module, self.device = module, device
        self.forward_seconds = self.backward_seconds = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return what the model answers."""
        images = images.view_as(images)  # of this call alone, and so are the hooks on it
        began: list[float] = []

        def begin(_gradient: Tensor) -> None:
            began.append(self._now())

        def end(_gradient: Tensor) -> None:
            self.backward_seconds += self._now() - began.pop()

        start = self._now()
        logits = self.module(images)
        self.forward_seconds += self._now() - start
        if images.requires_grad:
            logits.register_hook(begin)
            images.register_hook(end)
        return logits

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what is still queued belongs to the time before
        return time.perf_counter()


def measure(
    names: Sequence[str], seed: int, folder: Path, device: str, progress: Progress
) -> list[Row]:
    """Scan each model that ``folder`` lacks once with the default settings and a clock inside.

    Args:
        names: models as the command line writes them.
        seed: of the scan.
        folder: the store.
        device: where models run.
        progress: where to report.

    """
    store = Store(folder, "profile", Row)
    rows: list[Row] = []
    for name in names:
        subject = Subject.open(name, None, DATA, device)
        key = key_of(VERSION, subject.loaded.sha256, ScanSettings(), seed, device)
        rows.append(store.keep(key, lambda c=subject: _measure(c, seed, progress)))
    return rows


def _measure(subject: Subject, seed: int, progress: Progress) -> Row:
    name, images = subject.loaded.name, subject.images
    frozen = freeze(subject.network)
    frozen.settle(images.defend.batch(torch.arange(2)))
    clock = Clock(frozen.module, frozen.device)
    described = Described(model=Frozen(clock, half=frozen.half), path=name, sha256="", arch="")
    space = parse_space(SPACE)
    found = scan(described, images, space, ScanSettings(), seed=seed, progress=progress)
    inside = clock.forward_seconds + clock.backward_seconds
    return Row(
        model=name,
        seed=seed,
        seconds=found.seconds,
        forward=clock.forward_seconds,
        backward=clock.backward_seconds,
        outside=1 - inside / found.seconds,
        image_passes=found.image_passes,
        image_passes_backward=found.image_passes_backward,
        versions=versions(),
    )


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line per model."""
    return [
        {
            "model": f"`{row.model}`",
            "image passes forward": f"{row.image_passes:,}",
            "backward": f"{row.image_passes_backward:,}",
            "seconds": f"{row.seconds:.0f}",
            "forward, s": f"{row.forward:.1f}",
            "backward, s": f"{row.backward:.1f}",
            "outside the model": f"{row.outside:.1%}",
        }
        for row in rows
    ]
