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
from unbackdoor.metrics import Classifier
from unbackdoor.models import Adapted, Grey
from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD
from unbackdoor.preflight.look import ask

FINE = 0.7
"""Accuracy from which the checks of labels and range are not needed."""
GAIN = 0.2
"""By how much accuracy has to rise for a remedy to be named."""
PRICE = 0.05
"""By how much an order has to explain more than a range alone: an order fits itself to errors."""
EACH, LEAST, MOST = 4, 64, 512
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


@torch.no_grad()
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
    ranges: dict[str, Change] = {"": lambda pixels: pixels}
    if not prepared:
        ranges |= GREY if _is_grey(network, images) else COLOURED
    tried = [
        remedy
        for flags, change in ranges.items()
        for remedy in _remedies(network, images, flags, change)
    ]
    if not tried:
        return None
    best = max(tried, key=lambda remedy: remedy.share - (PRICE if remedy.order else 0))
    return best if best.share >= right + GAIN else None


def _remedies(network: Classifier, images: Images, flags: str, change: Change) -> list[Remedy]:
    """Return what a range gives alone, and with the order of classes that explains most."""
    looked_at = min(max(EACH * len(images.classes), LEAST), MOST)
    given, labels = ask(network, images, looked_at, change)
    share = float((given.argmax(1) == labels).double().mean())
    found = [Remedy(share, flags, {})] if flags else []
    classes = len(images.classes)
    table = torch.zeros(classes, max(classes, given.shape[1]), dtype=torch.int64)
    table.index_put_((labels, given.argmax(1)), torch.ones_like(labels), accumulate=True)
    occurring = (table.sum(1) > 0).nonzero()[:, 0]
    rows = [int(row) for row in occurring]
    named = [int(to) for to in table.argmax(1)[occurring]]
    explained = int(table[occurring].amax(1).sum()) / len(labels)
    enough = len(labels) > 2 * len(rows)
    if enough and rows != named and len(set(named)) == len(named) and explained >= FINE:
        order = {images.classes[row]: to for row, to in zip(rows, named, strict=True)}
        found.append(Remedy(explained, flags, order))
    return found


def _is_grey(network: nn.Module, images: Images) -> bool:
    steps = network.before if isinstance(network, Adapted) else ()
    return images.shape[0] == 1 or any(isinstance(step, Grey) for step in steps)
