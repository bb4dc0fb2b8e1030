"""The success rates from which a class counts as backdoored, and up to which it counts as clean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unbackdoor.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The thresholds of a verdict: held-back attack success rates in [0, 1].

    Args:
        backdoored: rate from which a class is called backdoored.
        clean: rate up to which a class is called clean.

    Raises:
        ArgumentError: they are not in that order.

    """

    backdoored: float = 0.8
    clean: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.clean < self.backdoored <= 1:
            raise ArgumentError(
                f"clean, backdoored: expected 0 ≤ clean < backdoored ≤ 1, came "
                f"clean={self.clean:g} and backdoored={self.backdoored:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How strong a trigger may be to count as evidence.

    Any class of any network can be reached by a trigger that is strong enough, so only triggers
    that clean networks do not obey say something.

    Args:
        strength: the largest size, limit or percentage that counts.
        clean: rate up to which a class counts as clean, where that is more than the general one.
        words: what counts, in words.

    """

    strength: int
    clean: float
    words: str


LIMITS: dict[str, Limit] = {
    "patch": Limit(strength=4, clean=0.5, words="patches up to 4×4 of 32×32 pixels"),
    "mask": Limit(strength=1, clean=0.5, words="masks over up to 1 %"),
    "additive": Limit(strength=4, clean=0.5, words="added patterns up to 4/255 pixel by pixel"),
    "additive grid": Limit(strength=16, clean=0.5, words="up to 16/255 on a grid"),
    "blend": Limit(strength=4, clean=0.5, words="blended pictures up to 4 % pixel by pixel"),
    "blend grid": Limit(strength=10, clean=0.5, words="blended pictures up to 10 % on a grid"),
    "warp": Limit(strength=2, clean=0.5, words="warps up to 2 pixels"),
    "filter": Limit(strength=7, clean=0.7, words="colour filters up to 7 %"),
    "wave": Limit(strength=16, clean=0.5, words="waves up to 16/255"),
    "dynamic": Limit(strength=5, clean=0.5, words="changes by the picture up to 5/255"),
}
"""By the kind of space. Rates of clean networks at these strengths are in docs/families.md."""
COUNTED = ", ".join(limit.words for limit in LIMITS.values())
"""What counts, in words."""
TOLERANCE = 0.01
"""By which a strength may be above its limit, because pictures of any size are compared."""
SIDE = 32
"""Side of the pictures whose pixels the size of a patch counts here."""


def counted(space: str, side: int, thresholds: Thresholds) -> tuple[bool, float]:
    """Return whether triggers of a space count, and the rate up to which a class is clean.

    Args:
        space: its name.
        side: the shorter side of the pictures, in pixels.
        thresholds: of spaces without a limit.

    """
    if (found := limit_of(space, side)) is None:
        return True, thresholds.clean
    limit, strength = found
    return strength <= limit.strength + TOLERANCE, max(thresholds.clean, limit.clean)


def limit_of(space: str, side: int) -> tuple[Limit, float] | None:
    """Return the limit of a space and the space's own strength; None for one without a limit.

    Args:
        space: its name.
        side: the shorter side of the pictures, in pixels.

    Example:
        >>> limit, strength = limit_of("patch:6@0,0", 48)
        >>> limit.strength, strength
        (4, 4.0)

    """
    match = re.match(r"(\w+):(\d+)(x\d+)?", space)
    if match is None:
        return None
    family, strength, grid = match[1], float(match[2]), match[3]
    if family == "patch":
        strength *= SIDE / side
    kind = f"{family} grid" if grid and f"{family} grid" in LIMITS else family
    return (LIMITS[kind], strength) if kind in LIMITS else None
