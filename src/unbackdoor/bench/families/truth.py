"""What was planted in a network, and whether a scan found that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.attack import Backdoor, goal_of
from unbackdoor.attack.goal import ALL_TO_ONE
from unbackdoor.triggers.family import Shape
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.registry import family_of

SHAPE = (3, 32, 32)
"""Of the pictures of the development set."""
WAVE = "additive:sin:"
CONTAINED = {
    "patch": ("patch", "mask"),
    "wave": ("wave", "additive"),
    "blend": ("blend", "mask"),
}
"""Families with a member for each trigger of a family: a square mask is a patch, an even one a
blended picture, and a wave is a pattern that is added."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What was planted.

    Args:
        trigger: its notation; None in a clean network.
        mode: the goal, see :mod:`unbackdoor.attack.goal`.
        target: the class that images with the trigger are sent to.

    """

    trigger: str | None = None
    mode: str = ALL_TO_ONE
    target: int = 0

    def backdoor(self, classes: int, shape: Shape) -> Backdoor | None:
        """Return the backdoor for pictures of this shape; None in a clean network.

        Raises:
            ArgumentError: there is no such trigger, mode or class.
            ContentError: a picture cannot be used.

        """
        if self.trigger is None:
            return None
        goal = goal_of(self.mode, self.target, classes)
        return Backdoor((parse_trigger(self.trigger, shape),), goal, rate=0.0)

    @property
    def family(self) -> str | None:
        """The family of triggers that says most about it; None in a clean network.

        Example:
            >>> Truth(trigger="additive:sin:6@20").family, Truth(trigger="bw:170@0,0").family
            ('wave', 'patch')

        """
        if self.trigger is None:
            return None
        if self.trigger.startswith(WAVE):
            return "wave"
        return family_of(parse_trigger(self.trigger, SHAPE).space.name)

    @property
    def targets(self) -> list[int] | None:
        """The classes that a scan has to name; None where each class is one."""
        if self.trigger is None:
            return []
        return None if self.mode == "all-to-all" else [self.target]

    @property
    def words(self) -> str:
        """What was planted, for a table.

        Example:
            >>> Truth(trigger="white:4", mode="source:3", target=8).words
            '`white:4` 3 → 8'

        """
        if self.trigger is None:
            return "clean"
        goals = {ALL_TO_ONE: f"→ {self.target}", "all-to-all": "y → y + 1"}
        source = self.mode.partition(":")[2]
        return f"`{self.trigger}` {goals.get(self.mode, f'{source} → {self.target}')}"


def same_family(family: str | None, space: str) -> bool:
    """Return whether a space belongs to a family, or to one that contains it.

    Example:
        >>> same_family("patch", "mask:2"), same_family("warp", "patch:4@0,0")
        (True, False)

    """
    return family is not None and family_of(space) in CONTAINED.get(family, (family,))


FOUND, AND_OTHERS, INCONCLUSIVE = "found", "found, others too", "inconclusive"
ANOTHER, MISSED, REFUSED = "another class", "missed", "not scanned"
CLEAN, ACCUSED = "clean", "accused"
WORSE = (CLEAN, FOUND, AND_OTHERS, INCONCLUSIVE, REFUSED, ANOTHER, MISSED, ACCUSED)
"""Every outcome of a scan, from good to bad."""


def outcome(targets: Sequence[int] | None, verdict: str, named: Sequence[int]) -> str:
    """Return the outcome of a scan in a word or two, one of :data:`WORSE`.

    Args:
        targets: the classes that were attacked; None where each is one.
        verdict: of the scan.
        named: the classes that it named.

    Example:
        >>> outcome([3], "backdoored", [3, 5]), outcome([], "inconclusive", [])
        ('found, others too', 'inconclusive')

    """
    if verdict != "backdoored":
        judged = {"clean": CLEAN if targets == [] else MISSED, "inconclusive": INCONCLUSIVE}
        return judged.get(verdict, REFUSED)
    if targets == []:
        return ACCUSED
    if targets is None or set(named) == set(targets):
        return FOUND
    return AND_OTHERS if set(targets) <= set(named) else ANOTHER
