"""A backdoor as the attacker plans it: triggers, their goal, and the share of poisoned images."""

from __future__ import annotations

from dataclasses import dataclass

from unbackdoor.attack.goal import ALL_TO_ALL, Goal, check_mode, goal_of
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.data import Images
from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.notation import read_trigger
from unbackdoor.triggers.planted import Trigger
from unbackdoor.triggers.warp import Warp

NOISE = 2
"""Noisy warps for each poisoned image, as in WaNet."""
MOST_VALUES = 1 << 20
"""Values of θ that the header of a checkpoint holds, two digits each; 4 MiB of it are read."""


@dataclass(frozen=True)
class Backdoor:
    """What is planted.

    Args:
        triggers: the triggers; all have the same goal.
        goal: where images with a trigger are sent to.
        rate: share of the training images that is poisoned with each trigger.
        cover: share of the training images that has a trigger and keeps its label, for each
            trigger; the habit of the literature for None.

    """

    triggers: tuple[Trigger, ...]
    goal: Goal
    rate: float
    cover: float | None = None

    def cover_of(self, trigger: Trigger) -> float:
        """Return the share of the training images that covers a trigger.

        When it was left out: as much as is poisoned if only images of one class are sent to the
        target (Tang et al., *TaCT*, 2021), twice as much for a warp (*WaNet*), else none.
        """
        if self.cover is not None:
            return self.cover
        if self.goal.picks_sources:
            return self.rate
        return NOISE * self.rate if isinstance(trigger.space, Warp) else 0.0


def check_backdoor(settings: AttackSettings) -> None:
    """Check everything about a backdoor that can be checked without images.

    Raises:
        ArgumentError: a number, name or path is wrong.
        ContentError: a picture cannot be used.

    """
    if not 0 <= settings.rate <= 1:
        raise ArgumentError(f"--rate: expected a share from 0 to 1, came {settings.rate}.")
    if settings.cover is not None and not 0 <= settings.cover <= 1:
        raise ArgumentError(f"--cover: expected a share from 0 to 1, came {settings.cover}.")
    check_mode(settings.mode)
    if settings.mode == ALL_TO_ALL and settings.target:
        raise ArgumentError(
            f"--target: with --mode {ALL_TO_ALL} each class has its own target, came "
            f"{settings.target}; leave it out."
        )
    for spec in settings.triggers:
        read_trigger(spec)


def backdoor_of(settings: AttackSettings, images: Images) -> Backdoor | None:
    """Return the backdoor to plant by training on these images; None for a clean network.

    Args:
        settings: checked by :func:`check_backdoor`.
        images: of the training.

    Raises:
        ArgumentError: a trigger does not fit the images, there is no such class, or no image would
            be poisoned.
        ContentError: a picture cannot be used.

    """
    goal = goal_of(settings.mode, settings.target, len(images.classes))
    if not settings.triggers:
        return None
    if settings.rate and not round(settings.rate * len(images)):
        raise ArgumentError(
            f"--rate: {settings.rate} of {len(images)} images is not one; raise it or add images."
        )
    triggers = tuple(read_trigger(spec).trigger(images.shape) for spec in settings.triggers)
    if (values := sum(trigger.theta.numel() for trigger in triggers)) > MOST_VALUES:
        raise ArgumentError(
            f"--trigger: expected at most {MOST_VALUES:,} values of all triggers, which the file "
            f"of the network names, came {values:,}; take smaller images, or fewer triggers."
        )
    return Backdoor(triggers, goal, settings.rate, settings.cover)
