"""The F of a scan of a real network, and a long run of ``smc`` on it as the reference."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import msgspec
import torch
from torch import Generator, Tensor

from unbackdoor.bench.framework.models import ModelFile
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.reference.patterns import PIXELS
from unbackdoor.detectors.recovery import (
    ClassObjective,
    objective_of_class,
    panel_of,
    screen_classes,
)
from unbackdoor.mesa import Smc
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.models import freeze
from unbackdoor.results import versions
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.triggers.registry import parse_space
from unbackdoor.triggers.values import to_bytes

LONG = SmcSettings(particles=300, sweeps=4, repeats=2)


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """The population at one level.

    Args:
        beta: the level.
        log_volume: log|V_β| in nats, None where no draw reached it.
        draws: θ as bytes 0 … 255, row by row.
        values: F of each draw.

    """

    beta: float
    log_volume: float | None
    draws: bytes
    values: list[float]


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """One long run of ``smc`` on F towards one class.

    Args:
        model: as written after ``--models``.
        target: the class.
        seed: of panel and population.
        levels: rising.
        passes: images forward.
        seconds: wall-clock time.
        versions: of the software on which the figures depend.

    """

    model: str
    target: int
    seed: int
    levels: list[Level]
    passes: int
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Populated(Spec):
    """A long run of ``smc`` on the F of a scan with the same seed.

    Args:
        model: with a known 3×3 trigger.
        scanning: of the scan.
        settings: of the run.
        seed: of scan and run.

    """

    model: ModelFile
    scanning: ScanSettings = SCAN
    settings: SmcSettings = LONG
    seed: int

    table: ClassVar[str] = "populations"
    result: ClassVar[type] = Population
    version: ClassVar[int] = 3

    @property
    def key(self) -> str:
        """The model's file and class, the settings that determine F, the run and the seed."""
        scan = self.scanning
        asked = (scan.screening, scan.panel, scan.pool, scan.uniform_draws)
        own = (self.model.attacked, scan.betas, asked, self.settings, self.seed)
        return key_of(self.version, self.model.sha256, *own)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Population:
        """Run the population."""
        del inputs
        on, _ = objective_of_scan(self.model, self.scanning, self.seed, device)
        began, before = time.perf_counter(), on.panel.model.passes
        stairs = Smc(self.settings, mirrors)(
            on.panel.towards(on.target), self.scanning.betas, on.theta.shape[1], seed=self.seed
        )
        return Population(
            model=self.model.name,
            target=on.target,
            seed=self.seed,
            levels=[
                Level(
                    beta=stair.beta,
                    log_volume=stair.log_volume,
                    draws=to_bytes(stair.draws),
                    values=[float(value) for value in stair.values],
                )
                for stair in stairs
            ],
            passes=on.panel.model.passes - before,
            seconds=time.perf_counter() - began,
            versions=versions(),
        )


@lru_cache(maxsize=1)
def objective_of_scan(
    model: ModelFile, settings: ScanSettings, seed: int, device: str
) -> tuple[ClassObjective, int]:
    """Return the F of a scan towards the attacked class, and the passes to choose its images.

    A process caches the last one.

    Args:
        model: with a known 3×3 trigger.
        settings: of the scan.
        seed: of the scan.
        device: where the model runs.

    Raises:
        ContentError: the model cannot be used.

    """
    subject, target = model.opened(device), model.attacked
    images = subject.images.defend
    panel = panel_of(freeze(subject.network), images, parse_space("patch:3"), settings, seed)
    screening, known = screen_classes(panel, images, settings, seed, Silent())
    before = panel.model.passes
    on = objective_of_class(panel, images, screening.theta[target], known, target, settings, seed)
    return on, panel.model.passes - before


def mirrors(count: int, generator: Generator) -> Tensor:
    """Return signs ``(count, 27)``, each row of which inverts every pixel or one of the nine."""
    signs = torch.ones(count, 3, PIXELS)
    which = torch.randint(2 * PIXELS, (count,), generator=generator)
    signs[which >= PIXELS] = -1
    one = (which < PIXELS).nonzero()[:, 0]
    signs[one, :, which[one]] = -1
    return signs.reshape(count, -1)
