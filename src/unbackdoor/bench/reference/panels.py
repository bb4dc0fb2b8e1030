"""``bench panels``: what a few images say of F, chosen or drawn at random, beside what all say.

The triggers are those that the scans with the *other* seeds screened, at two contrasts and with
noise, so that no panel was chosen by them; the truth is F over all held-back images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.reference.reference import DATA, look
from unbackdoor.detectors.objective import Panel, balanced
from unbackdoor.detectors.recovery import FADES
from unbackdoor.errors import ArgumentError
from unbackdoor.results import versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.subject import Subject

VERSION = 1
"""Raised when the code changes what a row means, so that stored rows are measured again."""

NOISE = 0.15
RANDOM = 20


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of panel with one seed; differences of F are root mean squares over the triggers.

    Args:
        model: as written after ``--models``.
        seed: of the scan whose panel it is.
        kind: ``chosen`` or ``random``.
        images: in the panel.
        difference: of F from the truth; over 20 panels for random ones.
        shared: of its mean over the triggers alone: how lenient or strict the panel is.
        versions: of what the figures depend on.

    """

    model: str
    seed: int
    kind: str
    images: int
    difference: float
    shared: float
    versions: dict[str, str]


class Rows(msgspec.Struct, frozen=True):
    """What one run measures, since every seed needs the others."""

    rows: list[Row]


def measure(
    names: Sequence[str], seeds: Sequence[int], folder: Path, device: str, progress: Progress
) -> list[Row]:
    """Measure what ``folder`` lacks, and return the rows asked for.

    Args:
        names: models as the command line writes them; each with a known target.
        seeds: at least two.
        folder: the store.
        device: where models run.
        progress: where to report.

    Raises:
        ArgumentError: there are fewer seeds.
        ContentError: a model does not say what was planted in it.

    """
    if len(seeds) < 2:
        raise ArgumentError(
            f"--seeds: panels holds each seed against the others, expected at least 2, came "
            f"{len(seeds)}."
        )
    store = Store(folder, "panels", Rows)
    rows: list[Row] = []
    for name in names:
        subject = Subject.open(name, None, DATA, device)
        key = key_of(VERSION, subject.loaded.sha256, ScanSettings(), NOISE, RANDOM, list(seeds))
        rows += store.keep(key, lambda c=subject: Rows(_measure(c, seeds, progress))).rows
    return rows


def _measure(subject: Subject, seeds: Sequence[int], progress: Progress) -> list[Row]:
    looks = [look(subject, seed, progress)[0] for seed in seeds]
    target, first = looks[0].target, looks[0].panel
    restarts = ScanSettings().screening.restarts * len(FADES)
    generator = stream(0, "panels", "triggers")
    screened = torch.stack([on.theta[-restarts:] for on in looks])
    noise = NOISE * torch.randn(screened.shape, generator=generator)
    theta = (screened + noise).clamp(0, 1)
    held = subject.images.evaluate
    everything = Panel(first.model, held, first.space, first.temperature, generator)
    truth = everything.towards(target)(theta.flatten(0, 1)).reshape(theta.shape[:2])
    rows: list[Row] = []
    for index, (seed, on) in enumerate(zip(seeds, looks, strict=True)):
        others = torch.arange(len(looks)) != index
        asked, wanted = theta[others].flatten(0, 1), truth[others].flatten()
        images = len(on.panel.pixels)
        pool = subject.images.defend
        pool = pool.subset((pool.targets != target).nonzero()[:, 0])
        drawn: list[Panel] = []
        for turn in range(RANDOM):
            own = stream(seed, "panels", "random", turn)
            some = balanced(pool, images, own)
            drawn.append(Panel(first.model, some, first.space, first.temperature, own))
        for kind, panels in (("chosen", [on.panel]), ("random", drawn)):
            apart = torch.stack([panel.towards(target)(asked) - wanted for panel in panels])
            rows.append(
                Row(
                    model=subject.loaded.name,
                    seed=seed,
                    kind=kind,
                    images=images,
                    difference=float(apart.square().mean().sqrt()),
                    shared=float(apart.mean(1).square().mean().sqrt()),
                    versions=versions(),
                )
            )
    return rows


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line per model and kind: root mean squares over the seeds, worst in brackets."""
    lines: list[Line] = []
    for model, kind in dict.fromkeys((row.model, row.kind) for row in rows):
        own = [row for row in rows if (row.model, row.kind) == (model, kind)]

        def worst(values: Sequence[float]) -> str:
            square = torch.tensor(values).square().mean().sqrt()
            return f"{float(square):.3f} ({max(values):.3f})"

        lines.append(
            {
                "model": f"`{model}`",
                "panel": f"{own[0].images} images, {kind}",
                "seeds": str(len(own)),
                "difference of F": worst([row.difference for row in own]),
                "shared by all triggers": worst([row.shared for row in own]),
            }
        )
    return lines
