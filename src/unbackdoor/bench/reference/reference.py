"""``bench reference``: the flow staircase of a scan beside a long run of ``smc`` on the same F.

Both look at the same images and places. The uniform law on V_β has its mass at the edge, where
other images would reject half of it, so what is kept for use is rejected on :data:`JUDGES` images
with a margin of two standard errors, and judged on as many that were not looked at before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.reference.patterns import PIXELS, by_mode, connected, patterns, shares
from unbackdoor.detectors.objective import Panel, balanced
from unbackdoor.detectors.recovery import (
    Focus,
    first_look,
    focus,
    panel_of,
    recover,
    steps_of_a_staircase,
)
from unbackdoor.mesa import Smc, Stair, TestingFunction, gammas
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.mesa.testing import at_least
from unbackdoor.models import freeze
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.subject import Subject
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.values import from_bytes, to_bytes

DATA = "cifar10-sample"
VERSION = 3
"""Raised when the code changes what a row means, so that stored rows are measured again."""

POPULATION = SmcSettings(particles=300, sweeps=4, repeats=2)
COUNTS = 0.05
JUDGES, JUDGED = 1_000, 60
"""Images of a judge, and draws of a level that are judged, at most."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """The population at one level.

    Args:
        beta: the level.
        log_volume: log|V_β| in nats, None where no draw reached it.
        draws: θ as bytes 0 … 255, one row after the other.
        values: F of each.

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
        versions: of what the figures depend on.

    """

    model: str
    target: int
    seed: int
    levels: list[Level]
    passes: int
    seconds: float
    versions: dict[str, str]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One level of one class of one model, by both estimators.

    Args:
        model: as written after ``--models``.
        target: the class.
        seed: of the scan and the population.
        beta: the level, None for the staircase of all levels with its weights γ.
        smc: log|V_β| in nats, by the population.
        flow: the same by the scan, by importance sampling.
        flow_error: standard error of that.
        valid: share of the flow's draws with F ≥ β.
        kept: share of those that rejection with a margin leaves, of :data:`JUDGED`.
        fresh: share of what is left that is valid on fresh images and places.
        modes_smc: mode → share of the population, from 5 % on.
        modes_repeats: the same of each of its independent repeats.
        modes_flow: the same modes → share of the flow's draws, as they are taken for U(V_β).
        patterns_smc: pattern → share of the population, from 5 % on.
        patterns_flow: the same patterns → share of the flow's draws.
        connected: share of draws of other patterns than modes from which a straight line leads to
            the mode within V_β.
        original: pattern of the planted trigger, None where it is not black and white.
        value_of_original: F there.
        nearest_smc: distance of the planted trigger to the population, root mean square.
        nearest_flow: the same to as many of the flow's valid draws.
        passes: images forward for the staircase, all levels, its judging included.
        smc_passes: images forward for the population, all levels.
        versions: of what the figures depend on.

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
        """Of each mode of the population, whether its share in the flow is half to twice that."""
        return _within_two(self.modes_smc, self.modes_flow)

    @property
    def patterns_found(self) -> list[bool]:
        """The same of each pattern."""
        return _within_two(self.patterns_smc, self.patterns_flow)


def _within_two(truth: Mapping[str, float], found: Mapping[str, float]) -> list[bool]:
    return [0.5 <= found[name] / share <= 2 for name, share in truth.items()]


class Rows(msgspec.Struct, frozen=True):
    """What one run measures: a row per level, and one for the staircase."""

    rows: list[Row]


def measure(
    names: Sequence[str], seeds: Sequence[int], folder: Path, device: str, progress: Progress
) -> list[Row]:
    """Measure what ``folder`` lacks, and return the rows asked for.

    Args:
        names: models as the command line writes them; each with a known 3×3 trigger.
        seeds: of scan and population.
        folder: the store.
        device: where models run.
        progress: where to report.

    Raises:
        ContentError: a model does not say what was planted in it.

    """
    populations = Store(folder, "populations", Population)
    store = Store(folder, "reference", Rows)
    settings = ScanSettings()
    rows: list[Row] = []
    looking = (settings.screening, settings.panel, settings.pool, settings.uniform_draws)
    for name in names:
        subject = Subject.open(name, None, DATA, device)
        planted = subject.truth
        for seed in seeds:
            sha256, target = subject.loaded.sha256, planted.target
            looked = cache(partial(look, subject, seed, progress))
            population = populations.keep(
                key_of(VERSION, sha256, target, settings.betas, looking, POPULATION, seed),
                lambda c=subject, on=looked, s=seed: populate(c, on()[0], s, progress),
            )
            rows += store.keep(
                key_of(VERSION, sha256, target, settings, POPULATION, JUDGES, JUDGED, seed),
                lambda c=subject, on=looked, p=population: Rows(_compare(c, *on(), p, progress)),
            ).rows
    return rows


def look(subject: Subject, seed: int, progress: Progress) -> tuple[Focus, int]:
    """Return F as a scan with this seed looks at it, and the passes of choosing its images."""
    settings, target = ScanSettings(), subject.truth.target
    model, images = freeze(subject.network), subject.images.defend
    panel = panel_of(model, images, Patch(3), settings, seed)
    screening, known = first_look(panel, images, settings, seed, progress)
    before = model.passes
    on = focus(panel, images, screening.theta[target], known, target, settings, seed)
    return on, model.passes - before


def mirrors(count: int, generator: Generator) -> Tensor:
    """Return signs ``(count, 27)`` that invert every pixel, or one of the nine."""
    signs = torch.ones(count, 3, PIXELS)
    which = torch.randint(2 * PIXELS, (count,), generator=generator)
    signs[which >= PIXELS] = -1
    one = (which < PIXELS).nonzero()[:, 0]
    signs[one, :, which[one]] = -1
    return signs.reshape(count, -1)


def populate(subject: Subject, on: Focus, seed: int, progress: Progress) -> Population:
    """Run ``smc`` on the panel that a scan with the same seed looks at."""
    began = time.perf_counter()
    model = on.panel.model
    before = model.passes
    with progress.task(f"population, seed {seed}", None) as task:
        stairs = Smc(POPULATION, mirrors)(
            on.panel.towards(on.target),
            ScanSettings().betas,
            on.theta.shape[1],
            seed=seed,
            advance=task.advance,
        )
    return Population(
        model=subject.loaded.name,
        target=on.target,
        seed=seed,
        levels=[
            Level(
                beta=stair.beta,
                log_volume=stair.log_volume,
                draws=to_bytes(stair.draws),
                values=[float(value) for value in stair.values],
            )
            for stair in stairs
        ],
        passes=model.passes - before,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )


def _compare(
    subject: Subject, on: Focus, passes: int, population: Population, progress: Progress
) -> list[Row]:
    """Recover the staircase as a scan does, and set it beside the population.

    Args:
        subject: model and images.
        on: F, and what is known of it.
        passes: images forward that choosing its images took.
        population: on the same F.
        progress: where to report.

    """
    settings, seed, trigger = ScanSettings(), population.seed, subject.truth.trigger
    model, space = on.panel.model, on.panel.space
    before = model.passes
    with progress.task(f"staircase, seed {seed}", steps_of_a_staircase(settings)) as task:
        flows = recover(on, settings, seed, task.advance)
    passes += model.passes - before
    judges: list[TestingFunction] = []
    for part, images in (("reject", subject.images.defend), ("fresh", subject.images.evaluate)):
        generator = stream(seed, "reference", part)
        some = balanced(images, JUDGES, generator)
        judge = Panel(model, some, space, on.panel.temperature, generator)
        judges.append(judge.towards(on.target))
    smcs = [
        Stair(
            beta=level.beta,
            draws=from_bytes(level.draws, space.dimensions(subject.images.defend.shape)),
            log_q=None if level.log_volume is None else torch.full((len(level.values),), 0.0),
            values=torch.tensor(level.values),
        )
        for level in population.levels
    ]
    black_and_white = trigger.name.startswith("bw:")
    common: dict[str, Any] = {
        "model": population.model,
        "target": population.target,
        "seed": seed,
        "original": f"bw:{int(patterns(trigger.theta[None]))}" if black_and_white else None,
        "value_of_original": float(on.panel.towards(on.target)(trigger.theta[None])),
        "passes": passes,
        "smc_passes": population.passes,
        "versions": versions(),
    }
    rows: list[Row] = []
    for flow, smc, level in zip(flows, smcs, population.levels, strict=True):
        count = min(int(flow.valid.sum()), int(smc.valid.sum()))
        kept, fresh = _judge(flow, *judges)
        rows.append(
            Row(
                **common,
                beta=flow.beta,
                smc=level.log_volume,
                flow=flow.log_volume,
                flow_error=flow.log_volume_error,
                valid=flow.valid_fraction,
                kept=kept,
                fresh=fresh,
                **_modes([smc], torch.ones(1), [flow], torch.ones(1)),
                connected=connected(smc, on.panel.towards(on.target)),
                nearest_smc=_nearest(smc, trigger.theta, count),
                nearest_flow=_nearest(flow, trigger.theta, count),
            )
        )
    of_smc = gammas(settings.betas, [level.log_volume for level in population.levels])
    of_flow = gammas(settings.betas, [flow.log_volume for flow in flows])
    return [*rows, Row(**common, beta=None, **_modes(smcs, of_smc, flows, of_flow))]


def _judge(
    stair: Stair, reject: TestingFunction, fresh: TestingFunction
) -> tuple[float | None, float | None]:
    """Return the share of valid draws that rejection leaves, and the share of those valid anew."""
    draws = stair.draws[stair.valid][:JUDGED]
    if not len(draws):
        return None, None
    margin = 2 * math.sqrt(2 * stair.beta * (1 - stair.beta) / JUDGES)
    level = stair.beta + margin
    left = draws[at_least(reject, draws, level) >= level]
    if not len(left):
        return 0.0, None
    return len(left) / len(draws), float((fresh(left) >= stair.beta).double().mean())


def _modes(
    smcs: Sequence[Stair], of_smc: Tensor, flows: Sequence[Stair], of_flow: Tensor
) -> dict[str, Any]:
    """Return the shares of the population's modes and patterns in both mixtures."""
    truth, found = shares(smcs, of_smc), shares(flows, of_flow)

    repeats = [
        by_mode(shares([_repeat(smc, index) for smc in smcs], of_smc), truth)
        for index in range(POPULATION.repeats)
    ]
    modes = _large(by_mode(truth, truth))
    own = _large(truth)
    return {
        "modes_smc": _named(modes, modes),
        "modes_repeats": [_named(modes, repeat) for repeat in repeats],
        "modes_flow": _named(modes, by_mode(found, truth)),
        "patterns_smc": _named(own, own),
        "patterns_flow": _named(own, found),
    }


def _large(shares: Mapping[int, float]) -> dict[int, float]:
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return {pattern: share for pattern, share in ranked if share >= COUNTS}


def _named(order: Iterable[int], shares: Mapping[int, float]) -> dict[str, float]:
    return {f"bw:{pattern}": shares.get(pattern, 0.0) for pattern in order}


def _repeat(stair: Stair, index: int) -> Stair:
    count = len(stair.draws) // POPULATION.repeats
    rows = slice(index * count, (index + 1) * count)
    log_q = None if stair.log_q is None else stair.log_q[rows]
    return Stair(beta=stair.beta, draws=stair.draws[rows], log_q=log_q, values=stair.values[rows])


def _nearest(stair: Stair, theta: Tensor, count: int) -> float | None:
    if not count:
        return None
    away = (stair.draws[stair.valid][:count] - theta).square().mean(1).sqrt()
    return float(away.min())


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line per model, seed and level."""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        {
            "model": f"`{row.model}`",
            "seed": str(row.seed),
            "β": "staircase" if row.beta is None else f"{row.beta:g}",
            "log volume: smc": number(row.smc, ".1f"),
            "flow": "–"
            if row.flow is None
            else f"{row.flow:.1f} ± {number(row.flow_error, '.1f')}",
            "valid": number(row.valid, ".0%"),
            "kept by rejection": number(row.kept, ".0%"),
            "valid on fresh images": number(row.fresh, ".0%"),
            "modes: smc (its repeats) / flow": ", ".join(
                f"{name} {share:.0%} ({', '.join(f'{one[name]:.0%}' for one in row.modes_repeats)})"
                f" / {row.modes_flow[name]:.0%}"
                for name, share in row.modes_smc.items()
            ),
            "within a factor of two": f"{sum(row.found)} of {len(row.found)}",
            "patterns within it": f"{sum(row.patterns_found)} of {len(row.patterns_found)}",
            "connected": number(row.connected, ".0%"),
            "planted": f"{row.original or '–'}, F = {row.value_of_original:.2f}",
            "nearest to it: smc / flow": f"{number(row.nearest_smc, '.2f')} / "
            f"{number(row.nearest_flow, '.2f')}",
            "passes: smc / flow": f"{row.smc_passes:,} / {row.passes:,}",
        }
        for row in rows
    ]
