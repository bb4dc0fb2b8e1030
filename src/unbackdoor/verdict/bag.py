"""A bag of reference networks: what scans of networks of known truth say, and where one stands.

The score of a network says how near its clearest class is to counting as backdoored. A verdict is
worth as much as the scores of clean networks lie below it, and those of backdoored ones above.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from unbackdoor.detectors.evidence import Evidence
from unbackdoor.errors import ContentError, printable
from unbackdoor.mesa.uniform import share_upper_bound
from unbackdoor.runtime.files import read_bytes

OURS = Path(__file__).parent / "bag.json"
"""The bag that comes with the package."""
LARGEST = 1 << 24
WORKS = 0.8
"""Attack success rate from which a network counts as one whose backdoor a scan is to find."""
FACTOR, LESS_ACCURATE = 4.0, 0.05
"""A network is like one of the bag if the numbers of classes, and the sides of the pictures, differ
by at most this factor; it may be this much less accurate than the least accurate one it is like."""


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network of known truth, and what a scan says of it.

    Args:
        name: of the network.
        backdoor: what was planted, in a word; empty in a clean network.
        works: success rate of what was planted; 0 in a clean network.
        score: of the network.
        accuracy: on held-back images.
        classes: how many it has.
        side: of its pictures, in pixels.

    """

    name: str
    backdoor: str = ""
    works: float = 0.0
    score: float
    accuracy: float
    classes: int
    side: int


class Bag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reference networks.

    Args:
        name: of the bag.
        budget: of their scans.
        space: what was searched in them.
        networks: each of them.

    """

    name: str
    budget: str
    space: str
    networks: list[Reference]

    @property
    def clean(self) -> list[Reference]:
        """Those without a backdoor."""
        return [one for one in self.networks if not one.backdoor]

    @property
    def backdoored(self) -> list[Reference]:
        """Those with one that works."""
        return [one for one in self.networks if one.backdoor and one.works >= WORKS]

    def outside(self, evidence: Evidence) -> list[str]:
        """Return in what a network lies outside the field of the clean ones, in words."""
        words: list[str] = []
        count, side = len({record.index for record in evidence.classes}), evidence.pictures.side
        for name, came, known in (
            ("classes", count, {one.classes for one in self.clean}),
            ("pixels a side", side, {one.side for one in self.clean}),
        ):
            if not any(_alike(came, one) for one in known):
                span = " or ".join(map(str, sorted(known)))
                words.append(f"{came} {name} (they have {span})")
        alike = [
            one.accuracy
            for one in self.clean
            if _alike(count, one.classes) and _alike(side, one.side)
        ]
        if not alike and not words:
            words.append(f"{count} classes with pictures of {side} pixels together")
        if alike and evidence.accuracy < min(alike) - LESS_ACCURATE:
            words.append(
                f"an accuracy of {evidence.accuracy:.1%} (those with about as many classes have "
                f"at least {min(alike):.1%})"
            )
        return words

    def compared(self, score: float, evidence: Evidence | None = None) -> Standing:
        """Return where a network stands among these.

        Args:
            score: of the network.
            evidence: about it; whether it is in their field is not asked when left out.

        """
        return Standing(
            bag=self.name,
            score=score,
            clean=sorted(one.score for one in self.clean),
            backdoored=sorted(one.score for one in self.backdoored),
            outside=self.outside(evidence) if evidence else [],
        )


def _alike(came: int, known: int) -> bool:
    """Return whether one number is within the factor of another."""
    return known <= FACTOR * came and came <= FACTOR * known


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a network stands among reference networks.

    Args:
        bag: name of the reference networks.
        score: of the network: 0 where its clearest class just counts as clean, 1 where it just
            counts as backdoored.
        clean: scores of the clean reference networks, rising.
        backdoored: those of the backdoored ones.
        outside: in what the network lies outside their field, in words.

    """

    bag: str
    score: float
    clean: list[float]
    backdoored: list[float]
    outside: list[str]

    @property
    def above(self) -> int:
        """How many clean networks score as high."""
        return sum(score >= self.score for score in self.clean)

    @property
    def below(self) -> int:
        """How many backdoored networks score as low."""
        return sum(score <= self.score for score in self.backdoored)

    @property
    def false_alarms(self) -> float:
        """Upper bound of the share of clean networks that score as high, with 95 % confidence."""
        return share_upper_bound(self.above, len(self.clean))

    @property
    def misses(self) -> float:
        """Upper bound of the share of backdoored ones that score as low, with 95 % confidence."""
        return share_upper_bound(self.below, len(self.backdoored))

    @property
    def alarm(self) -> str:
        """What a high score says, in a sentence."""
        count = len(self.clean)
        among = f"any of {count}" if not self.above else f"{count - self.above} of {count}"
        return (
            f"It scores higher than {among} clean reference networks; at most "
            f"{self.false_alarms:.1%} of clean networks like these score so (95 % upper bound)."
        )

    @property
    def silence(self) -> str:
        """What a low score says, in a sentence."""
        if not self.backdoored:
            return f"The bag {self.bag} has no backdoored networks, so misses are not counted."
        return (
            f"Of {len(self.backdoored)} backdoored reference networks {self.below} score as low; "
            f"at most {self.misses:.1%} of backdoored networks like these do (95 % upper bound)."
        )


@cache
def ours() -> Bag:
    """Return the bag that comes with the package."""
    return read_bag(OURS)


def read_bag(path: Path) -> Bag:
    """Read a bag.

    Raises:
        ArgumentError: there is no such file, or it cannot be read.
        ContentError: it holds something else, or no clean network.

    """
    content = read_bytes(path, "--bag", LARGEST)
    try:
        bag = msgspec.json.decode(content, type=Bag)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(
            f"--bag: expected the file that 'unbackdoor calibrate' writes, came {path} ({error})."
        ) from error
    if not bag.clean:
        raise ContentError(
            f"--bag: {path} has no clean network to compare with; calibrate with at least one."
        )
    return msgspec.structs.replace(bag, name=printable(bag.name))
