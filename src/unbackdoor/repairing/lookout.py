"""What is measured of a network while it is repaired, on images that are never trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import sub

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.metrics import changed, predict, sent
from unbackdoor.models import Frozen, freeze
from unbackdoor.repairing.plan import Charge
from unbackdoor.repairing.settings import GuardSettings
from unbackdoor.results import Outcome, Watched
from unbackdoor.results.repairs import CERTAIN
from unbackdoor.rng import stream

DOUBTLESS = 2.0
"""Standard errors by which the end of an attempt may exceed the loss that is allowed, on the few
images that are watched."""
POINT = 0.01
"""Standard error of a loss, a percentage point, up to which images tell it well enough."""
MOST_ROUNDS = 16
"""How often an image is stamped in one look, at most."""


class Lookout:
    """Measures a network, while it is repaired, on images that the repair never trains on.

    Args:
        model: the network before.
        images: kept back.
        charges: the triggers that are unlearnt.
        settings: how many images are stamped.
        seed: of the draws, which are the same in every look.
        beside: further images, on which accuracy is watched too.

    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        charges: tuple[Charge, ...],
        settings: GuardSettings,
        seed: int,
        beside: Sequence[Images] = (),
    ) -> None:
        self.images, self.charges, self.settings, self.seed = images, charges, settings, seed
        self._watched = [images, *beside]
        self._labels = torch.cat([one.targets for one in self._watched])
        self.count = len(self._labels)
        self.rounds = max(1, min(MOST_ROUNDS, math.ceil(settings.stamped / len(images))))
        frozen = freeze(model)
        answers = self._answers(frozen)
        self._right = answers == self._labels
        self.passes = frozen.passes
        self.anyway = [charge.anyway(answers[: len(images)], images.targets) for charge in charges]
        """What goes to each class without a trigger."""
        self.allowed = max(settings.max_accuracy_lost, 1 / self.count)
        """The largest loss; that of a single image says nothing."""
        self.most_favoured = max(settings.enough, 1 / self.count)
        """How far stronger triggers may favour their class; a single image says nothing."""
        self.before = self.look(model, attempt=0, seen=0)

    def look(self, network: nn.Module, attempt: int, seen: int, mixed: float = 1.0) -> Watched:
        """Return the state of a network."""
        frozen = freeze(network)
        answers = self._answers(frozen)
        broken, mended = changed(self._right, answers == self._labels)
        rates = [
            sent(
                frozen,
                self.images,
                charge.lesson.space,
                charge.lesson.sampler(
                    self.rounds * len(self.images),
                    stream(self.seed, "guard", "draws", charge.target),
                ),
                charge.wanted(self.images.targets),
                generator=stream(self.seed, "guard", "arms", charge.target),
                rounds=self.rounds,
            )
            for charge in self.charges
        ]
        stronger = [
            favoured(frozen, self._watched, charge, self.settings.stronger, answers, seed=self.seed)
            for charge in self.charges
            if not charge.goal
        ]
        self.passes += frozen.passes
        return Watched(
            attempt=attempt,
            images_seen=seen,
            accuracy_lost=(broken - mended) / self.count,
            asr=max(rates, default=None),
            excess=max(map(sub, rates, self.anyway), default=None),
            stronger=max(stronger, default=None),
            mixed=mixed,
            broken=broken,
            mended=mended,
        )

    def keeps(self, state: Watched) -> bool:
        """Return whether a state has kept accuracy."""
        return state.accuracy_lost <= self.allowed

    def may_keep(self, state: Watched) -> bool:
        """Return whether a state has kept accuracy, as far as chance can tell.

        Few images cannot tell a loss of a percentage point, and what is refused for chance has its
        triggers unlearnt in vain. What an attempt has lost in truth is told afterwards, on images
        that no choice depends on.
        """
        outcome = judged(state.broken, state.mended, self.count, self.allowed, DOUBTLESS)
        return outcome != "lost"

    def _answers(self, frozen: Frozen) -> Tensor:
        """Return the class of each image that is watched."""
        return torch.cat([predict(frozen, images) for images in self._watched])

    def weakened(self, state: Watched) -> bool:
        """Return whether stronger triggers favour their class."""
        return state.stronger is not None and state.stronger > self.most_favoured

    def lowers(self, state: Watched) -> bool:
        """Return whether the triggers as they are no longer work; true where none are known."""
        return state.excess is None or state.excess <= self.settings.enough

    def heals(self, state: Watched) -> bool:
        """Return whether they no longer work, stronger ones included; true where none are known."""
        return self.lowers(state) and not self.weakened(state)

    def cost(self, state: Watched) -> tuple[bool, float]:
        """Return what is least for the best state: triggers that work, and accuracy that is lost.

        Images that are lost to triggers count as much as those that are lost without; where the
        triggers are not unlearnt, accuracy does not count.
        """
        works, healed = max(state.asr or 0.0, state.stronger or 0.0), self.heals(state)
        return not healed, works + max(0.0, state.accuracy_lost) * healed

    def helps(self, state: Watched) -> bool:
        """Return whether the triggers work at most half as often as before."""
        before = self.before.asr or 0.0
        return self.heals(state) or (state.asr or 0.0) <= before / 2


@torch.no_grad()
def favoured(
    model: Frozen,
    parts: Sequence[Images],
    charge: Charge,
    strengths: Sequence[float],
    without: Tensor,
    *,
    seed: int,
) -> float:
    """Return how much more often stronger triggers send images to their class than to any other.

    A trigger x → T(x) becomes x + s·(T(x) − x), within [0, 1]. A scan finds the least that is
    enough, and attackers plant more. Such changes hide what a picture shows, so a network that has
    no backdoor prefers some class as well; a class that it prefers to all others by far is that of
    a backdoor that is only weakened. What the network prefers without a trigger is deducted.

    Args:
        model: the classifier.
        parts: n images of all classes together.
        charge: the triggers, towards one class.
        strengths: every s, above 1; the highest outcome counts.
        without: what the network answers to the images without a trigger, ``(n,)`` int64.
        seed: of the draws.

    Returns:
        A difference of two shares, each of the images of other classes than the one that they are
        sent to.

    """
    generator = stream(seed, "repair", "stronger", charge.target)
    answers: list[Tensor] = []
    for images in parts:
        for slot in torch.split(torch.arange(len(images)), images.chunk):
            pixels = images.batch(slot)
            change = charge.lesson.stamp(pixels, generator) - pixels
            stamped = [(pixels + strength * change).clamp(0, 1) for strength in strengths]
            answers.append(torch.stack([model(one).argmax(1).cpu() for one in stamped]))
    labels = torch.cat([images.targets for images in parts])
    classes = len(parts[0].classes)
    ahead = max(_ahead(one, labels, charge.target, classes) for one in torch.cat(answers, 1))
    return ahead - max(0.0, _ahead(without, labels, charge.target, classes))


def _ahead(answers: Tensor, labels: Tensor, target: int, classes: int) -> float:
    """Return how much more often images are mistaken for the target than for any other class."""
    wrong = torch.bincount(answers[answers != labels], minlength=classes)[:classes].double()
    shares = wrong / (len(labels) - torch.bincount(labels, minlength=classes)).clamp(min=1)
    of_target = float(shares[target])
    shares[target] = 0
    return of_target - float(shares.max())


def judged(
    broken: int, mended: int, count: int, allowed: float, certain: float = CERTAIN
) -> Outcome:
    """Return whether accuracy was kept, from the same images before and after.

    It is not known to be kept where the images tell the loss less well than what is allowed, or
    than one percentage point where less is allowed.

    Args:
        broken: images that were right before and are wrong after.
        mended: images that were wrong before and are right after.
        count: number of all images.
        allowed: the largest share of accuracy that may be lost.
        certain: standard errors by which more has to be lost to be more than chance.

    Example:
        >>> judged(10, 5, 1000, 0.01), judged(3, 1, 80, 0.01), judged(120, 20, 1000, 0.01)
        ('kept', 'unsure', 'lost')
        >>> judged(8, 8, 200, 0.01), judged(8, 8, 200, 0.02)
        ('unsure', 'kept')

    """
    lost, error = loss(broken, mended, count)
    if lost <= allowed:
        return "kept" if error <= max(allowed, POINT) else "unsure"
    return "unsure" if lost - certain * error <= allowed else "lost"


def loss(broken: int, mended: int, count: int) -> tuple[float, float]:
    """Return the share of accuracy that is lost, and its standard error.

    The images that were right or wrong both times say nothing about the change, so it is known much
    better than either accuracy.

    Args:
        broken: images that were right before and are wrong after.
        mended: images that were wrong before and are right after.
        count: number of all images.

    Example:
        >>> loss(8, 8, 400), loss(0, 0, 50)
        ((0.0, 0.01), (0.0, 0.0))

    """
    variance = max(0.0, broken + mended - (broken - mended) ** 2 / count)
    return (broken - mended) / count, math.sqrt(variance) / count
