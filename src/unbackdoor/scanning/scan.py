"""The scan: screen every class, give the survivors the full budget, judge on held-back images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import torch
from torch import Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.mesa import first_look, focus, panel_of, recover, steps_of_a_staircase
from unbackdoor.detectors.screening import Screening
from unbackdoor.detectors.settings import ScanSettings
from unbackdoor.detectors.steps import Steps
from unbackdoor.errors import ContentError
from unbackdoor.mesa import Stair, Staircase, gammas
from unbackdoor.mesa.uniform import log_volume_upper_bound
from unbackdoor.metrics import attack_success, confusion, correct, predict
from unbackdoor.models import Frozen
from unbackdoor.results import (
    ClassRecord,
    DataRecord,
    Example,
    Finding,
    LogVolume,
    ModelRecord,
    ScanResult,
    StairRecord,
    versions,
)
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent
from unbackdoor.triggers import TriggerSpace
from unbackdoor.verdict.judge import judge, status

FEWEST_PER_CLASS = 4
EXAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Described:
    """What is scanned, and what is said of it in the result.

    Args:
        model: the frozen classifier.
        path: as the user wrote it.
        sha256: of the file, or empty.
        arch: its architecture.
        findings: of the preflight.

    """

    model: Frozen
    path: str
    sha256: str
    arch: str
    findings: tuple[Finding, ...] = ()


def scan(
    described: Described,
    images: Split,
    space: TriggerSpace,
    settings: ScanSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    journal: Journal = FORGETFUL,
) -> ScanResult:
    """Look for a backdoor towards any class; nothing about the attack is known.

    Args:
        described: the model.
        images: clean images to search with, and others, held back, to measure on.
        space: the triggers to look for.
        settings: how much work, and the rule of the verdict.
        seed: of every draw.
        progress: where to report.
        journal: keeps each finished step, from which a scan that was killed goes on.

    Raises:
        InsufficientDataError: too few images of a class.

    """
    began = time.perf_counter()
    progress = progress or Silent()
    model = described.model
    forward, backward = model.passes, model.backward_passes
    images.require(FEWEST_PER_CLASS)
    panel = panel_of(model, images.defend, space, settings, seed)
    steps = Steps(model, journal)
    screening, known = first_look(panel, images.defend, settings, seed, progress, steps=steps)
    uniform_values = known.values[: settings.uniform_draws]
    predicted = predict(model, images.evaluate)

    def look(target: int) -> ClassRecord:
        stairs: tuple[Stair, ...] = ()
        if float(screening.asr[target].max()) >= settings.survives:
            name = images.defend.classes[target]
            with progress.task(f"staircase of {name}", steps_of_a_staircase(settings)) as task:
                triggers = screening.theta[target]
                on = focus(panel, images.defend, triggers, known, target, settings, seed)
                stairs = recover(on, settings, seed, task.advance, steps)
        return _record(
            target,
            model,
            images,
            space,
            screening,
            uniform_values,
            stairs,
            predicted,
            settings,
            seed,
        )

    classes = [
        steps.keep(f"class {target}", ClassRecord, partial(look, target))
        for target in range(len(images.defend.classes))
    ]
    verdict, targets, reason = judge(classes, space.name, settings)
    return ScanResult(
        model=ModelRecord(
            path=described.path,
            sha256=described.sha256,
            arch=described.arch,
            accuracy=correct(predicted, images.evaluate),
        ),
        data=DataRecord(
            name=images.defend.name,
            sha256=data_hash(images),
            defend=len(images.defend),
            evaluate=len(images.evaluate),
            classes=list(images.defend.classes),
        ),
        space=space.name,
        dimensions=space.dimensions,
        image_shape=list(images.defend.shape),
        seed=seed,
        settings=msgspec.to_builtins(settings),
        verdict=verdict,
        targets=targets,
        reason=reason,
        power_checked=False,
        classes=classes,
        examples=_examples(model, images.evaluate, space, classes, targets, seed),
        preflight=list(described.findings),
        image_passes=model.passes - forward,
        image_passes_backward=model.backward_passes - backward,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )


def data_hash(images: Split) -> str:
    """Return what identifies the images of a scan: SHA-256 over those of both parts."""
    return hashlib.sha256((images.defend.sha256 + images.evaluate.sha256).encode()).hexdigest()


def staircase(record: ClassRecord, dimensions: int, *, equal: bool = False) -> Staircase:
    """Return the recovered law of a class as it is kept in a result.

    Args:
        record: of the class.
        dimensions: n.
        equal: whether the stairs are mixed in equal parts rather than by γ, as in a repair.

    Raises:
        ContentError: the class has no stairs.

    """
    if not record.stairs:
        raise ContentError(
            f"the scan holds no triggers for class {record.name!r}; expected draws of its stairs, "
            f"scan again."
        )
    return from_records(record.stairs, dimensions, equal=equal)


def to_records(stairs: Sequence[Stair]) -> list[StairRecord]:
    """Return stairs as they are kept, with their weights γ."""
    weights = gammas([stair.beta for stair in stairs], [stair.log_volume for stair in stairs])
    return [
        StairRecord(
            beta=stair.beta,
            gamma=gamma,
            draws=to_bytes(stair.draws),
            log_q=[] if stair.log_q is None else [float(value) for value in stair.log_q],
            values=[float(value) for value in stair.values],
            valid_fraction=stair.valid_fraction,
            entropy_bound=stair.entropy_bound,
            log_volume=stair.log_volume,
            effective_sample_size=stair.effective_sample_size,
        )
        for stair, gamma in zip(stairs, map(float, weights), strict=True)
    ]


def from_records(
    records: Sequence[StairRecord], dimensions: int, *, equal: bool = False
) -> Staircase:
    """Return the mixture of stairs that were kept, their draws as exact as bytes are.

    Args:
        records: at least one.
        dimensions: n.
        equal: whether they are mixed in equal parts rather than by γ; they always are where no γ
            is above 0, because all level sets are empty.

    """
    stairs = tuple(
        Stair(
            beta=record.beta,
            draws=from_bytes(record.draws, dimensions),
            log_q=torch.tensor(record.log_q) if record.log_q else None,
            values=torch.tensor(record.values),
        )
        for record in records
    )
    weights = torch.tensor([record.gamma for record in records], dtype=torch.float64)
    by_gamma = bool(weights.any()) and not equal
    return Staircase(stairs, weights if by_gamma else torch.ones(len(stairs)))


def to_bytes(values: Tensor) -> bytes:
    """Return values in [0, 1] as bytes 0 … 255, in row-major order."""
    return (values * 255).round().to(torch.uint8).contiguous().numpy().tobytes()


def from_bytes(content: bytes, dimensions: int) -> Tensor:
    """Return bytes 0 … 255 as float32 ``(count, dimensions)`` in [0, 1]."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, dimensions) / 255


def _record(
    target: int,
    model: Frozen,
    images: Split,
    space: TriggerSpace,
    screening: Screening,
    uniform_values: Tensor,
    stairs: tuple[Stair, ...],
    predicted: Tensor,
    settings: ScanSettings,
    seed: int,
) -> ClassRecord:
    candidates = screening.theta[target][screening.asr[target].argmax()][None]
    if stairs:
        top = stairs[-1].values.topk(4).indices
        candidates = torch.cat([candidates, stairs[-1].draws[top]])
    defend = images.defend.subset(_thin(len(images.defend), settings.evaluate))
    evaluate = images.evaluate.subset(_thin(len(images.evaluate), settings.evaluate))

    def success(theta: Tensor, on: Images, part: str) -> float:
        return attack_success(
            model,
            on,
            space,
            theta[None],
            target,
            generator=stream(seed, "scan", "success", part, target),
        )

    best = candidates[0]
    if len(candidates) > 1:
        best = max(candidates, key=lambda theta: success(theta, defend, "defend"))
    asr = success(best, evaluate, "evaluate")
    anyway = confusion(predicted, images.evaluate, target)
    volumes = [stair.log_volume for stair in stairs] or [None] * len(settings.betas)
    return ClassRecord(
        index=target,
        name=images.defend.classes[target],
        status=status(asr, anyway, settings),
        asr=asr,
        confusion=anyway,
        best=to_bytes(best),
        log_volume=[
            LogVolume(
                beta=beta,
                value=volume,
                upper_bound=log_volume_upper_bound(
                    int((uniform_values[:, target] >= beta).sum()), len(uniform_values)
                ),
            )
            for beta, volume in zip(settings.betas, volumes, strict=True)
        ],
        stairs=to_records(stairs) if stairs else [],
    )


def _thin(available: int, wanted: int) -> Tensor:
    """Return up to ``wanted`` positions spread evenly over ``available``."""
    return torch.linspace(0, available - 1, min(wanted, available)).round().long()


def _examples(
    model: Frozen,
    images: Images,
    space: TriggerSpace,
    classes: list[ClassRecord],
    targets: list[int],
    seed: int,
) -> list[Example]:
    examples: list[Example] = []
    for target in targets:
        generator = stream(seed, "scan", "examples", target)
        others = (images.targets != target).nonzero()[:, 0]
        picks = others[torch.randperm(len(others), generator=generator)[:EXAMPLES]]
        clean = images.subset(picks)
        theta = from_bytes(classes[target].best, space.dimensions).expand(len(picks), -1)
        places = space.places(len(picks), images.shape, generator)
        pixels = clean.batch(torch.arange(len(clean)))
        stamped = space.stamp(pixels, theta, places)
        with torch.no_grad():
            after = model(stamped).argmax(1)
        examples += [
            Example(
                image=to_bytes(pixels[row]),
                stamped=to_bytes(stamped[row]),
                label=int(clean.targets[row]),
                predicted=int(before),
                predicted_stamped=int(after[row]),
            )
            for row, before in enumerate(predict(model, clean))
        ]
    return examples
