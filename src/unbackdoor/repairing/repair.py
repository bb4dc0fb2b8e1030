"""The repair: unlearn triggers under guard, compare with controls, and scan again."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import torch
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import InsufficientDataError
from unbackdoor.metrics import changed, predict
from unbackdoor.models import freeze
from unbackdoor.repairing.guard import Chosen, Guard, train_last
from unbackdoor.repairing.lookout import Lookout, judged
from unbackdoor.repairing.plan import Course, Plan, Planner
from unbackdoor.repairing.rates import Rates, lesson_of
from unbackdoor.repairing.settings import GUARD, REPAIR, GuardSettings, RepairSettings
from unbackdoor.repairing.unlearn import Recalled, unlearn
from unbackdoor.repairing.ways import Blind, Unlearning, Way
from unbackdoor.results import (
    Guarded,
    Outcome,
    RepairResult,
    RepairRow,
    Round,
    ScanResult,
    versions,
)
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import FEWEST_PER_CLASS, Described, scan
from unbackdoor.scanning.settings import PLAIN, ScanSettings, Terms
from unbackdoor.training import DivergedError
from unbackdoor.triggers.planted import Planted

VERDICTS = ("clean", "inconclusive", "backdoored")
"""What the scan after a round may say, from the best on."""


@dataclass(frozen=True)
class Parts:
    """Clean images for a repair.

    Args:
        first: images of the scan, to retrain with, and held-back ones, to measure on.
        reserve: images that neither the scan nor any retraining has seen, for the scan after each
            round.

    """

    first: Split
    reserve: Split

    def not_learnt(self, share: float) -> tuple[list[Images], list[Images]]:
        """Return held-back images to watch accuracy on, and all that no repair sees.

        Args:
            share: of the held-back images of the scan, that is watched.

        """
        watched, fresh = self.first.evaluate.divide(share)
        unseen = [fresh, self.reserve.defend, self.reserve.evaluate]
        return [one for one in [watched] if len(one)], [one for one in unseen if len(one)]


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


@dataclass(frozen=True, kw_only=True)
class How:
    """How a repair is done.

    Args:
        unlearning: the recipe.
        guard: how it is watched, and how much accuracy it may cost.
        scanning: how to scan again.
        terms: what the verdict of the second scan is held to.

    """

    unlearning: RepairSettings = REPAIR
    guard: GuardSettings = GUARD
    scanning: ScanSettings = field(default_factory=ScanSettings)
    terms: Terms = PLAIN


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
    unlearnt = _Unlearner(model=model, images=images, how=how, original=Recalled(freeze(model)))
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


@dataclass(frozen=True, kw_only=True)
class _Round:
    """Triggers that were unlearnt from the network as it came, and the scan after that.

    Args:
        plan: the triggers.
        unlearning: how.
        chosen: what the guard let through.
        guard: the record of it.
        again: the scan after it; None where no state was good enough.
        passes: images through networks.

    """

    plan: Plan
    unlearning: Unlearning
    chosen: Chosen
    guard: Guarded
    again: ScanResult | None
    passes: int

    @property
    def done(self) -> bool:
        """Whether there is a repaired network."""
        return self.again is not None

    @property
    def badness(self) -> int:
        """What is least in the best round: its network, as the scan after it finds it."""
        return VERDICTS.index(self.again.verdict) if self.again else len(VERDICTS)

    @property
    def told(self) -> Round:
        """The record of a round that is not taken."""
        return Round(assumed=self.plan.assumed, guard=self.guard, rescan=self.again)


@dataclass(frozen=True, kw_only=True)
class _Unlearner:
    """Makes the rounds of a repair.

    Args:
        model: the classifier, not changed.
        images: clean images.
        how: the recipe, the guard, and the second scan.
        original: the classifier's answers.

    """

    model: nn.Module
    images: Parts
    how: How
    original: Recalled

    def __call__(self, plan: Plan, work: Work, number: int = 0, passes: int = 0) -> _Round:
        """Unlearn what is planned, and scan again where a state is good enough.

        Args:
            plan: what is unlearnt.
            work: seed, progress and journal.
            number: of the round, from 0.
            passes: images through networks for the plan.

        """
        model, images, how = self.model, self.images, self.how
        learn, watched = kept_apart(images.first.defend, how.guard.kept_back)
        beside, unseen = images.not_learnt(how.guard.watched)
        lookout = Lookout(model, watched, plan.charges, how.guard, work.seed, beside)
        unlearning = Unlearning(
            course=plan.course, images=learn, settings=how.unlearning, original=self.original
        )
        way: Way = unlearning if plan.charges else Blind(images=learn)
        guard = Guard(model, lookout, way, how.guard, work)
        while True:
            chosen = guard.choose()
            told = _told(model, chosen, unseen, lookout.count, how.guard)
            passes += 2 * told.unseen
            if told.outcome != "lost" or not guard.turn_down():
                break
        again: ScanResult | None = None
        if told.outcome in {"kept", "unsure"}:
            again = _scanned_again(chosen.network, plan, images, how, work, number)
        passes += chosen.passes + (again.image_passes if again else 0)
        return _Round(
            plan=plan, unlearning=unlearning, chosen=chosen, guard=told, again=again, passes=passes
        )

    def further(self, last: _Round, work: Work) -> tuple[Plan, int] | None:
        """Return what another round unlearns, and the images that passed to know it; or None.

        Raises:
            InsufficientDataError: nothing is known of what was found.

        """
        planner = Planner(
            model=freeze(last.chosen.network),
            images=self.images.reserve.defend,
            scanning=self.how.scanning,
            work=work,
        )
        plan = planner.further(last.plan, last.again)
        return plan and (plan, planner.model.passes)


def kept_apart(images: Images, share: float) -> tuple[Images, Images]:
    """Return the images to train with and those to watch on, at least one of each class.

    Args:
        images: the defender's.
        share: of each class, the share that is kept back.

    """
    kept = torch.zeros(len(images), dtype=torch.bool)
    for label in range(len(images.classes)):
        rows = (images.targets == label).nonzero()[:, 0]
        count = min(len(rows) - 1, max(1, round(share * len(rows)))) if len(rows) else 0
        kept[rows[len(rows) - count :]] = True
    return images.subset((~kept).nonzero()[:, 0]), images.subset(kept.nonzero()[:, 0])


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


def _scanned_again(
    network: nn.Module, plan: Plan, images: Parts, how: How, work: Work, number: int
) -> ScanResult:
    """Scan with a seed that neither the first scan nor that of another round has.

    The classes whose triggers were unlearnt are suspects: of what was planted, the scan may have
    found a part only, and what is left of it is what must not be missed.
    """
    further = (number,) if number else ()
    seed = int(stream(work.seed, "repair", "rescan", *further).initial_seed() % 2**31)
    suspects = tuple(sorted({charge.target for charge in plan.charges if not charge.goal}))
    return scan(
        Described(model=freeze(network), path="", sha256="", arch=plan.found.model.arch),
        images.reserve,
        plan.found.space,
        how.scanning,
        work.within("rescan", seed),
        terms=replace(how.terms, suspects=suspects),
    )


def _told(
    model: nn.Module,
    chosen: Chosen,
    unseen: Sequence[Images],
    watched: int,
    settings: GuardSettings,
) -> Guarded:
    """Return the record of a guarded repair, with what it did to images that it had not seen."""
    before, after = (_right(network, unseen) for network in (model, chosen.network))
    broken, mended = changed(before, after)
    outcome: Outcome = "stuck"
    if chosen.taken is not None:
        outcome = judged(broken, mended, len(before), settings.max_accuracy_lost)
    sentence = _sentence(outcome, broken, mended, len(before), settings)
    turned_down = list[str]()
    if count := len(chosen.turned_down):
        states = "a state" if count == 1 else f"{count} states"
        turned_down.append(f"Before that, these images turned down {states} that lost too much.")
    doubts = _doubts(chosen, settings) if outcome in {"kept", "unsure"} else []
    return Guarded(
        max_accuracy_lost=settings.max_accuracy_lost,
        watched=watched,
        attempts=chosen.attempts,
        states=chosen.states,
        taken=chosen.taken,
        turned_down=chosen.turned_down,
        unseen=len(before),
        broken=broken,
        mended=mended,
        gently=chosen.gently,
        weakened=chosen.weakened,
        outcome=outcome,
        sentence=" ".join([sentence, *turned_down, *doubts]),
    )


def _doubts(chosen: Chosen, settings: GuardSettings) -> list[str]:
    """Return in words why the backdoor may be hidden rather than unlearnt."""
    doubts: list[str] = []
    if chosen.weakened and chosen.taken is not None:
        ahead = chosen.states[chosen.taken].stronger or 0.0
        doubts.append(
            f"Triggers up to {max(settings.stronger):g} times as strong as those that were "
            f"unlearnt send {ahead:.1%} more images to their class than to any other, so the "
            f"backdoor may be weaker rather than gone."
        )
    if chosen.gently:
        doubts.append(
            "What was taken is gentle retraining or not the end of an attempt, after which "
            "backdoors were seen to come back; more images may let a stronger attempt pass."
        )
    return doubts


def _right(model: nn.Module, parts: Sequence[Images]) -> Tensor:
    """Return for each image of some sets whether it is answered right."""
    frozen = freeze(model)
    return torch.cat([predict(frozen, images) == images.targets for images in parts])


def _sentence(
    outcome: Outcome, broken: int, mended: int, count: int, settings: GuardSettings
) -> str:
    lost, allowed = (broken - mended) / count, settings.max_accuracy_lost
    changed = (
        f"Of {count} images that the repair had not seen, {broken} that were right are wrong after "
        f"it, and {mended} that were wrong are right"
    )
    gains = "accuracy is what it was"
    if broken != mended:
        gains = f"accuracy fell by {lost:.1%}" if lost > 0 else f"accuracy rose by {-lost:.1%}"
    return {
        "kept": f"{changed}: {gains}; {allowed:.1%} was allowed.",
        "unsure": f"{changed}: {gains}, where {allowed:.1%} was allowed. With so few images that "
        f"may be chance; give more images, or allow more with --max-accuracy-loss.",
        "lost": f"{changed}: {gains}, more than the {allowed:.1%} that was allowed and more than "
        f"chance explains. Give more images, or allow more with --max-accuracy-loss.",
        "stuck": f"No state of the repair brought the triggers down and lost at most {allowed:.1%} "
        f"of accuracy on the images that were kept back. Give more images, or allow more with "
        f"--max-accuracy-loss.",
    }[outcome]
