"""The rounds of a repair: triggers are unlearnt under guard, then the copy is scanned again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from unbackdoor.data import Images, Split
from unbackdoor.models import freeze
from unbackdoor.repairing.account import told_of
from unbackdoor.repairing.guard import Chosen, Guard
from unbackdoor.repairing.lookout import Lookout
from unbackdoor.repairing.plan import Plan, Planner
from unbackdoor.repairing.settings import GUARD, REPAIR, GuardSettings, RepairSettings
from unbackdoor.repairing.unlearn import Recalled
from unbackdoor.repairing.ways import Blind, Unlearning, Way
from unbackdoor.results import Guarded, Round, ScanResult
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import Described, scan
from unbackdoor.scanning.settings import PLAIN, ScanSettings, Terms

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


@dataclass(frozen=True, kw_only=True)
class UnlearntRound:
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
class Unlearner:
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

    def __call__(self, plan: Plan, work: Work, number: int = 0, passes: int = 0) -> UnlearntRound:
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
            told = told_of(model, chosen, unseen, lookout.count, how.guard)
            passes += 2 * told.unseen
            if told.outcome != "lost" or not guard.turn_down():
                break
        again: ScanResult | None = None
        if told.outcome in {"kept", "unsure"}:
            again = _scanned_again(chosen.network, plan, images, how, work, number)
        passes += chosen.passes + (again.image_passes if again else 0)
        return UnlearntRound(
            plan=plan, unlearning=unlearning, chosen=chosen, guard=told, again=again, passes=passes
        )

    def further(self, last: UnlearntRound, work: Work) -> tuple[Plan, int] | None:
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
