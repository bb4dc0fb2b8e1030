"""Compare the staircase of a scan, level by level, with a long run of ``smc`` on the same F."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor

from unbackdoor.bench.framework.models import ModelFile
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.reference.patterns import by_mode, connected, patterns, shares
from unbackdoor.bench.reference.populations import (
    LONG,
    Populated,
    Population,
    objective_of_scan,
)
from unbackdoor.data import Images
from unbackdoor.detectors.objective import Panel, balanced
from unbackdoor.detectors.recovery import ClassObjective, recover
from unbackdoor.mesa import Stair, TestingFunction, gammas
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.mesa.testing import at_least
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers.values import from_bytes

COUNTS = 0.05
JUDGES, JUDGED = 1_000, 60
"""Images of a judge, and largest number of draws of a level that are judged."""
Mixture = tuple[Sequence[Stair], Tensor]
"""Stairs with the weight of each."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One level of one class of one model, by both estimators.

    Args:
        model: as written after ``--models``.
        target: the class.
        seed: of the scan and the population.
        beta: the level, None for the staircase of all levels with its weights γ.
        smc: log|V_β| in nats, by the population.
        flow: the same by the scan, by importance sampling.
        flow_error: standard error of ``flow``.
        valid: share of the flow's draws with F ≥ β.
        kept: share of valid draws (at most :data:`JUDGED`) that pass the filter with a margin.
        fresh: share of the draws that passed which are valid on new images and places.
        modes_smc: mode → share of the population, from 5 % on.
        modes_repeats: the same for each of its independent repeats.
        modes_flow: the same modes → share of the flow's draws, weighted to follow U(V_β).
        patterns_smc: pattern → share of the population, from 5 % on.
        patterns_flow: the same patterns → share of the flow's draws.
        connected: share of draws of other patterns than modes from which a straight line leads to
            the mode within V_β.
        original: pattern of the planted trigger, None where it is not black and white.
        value_of_original: F there.
        nearest_smc: distance of the planted trigger to the population, root mean square.
        nearest_flow: the same to as many of the flow's valid draws.
        passes: images forward for the staircase, all levels, including the judging.
        smc_passes: images forward for the population, all levels.
        versions: of the software on which the figures depend.

    """

    model: str
    target: int
    seed: int
    beta: float | None
    smc: float | None = None
    flow: float | None = None
    flow_error: float | None = None
    valid: float | None = None
    kept: float | None = None
    fresh: float | None = None
    modes_smc: dict[str, float]
    modes_repeats: list[dict[str, float]]
    modes_flow: dict[str, float]
    patterns_smc: dict[str, float]
    patterns_flow: dict[str, float]
    connected: float | None = None
    original: str | None
    value_of_original: float
    nearest_smc: float | None = None
    nearest_flow: float | None = None
    passes: int
    smc_passes: int
    versions: dict[str, str]

    @property
    def found(self) -> list[bool]:
        """Whether the flow has each mode with a share within a factor of two."""
        return _within_two(self.modes_smc, self.modes_flow)

    @property
    def patterns_found(self) -> list[bool]:
        """The same for each pattern."""
        return _within_two(self.patterns_smc, self.patterns_flow)


def _within_two(truth: Mapping[str, float], found: Mapping[str, float]) -> list[bool]:
    return [0.5 <= found[name] / share <= 2 for name, share in truth.items()]


class Comparisons(msgspec.Struct, frozen=True):
    """The rows of one run: one per level, and one for the staircase."""

    rows: list[Comparison]


@dataclass(frozen=True, kw_only=True)
class Compared(Spec):
    """A comparison of the staircase of a scan with the population on the same F.

    Args:
        model: with a known 3×3 trigger.
        scanning: of the scan.
        long: of the population.
        judges: images of each judge.
        seed: of scan and population.

    """

    model: ModelFile
    scanning: ScanSettings = SCAN
    long: SmcSettings = LONG
    judges: int = JUDGES
    seed: int

    table: ClassVar[str] = "reference"
    result: ClassVar[type] = Comparisons
    version: ClassVar[int] = 3

    @property
    def key(self) -> str:
        """The model's file and class, the settings and the seed."""
        own = (self.model.attacked, self.scanning, self.long, self.judges, JUDGED, self.seed)
        return key_of(self.version, self.model.sha256, *own)

    @property
    def populated(self) -> Populated:
        """The population."""
        return Populated(
            model=self.model, scanning=self.scanning, settings=self.long, seed=self.seed
        )

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The population."""
        return (self.populated,)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Comparisons:
        """Recover the staircase as a scan does, and compare it with the population."""
        population: Population = inputs[self.populated]
        on, passes = objective_of_scan(self.model, self.scanning, self.seed, device)
        subject, model = self.model.opened(device), on.panel.model
        before = model.passes
        flows = recover(on, self.scanning, self.seed)
        passes += model.passes - before
        theta = subject.truth.trigger.theta
        F, judges = on.panel.towards(on.target), self._judges(subject, on)
        smcs = _stairs(population, on.theta.shape[1])
        common: dict[str, Any] = {
            "model": population.model,
            "target": population.target,
            "seed": self.seed,
            "original": _black_and_white(subject),
            "value_of_original": float(F(theta[None])),
            "passes": passes,
            "smc_passes": population.passes,
            "versions": versions(),
        }
        rows: list[Comparison] = []
        one = torch.ones(1)
        for flow, smc, level in zip(flows, smcs, population.levels, strict=True):
            count = min(int(flow.valid.sum()), int(smc.valid.sum()))
            kept, fresh = judged(flow, *judges, self.judges)
            rows.append(
                Comparison(
                    **common,
                    beta=flow.beta,
                    smc=level.log_volume,
                    flow=flow.log_volume,
                    flow_error=flow.log_volume_error,
                    valid=flow.valid_fraction,
                    kept=kept,
                    fresh=fresh,
                    **shared_modes(([smc], one), ([flow], one), self.long.repeats),
                    connected=connected(smc, F),
                    nearest_smc=_nearest(smc, theta, count),
                    nearest_flow=_nearest(flow, theta, count),
                )
            )
        betas = self.scanning.betas
        of_smc = gammas(betas, [level.log_volume for level in population.levels])
        of_flow = gammas(betas, [flow.log_volume for flow in flows])
        whole = shared_modes((smcs, of_smc), (flows, of_flow), self.long.repeats)
        return Comparisons([*rows, Comparison(**common, beta=None, **whole)])

    def _judges(
        self, subject: Subject, on: ClassObjective
    ) -> tuple[TestingFunction, TestingFunction]:
        """Return F over the images that filter draws, and over images that were not used before."""

        def judge(name: str, images: Images) -> TestingFunction:
            generator = stream(self.seed, "reference", name)
            some = balanced(images, self.judges, generator)
            space, temperature = on.panel.space, on.panel.temperature
            return Panel(on.panel.model, some, space, temperature, generator).towards(on.target)

        return judge("reject", subject.images.defend), judge("fresh", subject.images.evaluate)


def _stairs(population: Population, dimensions: int) -> list[Stair]:
    """Return the levels of a population as stairs."""
    return [
        Stair(
            beta=level.beta,
            draws=from_bytes(level.draws, dimensions),
            log_q=None if level.log_volume is None else torch.zeros(len(level.values)),
            values=torch.tensor(level.values),
        )
        for level in population.levels
    ]


def _black_and_white(subject: Subject) -> str | None:
    """Return the pattern that was planted, None where it has colours."""
    trigger = subject.truth.trigger
    if not trigger.name.startswith("bw:"):
        return None
    return f"bw:{int(patterns(trigger.theta[None]))}"


def judged(
    stair: Stair, reject: TestingFunction, fresh: TestingFunction, images: int
) -> tuple[float | None, float | None]:
    """Return the share of valid draws that pass a filter, and the share of those valid elsewhere.

    Args:
        stair: draws.
        reject: F over other images, which filters draws with a margin.
        fresh: F over images that were not used before.
        images: number of images of each of the two.

    """
    draws = stair.draws[stair.valid][:JUDGED]
    if not len(draws):
        return None, None
    margin = 2 * math.sqrt(2 * stair.beta * (1 - stair.beta) / images)
    level = stair.beta + margin
    left = draws[at_least(reject, draws, level) >= level]
    if not len(left):
        return 0.0, None
    return len(left) / len(draws), float((fresh(left) >= stair.beta).double().mean())


def shared_modes(smc: Mixture, flow: Mixture, repeats: int) -> dict[str, Any]:
    """Return the shares of the population's modes and patterns in both mixtures.

    Args:
        smc: the population.
        flow: the mixture to compare with it.
        repeats: independent parts of the population.

    """
    truth, found = shares(*smc), shares(*flow)
    parts = [
        by_mode(shares([_part(stair, index, repeats) for stair in smc[0]], smc[1]), truth)
        for index in range(repeats)
    ]
    modes = _large(by_mode(truth, truth))
    own = _large(truth)
    return {
        "modes_smc": _named(modes, modes),
        "modes_repeats": [_named(modes, part) for part in parts],
        "modes_flow": _named(modes, by_mode(found, truth)),
        "patterns_smc": _named(own, own),
        "patterns_flow": _named(own, found),
    }


def _large(every: Mapping[int, float]) -> dict[int, float]:
    ranked = sorted(every.items(), key=lambda item: -item[1])
    return {pattern: share for pattern, share in ranked if share >= COUNTS}


def _named(order: Iterable[int], every: Mapping[int, float]) -> dict[str, float]:
    return {f"bw:{pattern}": every.get(pattern, 0.0) for pattern in order}


def _part(stair: Stair, index: int, parts: int) -> Stair:
    count = len(stair.draws) // parts
    rows = slice(index * count, (index + 1) * count)
    log_q = None if stair.log_q is None else stair.log_q[rows]
    return Stair(beta=stair.beta, draws=stair.draws[rows], log_q=log_q, values=stair.values[rows])


def _nearest(stair: Stair, theta: Tensor, count: int) -> float | None:
    if not count:
        return None
    away = (stair.draws[stair.valid][:count] - theta).square().mean(1).sqrt()
    return float(away.min())
