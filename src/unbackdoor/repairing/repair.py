"""The repair: rounds of unlearning under guard, and a comparison with controls."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from torch import nn

from unbackdoor.errors import InsufficientDataError
from unbackdoor.models import freeze
from unbackdoor.repairing.guard import Chosen, train_last
from unbackdoor.repairing.plan import Course, Plan
from unbackdoor.repairing.rates import Rates, lesson_of
from unbackdoor.repairing.rounds import How, Parts, Unlearner
from unbackdoor.repairing.unlearn import Recalled, unlearn
from unbackdoor.repairing.ways import Unlearning
from unbackdoor.results import RepairResult, RepairRow, versions
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import FEWEST_PER_CLASS
from unbackdoor.training import DivergedError
from unbackdoor.triggers.planted import Planted


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The known truth with which a repair is compared; the repair itself never uses it.

    Args:
        planted: what was planted; retraining with these triggers is the ideal.
        reference: a clean network, which shows how often triggers cause an error without a
            backdoor.

    """

    planted: tuple[Planted, ...] = ()
    reference: nn.Module | None = None


def repair(
    model: nn.Module, plan: Plan, images: Parts, how: How, controls: Controls, work: Work
) -> tuple[nn.Module, RepairResult]:
    """Return a repaired copy of ``model`` and the measurements.

    Where the scan of the copy still finds triggers towards a class whose triggers were unlearnt, or
    towards any class for certain, these are unlearnt from ``model`` together with the others, in
    another round. Where no state of the repair is good enough, the copy is as the model came or the
    best attempt, and the result says that it is not repaired: it has no second scan.

    Args:
        model: the classifier, not changed.
        plan: what is unlearnt.
        images: clean images.
        how: the recipe, the guard, and the second scan.
        controls: what was planted and a clean network, for further rows of the table.
        work: seed, progress and journal.

    Raises:
        InsufficientDataError: there are too few images to scan again.

    """
    images.reserve.require(FEWEST_PER_CLASS)
    began = time.perf_counter()
    unlearnt = Unlearner(model=model, images=images, how=how, original=Recalled(freeze(model)))
    rounds = [unlearnt(plan, work)]
    while len(rounds) < how.guard.rounds and rounds[-1].done:
        own = work.within(f"round {len(rounds) + 1}")
        try:
            if (more := unlearnt.further(rounds[-1], own)) is None:
                break
            wider, spent = more
            rounds.append(unlearnt(wider, own, len(rounds), spent))
        except InsufficientDataError:  # there is no law of what was found
            break
    taken = min(reversed(rounds), key=lambda one: one.badness)
    chosen, guard, charges = taken.chosen, taken.guard, taken.plan.charges
    name = "repaired" if taken.done else "best attempt"
    networks = {"before": model, **({} if guard.taken is None else {name: chosen.network})}
    passes = sum(one.passes for one in rounds)
    if taken.done:
        courses: dict[str, Course] = {"fine-tuned": None}
        if controls.planted:
            courses["ideal"] = lesson_of(controls.planted)
        tuned, more_passes = _controls(model, taken.unlearning, courses, chosen, work)
        networks |= tuned
        passes += more_passes
    if controls.reference is not None:
        networks["clean reference"] = controls.reference
    rates = Rates(
        images=images.first.evaluate,
        charges=charges,
        planted=controls.planted,
        seed=work.seed,
    )
    rows, more_passes = _table(networks, rates, work)
    result = RepairResult(
        scan=plan.found,
        rescan=taken.again,
        assumed=taken.plan.assumed,
        guard=guard,
        not_taken=[one.told for one in rounds if one is not taken],
        rows=rows,
        output="",
        sha256="",
        settings={**msgspec.to_builtins(how.unlearning), "guard": msgspec.to_builtins(how.guard)},
        seed=work.seed,
        image_passes=passes + more_passes,
        seconds=time.perf_counter() - began,
        versions=versions(),
    )
    return chosen.network, result


def _controls(
    model: nn.Module,
    unlearning: Unlearning,
    courses: Mapping[str, Course],
    chosen: Chosen,
    work: Work,
) -> tuple[dict[str, nn.Module], int]:
    """Return copies that were retrained by the schedule of the attempt that was taken.

    One that diverges is left out: the repair does not depend on it.
    """
    passes = 0
    tuned: dict[str, nn.Module] = {}
    for name, course in courses.items():
        network = copy.deepcopy(model)
        train_last(network, chosen.attempt.layers)
        try:
            passes += unlearn(
                network,
                unlearning.images,
                course,
                chosen.attempt.of(unlearning.settings),
                work.within(name),
                original=unlearning.original,
            )
        except DivergedError:
            continue
        tuned[name] = network
    return tuned, passes


def _table(
    networks: Mapping[str, nn.Module], rates: Rates, work: Work
) -> tuple[list[RepairRow], int]:
    """Return the row of each network, and the number of image passes."""
    rows: list[RepairRow] = []
    passes = 0
    with work.progress.task("measuring", len(networks)) as task:
        for name, network in networks.items():
            frozen = freeze(network)
            rows.append(rates(name, frozen))
            passes += frozen.passes
            task.advance()
    return rows, passes
