"""A scan: a detector collects evidence, a judge decides, and one result holds both."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import Detector
from unbackdoor.detectors.evidence import ClassEvidence
from unbackdoor.detectors.mesa import Mesa
from unbackdoor.metrics import predict
from unbackdoor.models import Frozen
from unbackdoor.results import (
    ClassRecord,
    DataRecord,
    Example,
    Finding,
    ModelRecord,
    Rung,
    ScanResult,
    SearchedSpace,
    versions,
)
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.values import from_bytes, to_bytes
from unbackdoor.verdict.judge import ByRate, Status

FEWEST_PER_CLASS = 4
EXAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Described:
    """The model to scan, and its description for the result.

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
    space: Space,
    settings: ScanSettings,
    work: Work,
) -> ScanResult:
    """Look for a backdoor towards any class, without any knowledge of the attack.

    Args:
        described: the model.
        images: clean images to search with, and others, held back, to measure on.
        space: the triggers to look for.
        settings: how much work, and the thresholds of the verdict.
        work: seed, progress and journal.

    Raises:
        InsufficientDataError: too few images of a class.

    """
    began = time.perf_counter()
    model = described.model
    forward, backward = model.passes, model.backward_passes
    images.require(FEWEST_PER_CLASS)
    shape = images.defend.shape
    theta = torch.zeros(1, space.dimensions(shape))
    trigger_shape = list(space.picture(theta, shape).shape[1:])
    detector: Detector = Mesa(settings)
    evidence = detector(model, images, [space], work)
    judged = ByRate(settings.thresholds)(evidence)
    found = [judged.classes[target][0] for target in judged.targets]
    return ScanResult(
        model=ModelRecord(
            path=described.path,
            sha256=described.sha256,
            arch=described.arch,
            accuracy=evidence.accuracy,
        ),
        data=DataRecord(
            name=images.defend.name,
            sha256=data_hash(images),
            defend=len(images.defend),
            evaluate=len(images.evaluate),
            classes=list(images.defend.classes),
        ),
        space=space.name,
        searched=space.description,
        spaces=[SearchedSpace(name=space.name, description=space.description)],
        places=evidence.places,
        image_shape=list(shape),
        seed=work.seed,
        settings=msgspec.to_builtins(settings),
        thresholds=settings.thresholds,
        verdict=judged.verdict,
        targets=judged.targets,
        reason=judged.reason,
        power_checked=False,
        classes=[_record(one, status, trigger_shape) for one, status in judged.classes],
        examples=_examples(model, images.evaluate, space, found, work.seed),
        preflight=list(described.findings),
        image_passes=model.passes - forward,
        image_passes_backward=model.backward_passes - backward,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )


def data_hash(images: Split) -> str:
    """Return the SHA-256 that identifies the images of a scan, over both of their parts."""
    return hashlib.sha256((images.defend.sha256 + images.evaluate.sha256).encode()).hexdigest()


def _record(evidence: ClassEvidence, status: Status, shape: list[int]) -> ClassRecord:
    return ClassRecord(
        index=evidence.index,
        name=evidence.name,
        status=status,
        asr=evidence.asr,
        confusion=evidence.confusion,
        best=evidence.best,
        log_volume=evidence.log_volume,
        stairs=evidence.stairs,
        space=evidence.space,
        trigger_shape=shape,
        ladder=evidence.ladder or [Rung(space=evidence.space, asr=evidence.asr)],
        sources=evidence.sources,
    )


def _examples(
    model: Frozen, images: Images, space: Space, found: Sequence[ClassEvidence], seed: int
) -> list[Example]:
    """Return a few held-back images before and after the best trigger of each found class."""
    examples: list[Example] = []
    for evidence in found:
        target = evidence.index
        generator = stream(seed, "scan", "examples", target)
        others = (images.targets != target).nonzero()[:, 0]
        picks = others[torch.randperm(len(others), generator=generator)[:EXAMPLES]]
        clean = images.subset(picks)
        theta = from_bytes(evidence.best, space.dimensions(images.shape)).expand(len(picks), -1)
        arms = space.draw_arms(len(picks), images.shape, generator)
        pixels = clean.batch(torch.arange(len(clean)))
        triggered = space.apply(pixels, theta, arms)
        with torch.no_grad():
            after = model(triggered).argmax(1)
        examples += [
            Example(
                image=to_bytes(pixels[row]),
                stamped=to_bytes(triggered[row]),
                label=int(clean.targets[row]),
                predicted=int(before),
                predicted_stamped=int(after[row]),
            )
            for row, before in enumerate(predict(model, clean))
        ]
    return examples
