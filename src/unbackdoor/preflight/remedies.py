"""What would make a network right more often: another order of its classes, another range of input.

The two are tried together, because either alone may show nothing while both are wrong.
"""

from __future__ import annotations

import json
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
GAIN = 0.2
"""By how much accuracy has to rise for a remedy to be named."""
PRICE = 0.05
"""By how much an order has to explain more than a range alone: an order fits itself to errors."""
EACH, LEAST, MOST = 16, 64, 512
"""Images of each class that an order is fitted to, and of all together."""
SHOWN = 20

Change = Callable[[Tensor], Tensor]


def _normalise(mean: Sequence[float], std: Sequence[float]) -> tuple[str, Change]:
    first, second = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    texts = [" ".join(f"{value:.6g}" for value in values) for values in (mean, std)]
    flags = f"--mean {texts[0]} --std {texts[1]}" if any(mean) else f"--std {texts[1]}"
    return flags, lambda images: (images - first) / second


def _alike(value: float) -> tuple[float, float, float]:
    return (value, value, value)


COMMON = (
    _normalise(_alike(0.5), _alike(0.5)),
    _normalise(_alike(0.0), _alike(1 / 255)),
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
        _normalise(_alike(0.1307), _alike(0.3081)),
        _normalise(_alike(0.286), _alike(0.353)),
    ]
)
"""The same for networks of one channel: [−1, 1], bytes, MNIST and Fashion-MNIST."""


@dataclass(frozen=True)
class Remedy:
    """Arguments with which a network is right more often.

    Args:
        share: of images that it is right about with them.
        flags: the range of its input, nothing where it is right.
        order: name of each class → index, nothing where it is right.

    """

    share: float
    flags: str
    order: Mapping[str, int]

    @property
    def text(self) -> str:
        """What to do, without a full stop."""
        if not self.order:
            return (
                f"it seems to have been trained with another range of input values: with "
                f"{self.flags} it is right on {self.share:.0%}"
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


def remedy_for(
    network: nn.Module, images: Images, right: float, *, prepared: bool
) -> Remedy | None:
    """Return the arguments with which a network is right most often, None where none help.

    Args:
        network: images in [0, 1] → logits.
        images: with the labels of its classes.
        right: the share of images that it is right about as it is.
        prepared: whether the range of its input is known, so that none is tried.

    """
    as_they_are = {row: row for row in range(len(images.classes))}
    seen = _seen(network, images, prepared=prepared)
    tried = [Remedy(one.share(as_they_are), one.flags, {}) for one in seen if one.flags]
    tried += [
        _with_order(one, seen[0], order, images)
        for one in seen
        if (order := one.order()) and any(row != to for row, to in order.items())
    ]
    if not tried:
        return None
    best = max(tried, key=lambda remedy: remedy.share - (PRICE if remedy.order else 0))
    return best if best.share >= right + GAIN else None


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
        answers: ``(classes of the images, logits)``, how many images of each it takes for each.

    """

    flags: str
    answers: Tensor

    def share(self, order: Mapping[int, int]) -> float:
        """Return the share of images that are right where classes have these indices."""
        right = sum(int(self.answers[row, to]) for row, to in order.items())
        return right / int(self.answers.sum())

    def order(self) -> dict[int, int] | None:
        """Return the indices that the classes seem to have, None where that is not clear."""
        occurring = [int(row) for row in (self.answers.sum(1) > 0).nonzero()[:, 0]]
        order = {row: int(self.answers[row].argmax()) for row in occurring}
        enough = int(self.answers.sum()) > 2 * len(order)
        clear = len(set(order.values())) == len(order) and self.share(order) >= FINE
        return order if enough and clear else None


@torch.no_grad()
def _seen(network: nn.Module, images: Images, *, prepared: bool) -> list[_Seen]:
    """Return what a network answers in each range that is in use, that of the images first."""
    ranges: dict[str, Change] = {"": lambda pixels: pixels}
    if not prepared:
        ranges |= GREY if _is_grey(network, images) else COLOURED
    classes = len(images.classes)
    looked_at = min(max(EACH * classes, LEAST), MOST)
    seen: list[_Seen] = []
    for flags, change in ranges.items():
        given, labels = ask(network, images, looked_at, change)
        answers = torch.zeros(classes, max(classes, given.shape[1]), dtype=torch.int64)
        answers.index_put_((labels, given.argmax(1)), torch.ones_like(labels), accumulate=True)
        seen.append(_Seen(flags, answers))
    return seen


def _with_order(found: _Seen, plain: _Seen, order: Mapping[int, int], images: Images) -> Remedy:
    """Return an order of the classes as a remedy: without the range where it explains as much."""
    if plain.share(order) >= found.share(order):
        found = plain
    named = {images.classes[row]: to for row, to in order.items()}
    return Remedy(found.share(order), found.flags, named)


def _is_grey(network: nn.Module, images: Images) -> bool:
    steps = network.before if isinstance(network, Adapted) else ()
    return images.shape[0] == 1 or any(isinstance(step, Grey) for step in steps)
