"""The repair: unlearn the recovered triggers, compare with controls, and scan again."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from torch import nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import InsufficientDataError
from unbackdoor.metrics import attack_success, confusion, correct, predict
from unbackdoor.models import Frozen, freeze
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.repairing.unlearn import Lesson, Lessons, Recalled, Sampler, unlearn
from unbackdoor.results import ClassRecord, RepairResult, RepairRow, ScanResult, versions
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import FEWEST_PER_CLASS, Described, scan, staircase
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.planted import Planted
from unbackdoor.triggers.registry import parse_space, parse_spaces

ORIGINAL_ROUNDS = 3
Course = Lesson | Lessons | None
"""The triggers that a network of the table unlearns."""


@dataclass(frozen=True)
class Parts:
    """Clean images for a repair.

    Args:
        first: images of the scan, to retrain with, and held-back ones, to measure on.
        reserve: images that neither the scan nor the repair has seen, for the second scan.

    """

    first: Split
    reserve: Split


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The known truth with which a repair is compared; the repair itself never uses it.

    Args:
        planted: the planted trigger; retraining with it is the ideal.
        reference: a clean network, which shows how often triggers cause an error without a
            backdoor.

    """

    planted: Planted | None = None
    reference: nn.Module | None = None


def repair(
    model: nn.Module,
    found: ScanResult,
    images: Parts,
    settings: RepairSettings,
    scanning: ScanSettings,
    controls: Controls,
    work: Work,
) -> tuple[nn.Module, RepairResult]:
    """Return a repaired copy of ``model`` and the measurements.

    Args:
        model: the classifier, not changed.
        found: a scan of it that found a backdoor.
        images: clean images.
        settings: how to unlearn.
        scanning: how to scan again.
        controls: the planted trigger and a clean network, for further rows of the table.
        work: seed, progress and journal.

    Raises:
        InsufficientDataError: the scan found nothing to unlearn, or there are too few images to
            scan again.

    """
    if not found.targets:
        raise InsufficientDataError(
            f"--scan: the verdict is {found.verdict}, so there is nothing to unlearn; nothing was "
            f"written."
        )
    images.reserve.require(FEWEST_PER_CLASS)
    began = time.perf_counter()
    courses = _courses(found, controls.planted)
    tuned, passes = _retrained(model, images.first.defend, courses, settings, work)
    networks = {"before": model, **tuned}
    if controls.reference is not None:
        networks["clean reference"] = controls.reference
    rows: list[RepairRow] = []
    with work.progress.task("measuring", len(networks)) as task:
        for name, network in networks.items():
            frozen = freeze(network)
            held_back = images.first.evaluate
            rows.append(_row(name, frozen, held_back, found, controls.planted, work.seed))
            passes += frozen.passes
            task.advance()
    rescan = scan(
        Described(model=freeze(tuned["repaired"]), path="", sha256="", arch=found.model.arch),
        images.reserve,
        parse_spaces(found.space, images.reserve.defend.shape),
        scanning,
        work.within("rescan", int(stream(work.seed, "repair", "rescan").initial_seed() % 2**31)),
        asked=found.space,
    )
    result = RepairResult(
        scan=found,
        rescan=rescan,
        rows=rows,
        output="",
        sha256="",
        settings=msgspec.to_builtins(settings),
        seed=work.seed,
        image_passes=passes + rescan.image_passes,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )
    return tuned["repaired"], result


def to_unlearn(record: ClassRecord) -> Sampler:
    """Return the source of the triggers that a repair unlearns: the stairs in equal parts.

    Weighted by γ, nearly all draws would come from the lowest stair, which is by far the widest,
    and the triggers that work best would hardly ever be among them. For an empty level set the
    draws are the best attempts to reach it.
    """
    return staircase(record, equal=True).sample


def _courses(found: ScanResult, planted: Planted | None) -> dict[str, Course]:
    """Return what each network of the table has to unlearn, by the network's name."""
    lessons = [
        Lesson(parse_space(found.classes[target].space), to_unlearn(found.classes[target]))
        for target in found.targets
    ]
    courses: dict[str, Course] = {
        "repaired": lessons[0] if len(lessons) == 1 else Lessons(lessons),
        "fine-tuned": None,
    }
    if planted:
        theta = planted.trigger.theta
        courses["ideal"] = Lesson(planted.trigger.space, lambda count, _: theta.expand(count, -1))
    return courses


def _retrained(
    model: nn.Module,
    images: Images,
    courses: Mapping[str, Course],
    settings: RepairSettings,
    work: Work,
) -> tuple[dict[str, nn.Module], int]:
    """Return a retrained copy of ``model`` for each lesson, and the number of image passes."""
    passes = 0
    original = Recalled(freeze(model))
    tuned: dict[str, nn.Module] = {}
    for name, lesson in courses.items():
        tuned[name] = copy.deepcopy(model).requires_grad_(True)
        passes += unlearn(
            tuned[name],
            images,
            lesson,
            settings,
            work.within(name),
            original=original,
            description=f"training: {name}",
        )
    return tuned, passes


def _row(
    name: str,
    model: Frozen,
    images: Images,
    found: ScanResult,
    planted: Planted | None,
    seed: int,
) -> RepairRow:
    """Measure one network; with several found classes, report the highest rates."""
    predicted = predict(model, images)
    recovered: list[float] = []
    anyway: list[float] = []
    for target in found.targets:
        record = found.classes[target]
        draws = to_unlearn(record)(len(images), stream(seed, "repair", "draws", target))
        arms = stream(seed, "repair", "measure", target)
        space = parse_space(record.space)
        recovered.append(attack_success(model, images, space, draws, target, generator=arms))
        anyway.append(confusion(predicted, images, target))
    original = planted and attack_success(
        model,
        images,
        planted.trigger.space,
        planted.trigger.theta[None],
        planted.target,
        generator=stream(seed, "repair", "measure", "planted"),
        rounds=ORIGINAL_ROUNDS,
    )
    return RepairRow(
        name=name,
        accuracy=correct(predicted, images),
        recovered_asr=max(recovered),
        original_asr=original,
        confusion=max(anyway),
    )
