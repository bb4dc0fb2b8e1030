"""What an attacker wants of images with a trigger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError
from unbackdoor.triggers.planted import Planted, Trigger

ALL_TO_ONE, ALL_TO_ALL = "all-to-one", "all-to-all"
MODES = f"{ALL_TO_ONE}, {ALL_TO_ALL} or source:K"


@dataclass(frozen=True)
class Goal:
    """Where the images of each class are sent to.

    Args:
        mode: ``all-to-one``, ``all-to-all`` or ``source:K``.
        sends: for each class the class that its images are sent to; itself where the trigger is to
            change nothing.

    """

    mode: str
    sends: tuple[int, ...]

    @property
    def moves(self) -> dict[int, int]:
        """Source → target, for every class that is sent to another one."""
        return {source: to for source, to in enumerate(self.sends) if source != to}

    @property
    def target(self) -> int | None:
        """The class that images are sent to; None if there are several."""
        targets = set(self.moves.values())
        return targets.pop() if len(targets) == 1 else None

    @property
    def picks_sources(self) -> bool:
        """Whether images of some class, other than the target, are to be left alone."""
        return len(self.moves) < len(self.sends) - 1

    def of(self, labels: Tensor) -> Tensor:
        """Return the classes ``(n,)`` that images with these labels are sent to."""
        return torch.tensor(self.sends)[labels]

    def planted(self, triggers: Sequence[Trigger]) -> tuple[Planted, ...]:
        """Return what each trigger does."""
        if self.target is not None and not self.picks_sources:
            return tuple(Planted(trigger, self.target) for trigger in triggers)
        return tuple(
            Planted(trigger, target, source)
            for trigger in triggers
            for source, target in self.moves.items()
        )


def check_mode(mode: str) -> None:
    """Raise unless there is such a mode.

    Raises:
        ArgumentError: there is none.

    """
    if mode not in (ALL_TO_ONE, ALL_TO_ALL) and not re.fullmatch(r"source:\d{1,9}", mode):
        raise ArgumentError(f"--mode: expected {MODES}, came {mode!r}.")


def goal_of(mode: str, target: int, classes: int) -> Goal:
    """Return the goal of a mode.

    Args:
        mode: ``all-to-one``: images of every other class are sent to the target; ``all-to-all``:
            those of class y to y + 1, and of the last class to the first; ``source:K``: those of
            class K alone are sent to the target.
        target: the class; ignored for ``all-to-all``.
        classes: how many there are.

    Raises:
        ArgumentError: there is no such mode or class.

    Example:
        >>> goal_of("source:2", 0, 4).sends, goal_of("all-to-all", 0, 4).sends
        ((0, 1, 0, 3), (1, 2, 3, 0))

    """
    check_mode(mode)
    if mode == ALL_TO_ALL:
        return Goal(mode, tuple((label + 1) % classes for label in range(classes)))
    if not 0 <= target < classes:
        raise ArgumentError(f"--target: the data has classes 0 to {classes - 1}, came {target}.")
    if mode == ALL_TO_ONE:
        return Goal(mode, (target,) * classes)
    source = int(mode.partition(":")[2])
    if source >= classes or source == target:
        raise ArgumentError(
            f"--mode: expected source:K with a class K from 0 to {classes - 1} other than the "
            f"target {target}, came {mode!r}."
        )
    return Goal(mode, tuple(target if y == source else y for y in range(classes)))
