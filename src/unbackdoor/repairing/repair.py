"""The repair: unlearn what a scan recovered, measure it beside its controls, scan again."""

from __future__ import annotations

import copy
import time

import msgspec
import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import InsufficientDataError
from unbackdoor.metrics import attack_success, confusion, correct, predict
from unbackdoor.models import Frozen, freeze
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.repairing.unlearn import Recalled, Sampler, unlearn
from unbackdoor.results import ClassRecord, RepairResult, RepairRow, ScanResult, versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Progress, Silent
from unbackdoor.scanning import FEWEST_PER_CLASS, Described, scan, staircase
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.planted import Planted

ORIGINAL_ROUNDS = 3


def repair(
    model: nn.Module,
    found: ScanResult,
    images: Split,
    reserve: Split,
    space: Space,
    settings: RepairSettings,
    scanning: ScanSettings,
    *,
    seed: int,
    planted: Planted | None = None,
    reference: nn.Module | None = None,
    progress: Progress | None = None,
    journal: Journal = FORGETFUL,
) -> tuple[nn.Module, RepairResult]:
    """Return a repaired copy of ``model`` and what was measured on it.

    Args:
        model: the classifier, not changed.
        found: a scan of it that found a backdoor.
        images: clean images to retrain with, and others, held back, to measure on.
        reserve: images that neither the scan nor the repair has seen, for the second scan.
        space: of the triggers that were found.
        settings: how to unlearn.
        scanning: how to scan again.
        seed: of every draw.
        planted: the planted trigger, where it is known; the repair never sees it, it is measured,
            and retraining with it is the ideal that stands beside the repair.
        reference: a clean network, for the rate at which stamped images go astray in any case.
        progress: where to report.
        journal: keeps each finished epoch and each step of the second scan.

    Raises:
        InsufficientDataError: the scan found nothing that could be unlearnt, or there are too few
            images to scan again.

    """
    if not found.targets:
        raise InsufficientDataError(
            f"--scan: the verdict is {found.verdict}, so there is nothing to unlearn; nothing was "
            f"written."
        )
    reserve.require(FEWEST_PER_CLASS)
    began = time.perf_counter()
    progress = progress or Silent()
    dimensions = found.dimensions
    samplers = [to_unlearn(found.classes[target], dimensions) for target in found.targets]

    def sampler(count: int, generator: Generator) -> Tensor:
        turn = torch.randint(len(samplers), (count,), generator=generator)
        theta = torch.empty(count, dimensions)
        for index, one in enumerate(samplers):
            rows = (turn == index).nonzero()[:, 0]
            theta[rows] = one(len(rows), generator)
        return theta

    passes = 0
    original = Recalled(freeze(model))
    tuned: dict[str, nn.Module] = {}
    courses: dict[str, tuple[Space, Sampler | None]] = {
        "repaired": (space, sampler),
        "fine-tuned": (space, None),
    }
    if planted:
        theta = planted.trigger.theta
        courses["ideal"] = (planted.trigger.space, lambda count, _: theta.expand(count, -1))
    for name, (stamped_space, source) in courses.items():
        tuned[name] = copy.deepcopy(model).requires_grad_(True)
        passes += unlearn(
            tuned[name],
            images.defend,
            stamped_space,
            source,
            settings,
            seed=seed,
            original=original,
            description=f"training: {name}",
            progress=progress,
            journal=journal.within(name),
        )
    networks = {"before": model, **tuned, **({"clean reference": reference} if reference else {})}
    rows: list[RepairRow] = []
    with progress.task("measuring", len(networks)) as task:
        for name, network in networks.items():
            frozen = freeze(network)
            rows.append(_row(name, frozen, images.evaluate, space, found, planted, seed))
            passes += frozen.passes
            task.advance()
    rescan = scan(
        Described(model=freeze(tuned["repaired"]), path="", sha256="", arch=found.model.arch),
        reserve,
        space,
        scanning,
        seed=int(stream(seed, "repair", "rescan").initial_seed() % 2**31),
        progress=progress,
        journal=journal.within("rescan"),
    )
    result = RepairResult(
        scan=found,
        rescan=rescan,
        rows=rows,
        output="",
        sha256="",
        settings=msgspec.to_builtins(settings),
        seed=seed,
        image_passes=passes + rescan.image_passes,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )
    return tuned["repaired"], result


def to_unlearn(record: ClassRecord, dimensions: int) -> Sampler:
    """Return where the triggers come from that a repair unlearns: the stairs in equal parts.

    By γ nearly all draws are of the lowest stair, which is by far the widest, and the triggers
    that work best are hardly ever among them. An empty level set is stood for by the best attempts
    at it.
    """
    return staircase(record, dimensions, equal=True).sample


def _row(
    name: str,
    model: Frozen,
    images: Images,
    space: Space,
    found: ScanResult,
    planted: Planted | None,
    seed: int,
) -> RepairRow:
    """Measure one network; with several found classes the rates are those of the worst."""
    predicted = predict(model, images)

    recovered: list[float] = []
    anyway: list[float] = []
    for target in found.targets:
        sampled = to_unlearn(found.classes[target], found.dimensions)
        draws = sampled(len(images), stream(seed, "repair", "draws", target))
        places = stream(seed, "repair", "measure", target)
        recovered.append(attack_success(model, images, space, draws, target, generator=places))
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
