"""A scan: a detector collects evidence, a judge decides, and one result holds both."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf

import msgspec
import torch
from torch import nn

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import Detector, HeldBack
from unbackdoor.detectors.evidence import (
    ClassEvidence,
    Evidence,
    LogVolume,
    StairRecord,
    ladder,
)
from unbackdoor.detectors.law import law
from unbackdoor.detectors.search import ArmSearch
from unbackdoor.detectors.settings import BANDIT
from unbackdoor.metrics import predict
from unbackdoor.models import Frozen, TimeUpError
from unbackdoor.results import (
    ClassRecord,
    DataRecord,
    Example,
    Finding,
    ModelRecord,
    ScanResult,
    SearchedSpace,
    versions,
)
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.power import check_power
from unbackdoor.scanning.settings import PLAIN, ScanSettings, Terms
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.registry import family_of, parse_space, parse_spaces, strength_of
from unbackdoor.triggers.values import from_bytes, to_bytes
from unbackdoor.verdict.careful import Among, Check, checked
from unbackdoor.verdict.case import Status
from unbackdoor.verdict.judge import ByRate, Guessing, Judge, Judgement
from unbackdoor.verdict.thresholds import Thresholds, firm_of, limit_of, thresholds_of

FEWEST_PER_CLASS = 4
EXAMPLES = 8
MOST_LAWS = 3
"""Targets whose law is recovered; of further ones the best trigger is known."""
NOT_SEARCHED = (
    "backdoors that only images of some classes obey; triggers that send each class to another, "
    "other than patches, blends and warps; patches that are larger, or patterns and filters that "
    "are stronger, than these, where no weaker one works; changes outside the picture, such as a "
    "scene, an order or a time"
)


@dataclass(frozen=True, kw_only=True)
class Described:
    """The model to scan, and its description for the result.

    Args:
        model: the frozen classifier.
        path: as the user wrote it.
        sha256: of the file, or empty.
        arch: its architecture.
        findings: of the preflight.
        network: the same model as it can be trained, for a check of whether a backdoor would be
            found; None where it cannot.

    """

    model: Frozen
    path: str
    sha256: str
    arch: str
    findings: tuple[Finding, ...] = ()
    network: nn.Module | None = None


@dataclass(frozen=True)
class _Law:
    """The law of the triggers of one class."""

    log_volume: list[LogVolume]
    stairs: list[StairRecord]


def scan(
    described: Described,
    images: Split,
    space: str,
    settings: ScanSettings,
    work: Work,
    *,
    terms: Terms = PLAIN,
    hear: Callable[[Evidence], None] = lambda _: None,
) -> ScanResult:
    """Look for a backdoor towards any class, without any knowledge of the attack.

    Args:
        described: the model.
        images: clean images to search with, and others, held back, to measure on.
        space: the triggers to look for, as the user writes it.
        settings: how much work, and the thresholds of the verdict.
        work: seed, progress and journal.
        terms: what the verdict is held to.
        hear: is given all evidence before it is judged, of which the result has the highest rates.

    Raises:
        InsufficientDataError: too few images of a class.

    """
    began = time.perf_counter()
    model, shape = described.model, images.defend.shape
    spaces: Sequence[Space] = parse_spaces(space, shape)
    forward, backward = model.passes, model.backward_passes
    images.require(FEWEST_PER_CLASS)
    held = HeldBack(model, images.evaluate, settings.evaluate)
    work = replace(work, until=time.monotonic() + terms.seconds)
    checks: list[Check] = []
    if held.guesses:
        evidence = held.nothing(spaces[0])
        spaces = ()
        judged = Guessing()(evidence)
    else:
        detector: Detector = ArmSearch(settings.bandit, settings.evaluate, terms.suspects, held)
        evidence = detector(model, images, spaces, work)
        hear(evidence)
        judged = _judge(settings, terms)(evidence)
        if terms.power and judged.verdict == "clean":
            checks = _power(described, images, spaces, settings, replace(work, until=inf))
        judged = _with_less(checked(judged, checks if terms.power else None), settings)
    laws: dict[int, _Law] = {}
    for target in _clearest(judged, MOST_LAWS):
        if not (record := judged.classes[target][0]).goal:
            with suppress(TimeUpError), model.until(work.until):
                laws[target] = _law(model, images.defend, record, settings, work)
    found = [judged.classes[target][0] for target in judged.targets]
    return ScanResult(
        model=ModelRecord(
            path=described.path,
            sha256=described.sha256,
            arch=described.arch,
            accuracy=evidence.accuracy,
        ),
        data=_data(images),
        space=space,
        searched=_searched(spaces, evidence),
        not_searched="; ".join([*evidence.left_out, NOT_SEARCHED]) if spaces else "",
        spaces=_rungs(evidence, settings.thresholds) if spaces else [],
        places=evidence.places,
        image_shape=list(shape),
        seed=work.seed,
        settings=msgspec.to_builtins(settings),
        thresholds=settings.thresholds,
        verdict=judged.verdict,
        targets=judged.targets,
        reason=judged.reason,
        power_checked=bool(checks),
        checks=checks,
        standing=judged.standing,
        classes=[
            _record(one, status, evidence, laws.get(one.index), held, work.seed)
            for one, status in judged.classes
        ],
        examples=_examples(model, images.evaluate, found, work.seed),
        preflight=list(described.findings),
        image_passes=model.passes - forward,
        image_passes_backward=model.backward_passes - backward,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )


def _data(images: Split) -> DataRecord:
    return DataRecord(
        name=images.defend.name,
        sha256=data_hash(images),
        defend=len(images.defend),
        evaluate=len(images.evaluate),
        classes=list(images.defend.classes),
        intake=images.defend.intake,
    )


def _judge(settings: ScanSettings, terms: Terms) -> Judge:
    by_rate = ByRate(settings.thresholds)
    return by_rate if terms.bag is None else Among(by_rate, terms.bag)


def _power(
    described: Described,
    images: Split,
    spaces: Sequence[Space],
    settings: ScanSettings,
    work: Work,
) -> list[Check]:
    """Check whether known triggers would be found; the passes count as those of the model."""
    if described.network is None:
        return []
    checks, searched = check_power(described.network, images, spaces, settings, work)
    described.model.passes += searched.passes
    described.model.backward_passes += searched.backward_passes
    return checks


def data_hash(images: Split) -> str:
    """Return the SHA-256 that identifies the images of a scan, over both of their parts."""
    return hashlib.sha256((images.defend.sha256 + images.evaluate.sha256).encode()).hexdigest()


def _law(
    model: Frozen, images: Images, one: ClassEvidence, settings: ScanSettings, work: Work
) -> _Law:
    theta = from_bytes(one.best, len(one.best))[0]
    return _Law(*law(model, images, parse_space(one.space), one.index, theta, settings, work))


def _clearest(judged: Judgement, count: int) -> list[int]:
    """Return the targets with the highest rates, as many as get a law."""
    rate = {record.index: record.asr for record, _ in judged.classes}
    return sorted(judged.targets, key=lambda target: -rate[target])[:count]


def _rungs(evidence: Evidence, thresholds: Thresholds) -> list[SearchedSpace]:
    """Return every space in which triggers were measured, at any place, weak before strong."""
    names = list(dict.fromkeys(one.space.partition("@")[0] for one in evidence.classes))
    families = list(dict.fromkeys(map(family_of, names)))

    def order(name: str) -> tuple[int, bool, int]:
        return families.index(family_of(name)), "x" in name.partition(":")[2], strength_of(name)

    rungs: list[SearchedSpace] = []
    for name in sorted(names, key=order):
        rule = thresholds_of(name, evidence.pictures, thresholds)
        rungs.append(
            SearchedSpace(
                name=name,
                description=parse_space(name).description,
                counts=rule is not None,
                clean=(rule or thresholds).clean,
                backdoored=(rule or thresholds).backdoored,
                firm=firm_of(name, evidence.pictures, thresholds).backdoored,
            )
        )
    return rungs


def _searched(spaces: Sequence[Space], evidence: Evidence) -> str:
    """Return what a scan without a finding excludes, in words."""
    words: list[str] = []
    for space in spaces:
        if space.name in evidence.left_out:
            continue
        found = limit_of(space.name, evidence.pictures)
        stronger = found is not None and found[1] > found[0].strength
        words.append(found[0].words if found and stronger else space.description)
    nothing = "nothing, because the " + ("time was up" if spaces else "model guesses")
    return "; ".join(dict.fromkeys(words)) or nothing


def _with_less(judged: Judgement, settings: ScanSettings) -> Judgement:
    """Say beside a verdict that finds nothing that the search did less than a standard one."""
    share = settings.bandit.passes / BANDIT.passes
    if share >= 1 or judged.verdict == "backdoored":
        return judged
    reason = f"{judged.reason} The search did {share:.0%} of the work of a standard one."
    return replace(judged, reason=reason)


def _record(
    one: ClassEvidence,
    status: Status,
    evidence: Evidence,
    law: _Law | None,
    held: HeldBack,
    seed: int,
) -> ClassRecord:
    space, shape = parse_space(one.space), held.images.shape
    theta = from_bytes(one.best, len(one.best))
    of_class = [other for other in evidence.classes if other.index == one.index]
    return ClassRecord(
        index=one.index,
        name=one.name,
        status=status,
        asr=one.asr,
        confusion=one.confusion,
        best=one.best,
        log_volume=law.log_volume if law else [],
        stairs=law.stairs if law else [],
        space=one.space,
        trigger_shape=list(space.picture(theta, shape).shape[1:]),
        ladder=ladder((other.space.partition("@")[0], other) for other in of_class),
        sources=held.sources(space, theta[0], one.index, seed) if status == "backdoored" else [],
        goal=one.goal,
    )


def _examples(
    model: Frozen, images: Images, found: Sequence[ClassEvidence], seed: int
) -> list[Example]:
    """Return a few held-back images before and after the best trigger of each found class."""
    examples: list[Example] = []
    for evidence in found:
        target, space = evidence.index, parse_space(evidence.space)
        generator = stream(seed, "scan", "examples", target)
        goal = torch.tensor(evidence.goal or [target] * len(images.classes))
        others = ((images.targets != target) & (goal[images.targets] == target)).nonzero()[:, 0]
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
