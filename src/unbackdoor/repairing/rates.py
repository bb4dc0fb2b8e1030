"""What the table of a repair measures: triggers that are unlearnt, and those that were planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.data import Images
from unbackdoor.metrics import confusion, correct, predict, sent
from unbackdoor.models import Frozen
from unbackdoor.repairing.plan import Charge, always
from unbackdoor.repairing.unlearn import Lesson, Lessons
from unbackdoor.results import RepairRow
from unbackdoor.rng import stream
from unbackdoor.triggers.planted import Planted, Trigger

ORIGINAL_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Measures one network after the other in the same way.

    Args:
        images: held back.
        charges: the triggers that are unlearnt.
        planted: what is known to have been planted.
        seed: of every draw.

    """

    images: Images
    charges: tuple[Charge, ...]
    planted: tuple[Planted, ...]
    seed: int

    def __call__(self, name: str, model: Frozen) -> RepairRow:
        """Return the row of a network; of several classes and triggers the highest rates."""
        predicted = predict(model, self.images)
        planted = [self.success(model, trigger) for trigger in triggers_of(self.planted)]
        recovered = [self._recovered(model, charge) for charge in self.charges]
        without = [charge.anyway(predicted, self.images.targets) for charge in self.charges]
        targets = sorted({one.target for one in self.planted})
        anyway = without or [confusion(predicted, self.images, target) for target in targets]
        return RepairRow(
            name=name,
            accuracy=correct(predicted, self.images),
            recovered_asr=max(recovered, default=None),
            original_asr=max(planted, default=None),
            confusion=max(anyway, default=0.0),
            recovered=recovered,
            without=without,
        )

    def _recovered(self, model: Frozen, charge: Charge) -> float:
        draws = stream(self.seed, "repair", "draws", charge.target)
        return sent(
            model,
            self.images,
            charge.lesson.space,
            charge.lesson.sampler(len(self.images), draws),
            charge.wanted(self.images.targets),
            generator=stream(self.seed, "repair", "measure", charge.target),
        )

    def success(self, model: Frozen, trigger: Trigger) -> float:
        """Return the share of images that a planted trigger sends where the attacker wants them."""
        return sent(
            model,
            self.images,
            trigger.space,
            trigger.theta[None],
            wanted(self.planted, trigger, self.images.targets),
            generator=stream(self.seed, "repair", "measure", "planted"),
            rounds=ORIGINAL_ROUNDS,
        )


def triggers_of(planted: Sequence[Planted]) -> list[Trigger]:
    """Return every trigger once, however many classes it moves."""
    return list({one.trigger.name: one.trigger for one in planted}.values())


def wanted(planted: Sequence[Planted], trigger: Trigger, labels: Tensor) -> Tensor:
    """Return the class that a trigger sends images of each label ``(n,)`` to, their own if none."""
    sent_to = labels.clone()
    for one in planted:
        if one.trigger.name == trigger.name:
            moved = torch.ones_like(labels, dtype=torch.bool)
            moved = moved if one.source is None else labels == one.source
            sent_to[moved] = one.target
    return sent_to


def lesson_of(planted: Sequence[Planted]) -> Lesson | Lessons:
    """Return the triggers that were planted, at least one, as what is unlearnt."""
    lessons = [Lesson(one.space, always(one.theta)) for one in triggers_of(planted)]
    return lessons[0] if len(lessons) == 1 else Lessons(lessons)
