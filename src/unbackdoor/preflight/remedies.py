"""What would make a network right more often: another order of its classes, another range of input.

The two are tried together, because either alone may show nothing while both are wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.errors import printable
from unbackdoor.metrics import guessed
from unbackdoor.models import Adapted, Grey
from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD, Normalise
from unbackdoor.preflight.look import LOOKED_AT, ask

FINE = 0.7
"""Accuracy from which an order of the classes is clear, and from which nothing has to be wrong."""
SAID = "said"
"""In place of flags: the range that the user said."""
GAIN, DEVIATIONS = 0.1, 3.0
"""By how much accuracy has to rise for a range to be named, and by how many standard deviations."""
PRICE = 0.1
"""By how much an order has to explain more than a range alone: an order fits itself to errors."""
MOST = 512
"""Images that each range is tried on: of 64, chance hides a gain of 20 points, or makes one."""
NEAR = 0.05
"""By how much less often a network may be right in a range that does about as well as another."""
SHOWN = 20
AS_IT_IS = "--mean 0 --std 1"
"""That of images in [0, 1], said by the user: it turns every other range down."""

Change = Callable[[Tensor], Tensor]


def _normalise(mean: Sequence[float], std: Sequence[float]) -> tuple[str, Change]:
    first, second = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    texts = [" ".join(f"{value:.6g}" for value in values) for values in (mean, std)]
    flags = f"--mean {texts[0]} --std {texts[1]}" if any(mean) else f"--std {texts[1]}"
    return flags, lambda images: (images - first) / second


COMMON = (
    _normalise((0.5,), (0.5,)),
    _normalise((0.0,), (1 / 255,)),
    _normalise((0.5,), (1.0,)),
)
COLOURED: dict[str, Change] = dict(
    [
        *COMMON,
        _normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        _normalise(CIFAR10_MEAN, CIFAR10_STD),
        _normalise((0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669)),
    ]
)
"""Ways to prepare images that are in use, by the flags that ask for them: [−1, 1], bytes, those
from −0.5 to 0.5, ImageNet, CIFAR-10 and GTSRB."""
GREY: dict[str, Change] = dict(
    [
        *COMMON,
        _normalise((0.1307,), (0.3081,)),
        _normalise((0.286,), (0.353,)),
    ]
)
"""The same for networks of one channel, with MNIST and Fashion-MNIST in place of the last three."""


@dataclass(frozen=True)
class Remedy:
    """Arguments with which a network is right more often.

    Args:
        share: of the images that it is right about with them.
        before: the same without them.
        count: of the images.
        flags: the range of its input, nothing where it is right.
        order: name of each class → index, nothing where it is right.
        instead: whether a range was said, in place of which that of the flags is proposed.
        rival: another range that does about as well, nothing where there is none.

    """

    share: float
    before: float
    count: int
    flags: str
    order: Mapping[str, int]
    instead: bool = False
    rival: str = ""

    @property
    def gain(self) -> float:
        """By how much accuracy rises with them."""
        return self.share - self.before

    @property
    def text(self) -> str:
        """What to do, without a full stop."""
        if not self.order:
            other = "with the range that was said" if self.instead else "without"
            rival = f" ({self.rival} does about as well)" if self.rival else ""
            return (
                f"with {self.flags}{rival} it is right on {self.share:.0%} of {self.count} images, "
                f"and {other} on {self.before:.0%}"
            )
        what = (
            f"its classes have another order and its input another range, with which "
            f"{self.share:.0%} are right: add {self.flags}, and"
            if self.flags
            else f"its classes have another order, in which {self.share:.0%} are right:"
        )
        return f"{what} write {as_labels(self.order)} to a file for --labels"


def as_labels(order: Mapping[str, int]) -> str:
    """Return the name of each class → its index as a file for --labels has them, or its start."""
    shown = json.dumps(dict(list(order.items())[:SHOWN]), ensure_ascii=False)
    return printable(shown) + (" and so on" if len(order) > SHOWN else "")


def remedy_for(network: nn.Module, images: Images, *, prepared: bool) -> Remedy | None:
    """Return the arguments with which a network is right most often, None where none help.

    Args:
        network: images in [0, 1] → logits.
        images: with the labels of its classes.
        prepared: whether the range of its input was said.

    """
    return best_of(seen_by(network, images, prepared=prepared), images)


def best_of(seen: Sequence[Seen], images: Images) -> Remedy | None:
    """Return the same by what the network was seen to answer in each range."""
    plain = seen[0]
    tried = [
        Remedy(one.accuracy, plain.accuracy, len(one.right), one.flags, {}, bool(plain.flags))
        for one in seen[1:]
        if beyond_chance(one.right, plain.right)
    ]
    tried += [
        _with_order(one, plain, order, images)
        for one in seen
        if (order := one.order()) and any(row != to for row, to in order.items())
    ]
    best = max(tried, key=_worth, default=None)
    if best is None or _worth(best) < GAIN:
        return None
    return best if best.order else replace(best, rival=_rival(seen, best.flags))


def _rival(seen: Sequence[Seen], flags: str) -> str:
    """Return another range in which a network is right about as often as in one, if any."""
    best = next(one for one in seen if one.flags == flags)
    for one in seen[1:]:
        near = best.accuracy - one.accuracy <= NEAR
        if one is not best and near and not beyond_chance(best.right, one.right):
            return one.flags
    return ""


def order_for(network: nn.Module, images: Images, *, prepared: bool) -> Remedy | None:
    """Return which classes of a network those of the images are, None where it does not show.

    Args:
        network: images in [0, 1] → logits of more classes than the images have.
        images: those.
        prepared: whether the range of its input was said.

    """
    seen = seen_by(network, images, prepared=prepared)
    found = [_with_order(one, seen[0], order, images) for one in seen if (order := one.order())]
    return max(found, key=lambda remedy: remedy.share, default=None)


@dataclass(frozen=True)
class Seen:
    """What a network answers to images whose values have some range.

    Args:
        flags: that ask for the range, nothing for that of the images as they are; :data:`SAID` for
            that which the user said.
        given: the class that is answered for each image, ``(n,)``.
        labels: the class of each, ``(n,)``.

    """

    flags: str
    given: Tensor
    labels: Tensor

    @property
    def right(self) -> Tensor:
        """Which images are right as they are labelled, ``(n,)``."""
        return self.given == self.labels

    @property
    def accuracy(self) -> float:
        """Their share."""
        return float(self.right.double().mean())

    @property
    def guesses(self) -> bool:
        """Whether the answers are no better than chance."""
        return guessed(self.given, self.labels)

    def share(self, order: Mapping[int, int]) -> float:
        """Return the share of images that are right where classes have these indices."""
        wanted = torch.tensor([order.get(int(label), -1) for label in self.labels])
        return float((self.given == wanted).double().mean())

    def order(self) -> dict[int, int] | None:
        """Return the indices that the classes seem to have, None where that is not clear."""
        occurring = {int(label) for label in self.labels}
        order = {
            label: int(torch.bincount(self.given[self.labels == label]).argmax())
            for label in sorted(occurring)
        }
        enough = len(self.labels) > 2 * len(order)
        clear = len(set(order.values())) == len(order) and self.share(order) >= FINE
        return order if enough and clear else None


@torch.no_grad()
def seen_by(network: nn.Module, images: Images, *, prepared: bool) -> list[Seen]:
    """Return what a network answers in each range that is in use, the present one first.

    It takes up to :data:`MOST` passes for each range. A range that was said is compared with the
    others too, unless it is that of the images as they are. Where the network is right about
    :data:`FINE` of the images in the present range and does not guess, each other one is first
    tried on :data:`LOOKED_AT`, and left out if it is clearly worse there.
    """
    said = _said(network) if prepared else None
    ranges: dict[str, Change] = {}
    if not prepared or said:
        others = GREY if _is_grey(network, images) else COLOURED
        others = {AS_IT_IS: _unchanged, **others} if said else others
        ranges = {
            flags: _undone(change, said) if said else change for flags, change in others.items()
        }

    def seen(flags: str, change: Change, most: int) -> Seen:
        given, labels = ask(network, images, most, change)
        return Seen(flags, given.argmax(1), labels)

    present = SAID if said else ""
    found = [seen(present, _unchanged, MOST)]
    if ranges and found[0].accuracy >= FINE and not found[0].guesses:
        first = seen(present, _unchanged, LOOKED_AT).right
        ranges = {
            flags: change
            for flags, change in ranges.items()
            if not beyond_chance(first, seen(flags, change, LOOKED_AT).right)
        }
    return [*found, *(seen(flags, change, MOST) for flags, change in ranges.items())]


def _unchanged(pixels: Tensor) -> Tensor:
    return pixels


def _said(network: nn.Module) -> Normalise | None:
    """Return the range that was said for a network; None where it is that of the images."""
    steps = network.before if isinstance(network, Adapted) else ()
    found = next((step for step in steps if isinstance(step, Normalise)), None)
    as_it_is = found is None or (bool((found.mean == 0).all()) and bool((found.std == 1).all()))
    return None if as_it_is else found


def _undone(change: Change, said: Normalise) -> Change:
    """Return a change of images after which the range that was said for them is that change."""
    mean, std = said.mean.cpu(), said.std.cpu()
    return lambda pixels: change(pixels) * std + mean


def _with_order(found: Seen, plain: Seen, order: Mapping[int, int], images: Images) -> Remedy:
    """Return an order of the classes as a remedy: without the range where it explains as much."""
    if plain.share(order) >= found.share(order):
        found = plain
    named = {images.classes[row]: to for row, to in order.items()}
    flags = "" if found is plain else found.flags
    share, count = found.share(order), len(found.labels)
    return Remedy(share, plain.accuracy, count, flags, named, bool(plain.flags))


def _worth(remedy: Remedy) -> float:
    return remedy.gain - (PRICE if remedy.order else 0)


def beyond_chance(hits: Tensor, before: Tensor) -> bool:
    """Return whether more of the same images are right than would be by chance (McNemar)."""
    gained, lost = int((hits & ~before).sum()), int((before & ~hits).sum())
    return gained - lost > DEVIATIONS * math.sqrt(gained + lost)


def _is_grey(network: nn.Module, images: Images) -> bool:
    steps = network.before if isinstance(network, Adapted) else ()
    return images.shape[0] == 1 or any(isinstance(step, Grey) for step in steps)
