"""The success rates from which a class counts as backdoored, and up to which it counts as clean."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from unbackdoor.detectors.evidence import Pictures
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
        backdoored: rate from which it counts as backdoored, where that is more.
        words: what counts, in words.
        middle: thresholds of patches in the middle, which hide what the picture shows, where they
            are higher.
        between: thresholds of patches at a place that is neither in the middle nor in a corner,
            where they are higher; clean networks hardly heed a corner.
        beside: the same on pictures of much contrast, where such a patch lies beside a digit; also
            of the rate by a clear lead.
        lead: rate by a clear lead from which it counts as backdoored, where that is another than
            the general one.
        doubts: strength up to which triggers that work by a clear lead leave a class open, where
            that is more than what counts.
        plain: rate from which it counts as backdoored on pictures of much contrast, where that is
            more. Their background is the same black or white in all of them, so clean networks,
            which have never seen another one, may answer such pictures with one class.
        plain_tells: whether it can tell a backdoor on such pictures at all, or leaves a class open
            at most.
        alone: whether triggers that are too strong to count leave a class open where no other class
            obeys them. A change of all colours turns some clean networks towards one class.

    """

    strength: int
    clean: float
    words: str
    backdoored: float = 0.0
    middle: Thresholds | None = None
    between: Thresholds | None = None
    beside: Thresholds | None = None
    lead: float = 0.0
    doubts: int = 0
    plain: float = 0.0
    plain_tells: bool = True
    alone: bool = True


LIMITS: dict[str, Limit] = {
    "patch": Limit(
        strength=4,
        clean=0.5,
        middle=Thresholds(backdoored=0.97, clean=0.6),
        between=Thresholds(backdoored=0.85, clean=0.6),
        beside=Thresholds(backdoored=0.95, clean=0.6),
        words="patches up to 4×4 of 32×32 pixels at any place",
    ),
    "patch blocks": Limit(
        strength=8,
        clean=0.65,
        backdoored=0.95,
        middle=Thresholds(backdoored=1.0, clean=0.9),
        beside=Thresholds(backdoored=0.95, clean=0.65),
        words="patches up to 8×8 of four colours",
    ),
    "mask": Limit(strength=1, clean=0.5, words="masked patterns over up to 1 % of the picture"),
    "additive": Limit(strength=4, clean=0.5, words="added patterns up to 4/255 pixel by pixel"),
    "additive grid": Limit(
        strength=16, clean=0.6, plain=1.0, words="added patterns up to 16/255 on a grid"
    ),
    "wave": Limit(strength=16, clean=0.7, backdoored=1.0, lead=0.8, words="waves up to 16/255"),
    "blend": Limit(strength=4, clean=0.5, words="pictures blended in up to 4 % pixel by pixel"),
    "blend grid": Limit(
        strength=10, clean=0.5, plain=1.0, words="pictures blended in up to 10 % on a grid"
    ),
    "warp": Limit(strength=2, clean=0.5, words="elastic warps up to 2 of 32 pixels"),
    "filter": Limit(
        strength=7,
        clean=0.7,
        backdoored=1.0,
        words="colour filters within 7 % of the identity",
        plain_tells=False,
        alone=False,
    ),
    "filter rms": Limit(
        strength=34,
        clean=0.7,
        backdoored=0.85,
        words="colour filters that change a picture by up to 34/255 (root mean square)",
        doubts=48,
        plain_tells=False,
        alone=False,
    ),
    "dynamic": Limit(strength=5, clean=0.5, words="changes by the picture up to 5/255"),
}
"""By the kind of space. Rates of clean networks at these strengths are in docs/families.md."""
OF_EACH = Thresholds(backdoored=0.7, clean=0.5)
"""For triggers that send each class to a class of its own: clean networks obey far fewer of them,
and a backdoor of this kind works on fewer images."""
FIRM = Thresholds(backdoored=0.85, clean=0.5)
"""For the rate by a clear lead, of triggers of any kind that count; beside a digit more is asked.
Triggers that a class answers to by nature hardly get past the other classes; those of a backdoor
leave them far behind."""
OF_EACH_MORE = 1.5
"""How much stronger they may be."""
BLOCKS = 2
"""Rows and columns of colours up to which a patch counts as one of few colours."""
TOLERANCE = 0.01
"""By which a strength may be above its limit, because pictures of any size are compared."""
SIDE = 32
"""Side of the pictures whose pixels the size of a patch counts here."""
CORNER = 5
"""Largest distance from both of the nearest edges of a patch in a corner, of 32 pixels."""
CONTRAST = 0.8
"""Contrast of the pictures on which the percentage of a blend counts as it is, no patch is a
stroke, and the background is not plain."""
STROKE = 4.5
"""The largest side of a patch, of 32 pixels, that is no stroke on pictures of more contrast."""


def firm_of(space: str, pictures: Pictures, general: Thresholds) -> Thresholds:
    """Return the thresholds of success by a clear lead; no lower than the general one of a rate.

    Args:
        space: its name.
        pictures: on which it was tried.
        general: of rates.

    """
    found = limit_of(space, pictures)
    lead = (found[0].lead if found else 0.0) or FIRM.backdoored
    beside = found[0].beside if found else None
    if found and beside and _at_place(found[0], space, pictures) is beside:
        lead = max(lead, beside.backdoored)
    return replace(FIRM, backdoored=max(lead, general.backdoored))


def thresholds_of(space: str, pictures: Pictures, general: Thresholds) -> Thresholds | None:
    """Return the thresholds of a space; None if its triggers are too strong to count.

    Args:
        space: its name.
        pictures: on which it was tried.
        general: of spaces without a limit.

    """
    found = limit_of(space, pictures)
    if found is not None and found[1] > found[0].strength + TOLERANCE:
        return None
    return thresholds_if_weaker(space, pictures, general)


def thresholds_if_weaker(space: str, pictures: Pictures, general: Thresholds) -> Thresholds:
    """Return the thresholds that triggers of a space would have if they were weak enough to count.

    Args:
        space: its name.
        pictures: on which it was tried.
        general: of spaces without a limit.

    """
    if (found := limit_of(space, pictures)) is None:
        return general
    limit, _ = found
    backdoored = max(general.backdoored, limit.backdoored)
    clean = max(general.clean, limit.clean)
    if pictures.contrast > CONTRAST:
        backdoored = max(backdoored, limit.plain)
    if (higher := _at_place(limit, space, pictures)) is not None:
        backdoored, clean = max(backdoored, higher.backdoored), max(clean, higher.clean)
    clean = min(clean, 0.99 * backdoored)
    return Thresholds(backdoored=backdoored, clean=clean)


def _at_place(limit: Limit, space: str, pictures: Pictures) -> Thresholds | None:
    """Return the thresholds of a patch at its place; None where those of its kind hold."""
    if in_the_middle(space, pictures.side):
        return limit.middle
    if _square(space) is None or in_a_corner(space, pictures.side):
        return None
    return limit.beside if pictures.contrast > CONTRAST else limit.between


def is_of_background(space: str, pictures: Pictures) -> bool:
    """Return whether triggers of a space change the plain background of pictures of much contrast.

    Clean networks, which have never seen another one, may answer all such pictures with one class.

    Example:
        >>> digits = Pictures(side=28, contrast=0.97)
        >>> is_of_background("filter:34rms", digits), is_of_background("filter:34rms", Pictures())
        (True, False)

    """
    found = limit_of(space, pictures)
    return found is not None and pictures.contrast > CONTRAST and not found[0].plain_tells


def is_stroke(space: str, pictures: Pictures) -> bool:
    """Return whether a patch is a stroke that can make another digit.

    So it is if it is larger than :data:`STROKE`, on pictures of much contrast.

    Example:
        >>> digits = Pictures(side=28, contrast=0.97)
        >>> is_stroke("patch:4x2@22,0", digits), is_stroke("patch:3x2@22,0", digits)
        (True, False)

    """
    if not space.startswith("patch:") or pictures.contrast <= CONTRAST:
        return False
    found = limit_of(space, pictures)
    return found is not None and found[1] > STROKE


def in_the_middle(space: str, side: int) -> bool:
    """Return whether a patch at one place lies in the middle of the picture.

    Its centre is in the inner half there, or out of it by less than an eighth of the patch.

    Example:
        >>> in_the_middle("patch:4@14,14", 32), in_the_middle("patch:4@0,14", 32)
        (True, False)

    """
    if (square := _square(space)) is None:
        return False
    size, *corner = square
    far = side / 4 + size / 8
    return all(abs(place + size / 2 - side / 2) < far for place in corner)


def in_a_corner(space: str, side: int) -> bool:
    """Return whether a patch at one place lies in a corner of the picture.

    From both of the nearest edges it is at most :data:`CORNER` of 32 pixels away.

    Example:
        >>> in_a_corner("patch:4@2,27", 32), in_a_corner("patch:4@0,14", 32)
        (True, False)

    """
    if (square := _square(space)) is None:
        return False
    size, *corner = square
    return all(min(at, side - size - at) * SIDE <= CORNER * side for at in corner)


def overlap(one: str, other: str) -> bool:
    """Return whether two spaces are patches at places that overlap, or neither is at one place.

    Example:
        >>> overlap("patch:4@1,27", "patch:6@0,26"), overlap("patch:5@0,0", "patch:6@0,26")
        (True, False)

    """
    first, second = _square(one), _square(other)
    if first is None or second is None:
        return first is second
    pairs = zip(first[1:], second[1:], strict=True)
    return all(a < b + second[0] and b < a + first[0] for a, b in pairs)


def _square(space: str) -> list[int] | None:
    """Return size, row and column of patches at one place."""
    match = re.match(r"patch:(\d+)(?:x\d+)?@(\d+),(\d+)$", space)
    return [int(number) for number in match.groups()] if match else None


@cache
def limit_of(space: str, pictures: Pictures) -> tuple[Limit, float] | None:
    """Return the limit of a space and the space's own strength; None for one without a limit.

    Args:
        space: its name.
        pictures: on which it was tried. On larger ones a patch of so many pixels is less, on ones
            of much contrast a picture that is blended in by so many per cent is more.

    Example:
        >>> limit, strength = limit_of("patch:6@0,0", Pictures(side=48))
        >>> limit.strength, strength
        (4, 4.0)

    """
    match = re.match(r"(\w+):(\d+)(?:x(\d+)|(rms))?", space)
    if match is None:
        return None
    family, strength, grid = match[1], float(match[2]), int(match[3] or 0)
    if family == "patch":
        strength *= SIDE / pictures.side
        kind = "patch blocks" if 0 < grid <= BLOCKS else "patch"
    else:
        finer = f"{family} {match[4] or 'grid'}"
        kind = finer if (grid or match[4]) and finer in LIMITS else family
    if family == "blend":
        strength *= max(1.0, pictures.contrast / CONTRAST)
    return (LIMITS[kind], strength) if kind in LIMITS else None
