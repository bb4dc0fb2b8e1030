"""``bench profile``: how much of a scan's time is the model's own forward and backward passes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor, nn

from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.models import ModelFile, named
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.models import Frozen, freeze
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import Described, scan
from unbackdoor.scanning.settings import ScanSettings


class ProfileRow(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the time of one scan.

    Args:
        model: as written after ``--models``.
        seed: of the scan.
        seconds: of the whole scan.
        forward: seconds inside the model, forward.
        backward: seconds inside the model, backward.
        outside: share of the scan's time that is neither.
        image_passes: images forward.
        image_passes_backward: images backward.
        versions: of the software on which the figures depend.

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
    """A model that measures the time of its own passes.

    The backward pass begins when the gradient of the model's output arrives and ends when the
    gradient of its input is computed, so stamping, the flow and the optimiser do not count.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.module, self.device = module, device
        self.forward_seconds = self.backward_seconds = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers of the model."""
        images = images.view_as(images)  # a new tensor, whose hooks belong to this call
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
            torch.cuda.synchronize(self.device)  # do not time earlier work
        return time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class Profiled(Spec):
    """One scan with the default settings and a clock inside the model.

    Scans side by side slow each other down, so what is to be published runs one after the other.

    Args:
        model: the model.
        seed: of the scan.
        device: where it runs; part of the key, because times depend on it.

    """

    model: ModelFile
    seed: int
    device: str

    table: ClassVar[str] = "profile"
    result: ClassVar[type] = ProfileRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The model's file, the settings, the seed and the device."""
        return key_of(self.version, self.model.sha256, ScanSettings(), self.seed, self.device)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> ProfileRow:
        """Scan the model."""
        del inputs
        subject = self.model.opened(device)
        frozen = freeze(subject.network)
        frozen.settle(subject.images.defend.batch(torch.arange(2)))
        clock = Clock(frozen.module, frozen.device)
        model = Frozen(clock, half=frozen.half)
        described = Described(model=model, path=self.model.name, sha256="", arch="")
        found = scan(
            described,
            subject.images,
            "patch:3",
            ScanSettings(),
            Work(seed=self.seed),
        )
        inside = clock.forward_seconds + clock.backward_seconds
        return ProfileRow(
            model=self.model.name,
            seed=self.seed,
            seconds=found.seconds,
            forward=clock.forward_seconds,
            backward=clock.backward_seconds,
            outside=1 - inside / found.seconds,
            image_passes=found.image_passes,
            image_passes_backward=found.image_passes_backward,
            versions=versions(),
        )


def plan(request: Request) -> list[Spec]:
    """Return a piece for each model and seed."""
    return [
        Profiled(model=model, seed=seed, device=request.device)
        for model in named(request)
        for seed in request.seeds
    ]


def table(rows: Sequence[ProfileRow]) -> list[Line]:
    """Return one line per model and seed."""
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


BENCH = Bench(
    name="profile",
    summary="How much of a scan's time is the model's own forward and backward passes.",
    plan=plan,
    table=table,
    seeds=1,
    flags=frozenset({"models"}),
)
