"""Would a backdoor have been found? Known triggers are planted in a copy, and the copy is searched.

A network can be such that a search sees nothing in it: gradients that say nothing, a layer that
takes triggers out, answers of a kind that nobody thought of. So a copy is fine-tuned on some of the
defender's images with one known trigger of each of a few families, each with a class of its own,
and searched in the same way. Only what is found there can be missed in the network itself without
saying anything.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unbackdoor.attack import Backdoor, goal_of
from unbackdoor.attack.implant import measure
from unbackdoor.attack.poison import Poison, poison_of
from unbackdoor.data import Split
from unbackdoor.detectors.search import ArmSearch
from unbackdoor.models import Frozen, freeze
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.training import DivergedError, TrainingSettings, fit
from unbackdoor.triggers.family import Shape, Space
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.planted import Trigger
from unbackdoor.triggers.registry import family_of
from unbackdoor.verdict.careful import TAKES, Check
from unbackdoor.verdict.judge import ByRate

KNOWN = {
    "patch": "rgb:1x{size}@{row},{column}",
    "wave": "additive:sin:6@16",
    "additive": "additive:noise:1@8",
    "blend": "blend:1@0.1",
}
"""By family, the trigger that is planted: the patch in the corner at the bottom right."""
SIDES = 10
"""How many such patches are as wide as the picture."""
RATE = 0.1
"""Share of the images that carries each trigger."""
RATES = (0.02, 0.1, 0.004)
"""Learning rates, tried in this order until every trigger works."""
SPOILT = 0.1
"""Accuracy that a copy may lose, so that it is still much like the network."""
TRAINING = TrainingSettings(batch_size=64, shift=0)
IMAGES_SEEN = 8_000
"""By the training, at least."""


def check_power(
    network: nn.Module,
    images: Split,
    spaces: Sequence[Space],
    settings: ScanSettings,
    work: Work,
) -> tuple[list[Check], Frozen]:
    """Plant known triggers in a copy of a network, and look for them.

    Args:
        network: not changed.
        images: the clean images of the scan.
        spaces: those of the scan.
        settings: of the scan.
        work: seed, progress and journal.

    Returns:
        What came of each trigger, and the copy, which has counted the passes.

    """
    planted = _plan(images.defend.shape, len(images.defend.classes), spaces, work.seed)
    copied, rates, trained, measured = _implanted(network, images, planted, work)
    frozen = freeze(copied)
    frozen.count(trained, backward=True)
    frozen.count(measured, backward=False)
    clean: set[int] = set()
    if max(rates, default=0.0) >= TAKES:
        search = ArmSearch(settings.bandit, evaluate=settings.evaluate)
        judged = ByRate(settings.thresholds)(
            search(frozen, images, spaces, work.within("power search"))
        )
        clean = {record.index for record, status in judged.classes if status == "clean"}
    checks = [
        Check(
            trigger=trigger.name,
            family=family,
            target=target,
            works=rate,
            found=rate >= TAKES and target not in clean,
        )
        for (family, trigger, target), rate in zip(planted, rates, strict=True)
    ]
    return checks, frozen


def _plan(
    shape: Shape, classes: int, spaces: Sequence[Space], seed: int
) -> list[tuple[str, Trigger, int]]:
    """Return each family that is searched, its trigger, and its class, as far as classes go."""
    searched = {family_of(space.name) for space in spaces}
    order = torch.randperm(classes, generator=stream(seed, "power", "targets"))
    size = max(1, min(shape[1:]) // SIDES)
    row, column = shape[1] - size - 1, shape[2] - size - 1
    every = [
        (family, parse_trigger(text.format(size=size, row=row, column=column), shape))
        for family, text in KNOWN.items()
        if family in searched
    ]
    return [
        (family, trigger, int(target))
        for (family, trigger), target in zip(every, order, strict=False)
    ]


def _implanted(
    network: nn.Module, images: Split, planted: Sequence[tuple[str, Trigger, int]], work: Work
) -> tuple[nn.Module, list[float], int, int]:
    """Return the copy in which most triggers work, their success rates, and the passes.

    Those of the training are forward and backward; the last number is of those that measure.
    """
    if not planted or next(network.parameters(), None) is None:
        return copy.deepcopy(network), [0.0 for _ in planted], 0, 0
    classes = len(images.defend.classes)
    backdoors = [
        Backdoor((trigger,), goal_of("all-to-one", target, classes), RATE, cover=0.0)
        for _, trigger, target in planted
    ]
    best: tuple[nn.Module, list[float]] = network, [0.0 for _ in planted]
    original = freeze(network)
    before, _ = measure(original, images, None, work.seed)
    seen = original.passes
    recipe = TRAINING.with_epochs(math.ceil(IMAGES_SEEN / len(images.defend)))
    passes = 0
    for number, rate in enumerate(RATES):
        one = copy.deepcopy(network).requires_grad_(True)
        poisons = [
            poison_of(images.defend, backdoor, work.seed + at)
            for at, backdoor in enumerate(backdoors)
        ]
        try:
            passes += fit(
                one,
                images.defend,
                recipe.at_rate(rate),
                generator=stream(work.seed, "power", "training"),
                change=_Together(poisons),
                draws=[poison.generator for poison in poisons],
                description="power check",
                progress=work.progress,
                journal=work.within(f"power {number}").journal,
            )
        except DivergedError:
            continue
        frozen = freeze(one)
        measured = [measure(frozen, images, backdoor, work.seed) for backdoor in backdoors]
        seen += frozen.passes
        if measured[0][0] < before - SPOILT:  # each has the same accuracy
            continue
        rates = [rate for _, (rate,) in measured]
        if sum(rates) > sum(best[1]):
            best = one, rates
        if min(rates) >= TAKES:
            break
    return best[0], best[1], passes, seen


class _Together:
    """Several poisons, one after the other."""

    def __init__(self, poisons: Sequence[Poison]) -> None:
        self.poisons = poisons

    def __call__(self, images: Tensor, labels: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
        """Stamp and relabel a batch."""
        for poison in self.poisons:
            images, labels = poison(images, labels, picks)
        return images, labels
