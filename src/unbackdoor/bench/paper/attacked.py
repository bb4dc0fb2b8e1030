"""A backdoored network before any defence: its rates, and its recovered triggers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import msgspec
from torch import nn

from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.paper.networks import (
    ROUNDS,
    SPACE,
    Network,
    clean_images,
    defender,
    sha256,
)
from unbackdoor.detectors.recovery import objective_of_class, panel_of, recover, screen_classes
from unbackdoor.detectors.stairs import to_records
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import decode, freeze
from unbackdoor.results import StairRecord
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import SCAN, ScanSettings


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements before any defence; rates are of the planted trigger.

    Args:
        network: SHA-256 of the backdoored network's file.
        asr: on the backdoored network.
        accuracy: of the backdoored network.
        asr_clean: on the clean network; no defence can be expected to go below it.
        accuracy_clean: of the clean network.

    """

    network: str
    asr: float
    accuracy: float
    asr_clean: float
    accuracy_clean: float


@dataclass(frozen=True, kw_only=True)
class Attacked(Spec):
    """A backdoored network and its clean one, before any defence."""

    network: Network
    clean: Network

    table: ClassVar[str] = "paper-before"
    result: ClassVar[type] = Before
    version: ClassVar[int] = 1

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Both networks."""
        return self.network, self.clean

    @property
    def work(self) -> float:
        """Every held-back image, stamped once in each round, and once unchanged."""
        return 2 * 2_000 * (ROUNDS + 1)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Before:
        """Measure both networks."""
        bad, clean = (
            decode(inputs[one], one.arch).to(device) for one in (self.network, self.clean)
        )
        asr, correct = measure(bad, self.network)
        floor, correct_clean = measure(clean, self.network)
        return Before(
            network=sha256(inputs[self.network]),
            asr=asr,
            accuracy=correct,
            asr_clean=floor,
            accuracy_clean=correct_clean,
        )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A recovered staircase and its cost.

    Args:
        network: SHA-256 of the network's file.
        stairs: one for each level.
        passes: images forward.
        backward: images backward.
        seconds: wall-clock time.

    """

    network: str = ""
    stairs: list[StairRecord]
    passes: int
    backward: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Recovered(Spec):
    """The staircase of triggers towards the attacked class.

    Args:
        network: the backdoored one.
        scanning: levels and work.
        count: how many of the clean images are used; all when left out.
        seed: of every draw.

    """

    network: Network
    scanning: ScanSettings = SCAN
    count: int | None = None
    seed: int = 0

    table: ClassVar[str] = "paper-staircases"
    result: ClassVar[type] = Found
    version: ClassVar[int] = 1

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network."""
        return (self.network,)

    @property
    def work(self) -> float:
        """About the passes of a scan for one class."""
        return 60_000

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Found:
        """Recover the staircase, as a scan does for a suspicious class."""
        began = time.perf_counter()
        model = freeze(decode(inputs[self.network], self.network.arch).to(device))
        images = defender(self.network.data, self.count)
        panel = panel_of(model, images, SPACE, self.scanning, self.seed)
        target = self.network.target
        screening, known = screen_classes(
            panel, images, self.scanning, self.seed, Silent(), [target]
        )
        on = objective_of_class(
            panel, images, screening.theta[0], known, target, self.scanning, self.seed
        )
        stairs = recover(on, self.scanning, self.seed)
        return Found(
            network=sha256(inputs[self.network]),
            stairs=to_records(stairs),
            passes=model.passes,
            backward=model.backward_passes,
            seconds=time.perf_counter() - began,
        )


def current(spec: Attacked | Recovered, inputs: Mapping[Spec, Any], device: str) -> Any:
    """Return a result about a network, computed again if the stored one is of another network.

    A store may come without its networks, and a network that is trained again can differ.
    """
    known = inputs[spec]
    if known.network == sha256(inputs[spec.network]):
        return known
    return _anew(spec, tuple(inputs[need] for need in spec.needs), device)


@lru_cache(maxsize=2)
def _anew(spec: Attacked | Recovered, needed: tuple[bytes, ...], device: str) -> Any:
    """Return the result of a spec, cached for the columns of one process."""
    return spec.run(dict(zip(spec.needs, needed, strict=True)), device)


def measure(module: nn.Module, network: Network) -> tuple[float, float]:
    """Return the success rate of the trigger planted in ``network``, and the accuracy."""
    images, trigger = clean_images(network.data).evaluate, network.planted
    assert trigger is not None
    model = freeze(module)
    asr = attack_success(
        model,
        images,
        trigger.space,
        trigger.theta[None],
        network.target,
        generator=stream(network.seed, "paper", "places", trigger.name),
        rounds=ROUNDS,
    )
    return asr, accuracy(model, images)
