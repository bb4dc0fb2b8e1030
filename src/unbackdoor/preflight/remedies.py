"""What would make a network right more often: another order of its classes, another range of input.

The two are tried together, because either alone may show nothing while both are wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.errors import printable
from unbackdoor.models import Adapted, Grey
from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD
from unbackdoor.preflight.look import ask

FINE = 0.7
"""Accuracy from which the checks of labels and range are not needed."""
GAIN, DEVIATIONS = 0.1, 3.0
"""By how much accuracy has to rise for a range to be named, and by how many standard deviations."""
PRICE = 0.1
"""By how much an order has to explain more than a range alone: an order fits itself to errors."""
MOST = 512
"""Images that each range is tried on: of 64, chance hides a gain of 20 points, or makes one."""
SHOWN = 20

Change = Callable[[Tensor], Tensor]


def _normalise(mean: Sequence[float], std: Sequence[float]) -> tuple[str, Change]:
    first, second = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    texts = [" ".join(f"{value:.6g}" for value in values) for values in (mean, std)]
    flags = f"--mean {texts[0]} --std {texts[1]}" if any(mean) else f"--std {texts[1]}"
    return flags, lambda images: (images - first) / second


COMMON = (
    _normalise((0.5,), (0.5,)),
    _normalise((0.0,), (1 / 255,)),
)
COLOURED: dict[str, Change] = dict(
    [
        *COMMON,
        _normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        _normalise(CIFAR10_MEAN, CIFAR10_STD),
        _normalise((0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669)),
    ]
)
"""Ways to prepare images that are in use, by the flags that ask for them: [−1, 1], bytes, ImageNet,
CIFAR-10 and GTSRB."""
GREY: dict[str, Change] = dict(
    [
        *COMMON,
        _normalise((0.1307,), (0.3081,)),
        _normalise((0.286,), (0.353,)),
    ]
)
"""The same for networks of one channel: [−1, 1], bytes, MNIST and Fashion-MNIST."""


@dataclass(frozen=True)
class Remedy:
    """Arguments with which a network is right more often.

    Args:
        share: of the images that it is right about with them.
        before: the same without them.
        count: of the images.
        flags: the range of its input, nothing where it is right.
        order: name of each class → index, nothing where it is right.

    """

    share: float
    before: float
    count: int
    flags: str
    order: Mapping[str, int]

    @property
    def gain(self) -> float:
        """By how much accuracy rises with them."""
        return self.share - self.before

    @property
    def text(self) -> str:
        """What to do, without a full stop."""
        if not self.order:
            return (
                f"with {self.flags} it is right on {self.share:.0%} of {self.count} images, and "
                f"without on {self.before:.0%}"
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

    It takes up to :data:`MOST` passes for each range that is tried.

    Args:
        network: images in [0, 1] → logits.
        images: with the labels of its classes.
        prepared: whether the range of its input is known, so that none is tried.

    """
    seen = _seen(network, images, prepared=prepared)
    plain = seen[0]
    tried = [
        Remedy(one.accuracy, plain.accuracy, len(one.right), one.flags, {})
        for one in seen[1:]
        if _beyond_chance(one.right, plain.right)
    ]
    tried += [
        _with_order(one, plain, order, images)
        for one in seen
        if (order := one.order()) and any(row != to for row, to in order.items())
    ]
    best = max(tried, key=_worth, default=None)
    return best if best is not None and _worth(best) >= GAIN else None


def order_for(network: nn.Module, images: Images, *, prepared: bool) -> Remedy | None:
    """Return which classes of a network those of the images are, None where it does not show.

    Args:
        network: images in [0, 1] → logits of more classes than the images have.
        images: those.
        prepared: whether the range of its input is known, so that none is tried.

    """
    seen = _seen(network, images, prepared=prepared)
    found = [_with_order(one, seen[0], order, images) for one in seen if (order := one.order())]
    return max(found, key=lambda remedy: remedy.share, default=None)


@dataclass(frozen=True)
class _Seen:
    """What a network answers to images whose values have some range.

    Args:
        flags: that ask for the range, nothing for that of the images as they are.
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
def _seen(network: nn.Module, images: Images, *, prepared: bool) -> list[_Seen]:
    """Return what a network answers in each range that is in use, that of the images first."""
    ranges: dict[str, Change] = {"": lambda pixels: pixels}
    if not prepared:
        ranges |= GREY if _is_grey(network, images) else COLOURED
    return [
        _Seen(flags, given.argmax(1), labels)
        for flags, change in ranges.items()
        for given, labels in [ask(network, images, MOST, change)]
    ]


def _with_order(found: _Seen, plain: _Seen, order: Mapping[int, int], images: Images) -> Remedy:
    """Return an order of the classes as a remedy: without the range where it explains as much."""
    if plain.share(order) >= found.share(order):
        found = plain
    named = {images.classes[row]: to for row, to in order.items()}
    count = len(found.labels)
    return Remedy(found.share(order), plain.accuracy, count, found.flags, named)


def _worth(remedy: Remedy) -> float:
    return remedy.gain - (PRICE if remedy.order else 0)


def _beyond_chance(hits: Tensor, before: Tensor) -> bool:
    """Return whether more of the same images are right than would be by chance (McNemar)."""
    gained, lost = int((hits & ~before).sum()), int((before & ~hits).sum())
    return gained - lost > DEVIATIONS * math.sqrt(gained + lost)


def _is_grey(network: nn.Module, images: Images) -> bool:
    steps = network.before if isinstance(network, Adapted) else ()
    return images.shape[0] == 1 or any(isinstance(step, Grey) for step in steps)
