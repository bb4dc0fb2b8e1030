"""Checks whether a scan would be meaningful: each finding is a sentence and a remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError, printable
from unbackdoor.metrics import Classifier
from unbackdoor.models.alike import alike
from unbackdoor.models.logits import without_softmax
from unbackdoor.models.normalise import CIFAR10_MEAN, CIFAR10_STD
from unbackdoor.preflight.look import look_at, on_its_device, some_of
from unbackdoor.preflight.pictures import look_over
from unbackdoor.results import Finding

FINE = 0.7
"""Accuracy from which the checks of labels and range are not needed."""
GAIN = 0.2
"""By how much accuracy has to rise for a remedy to be named."""
FEW = 10
"""Held-back images of a class below which its rate is called coarse."""
SHOWN = 20

Change = Callable[[Tensor], Tensor]


def _normalise(mean: Sequence[float], std: Sequence[float]) -> Change:
    first, second = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    return lambda images: (images - first) / second


HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANGES: dict[str, Change] = {
    "--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5": _normalise(HALF, HALF),
    "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225": _normalise(IMAGENET_MEAN, IMAGENET_STD),
    "--mean 0.4914 0.4822 0.4465 --std 0.247 0.2435 0.2616": _normalise(CIFAR10_MEAN, CIFAR10_STD),
    "--std 0.00392157 0.00392157 0.00392157": _normalise((0.0, 0.0, 0.0), (1 / 255,) * 3),
}
"""Ways to prepare images that are in use, by the flags that ask for them."""


def check(network: nn.Module, images: Split, *, prepared: bool = False) -> tuple[Finding, ...]:
    """Look at a network and its images before any work.

    Args:
        network: images in [0, 1] → logits, in evaluation mode.
        images: with the labels of the network's classes.
        prepared: whether the user said how images are prepared for it.

    Raises:
        InsufficientDataError: a class has no image in a part, or there is only one class.
        ContentError: a scan of it would mean nothing; the sentence says why, and the remedy.

    """
    images.require(1)
    call = on_its_device(network)
    given, labels = look_at(call, images.defend)
    classes = images.defend.classes
    if given.shape[1] != len(classes):
        raise ContentError(_other_count(given.shape[1], classes))
    if not bool(given.isfinite().all()):
        raise ContentError(
            "MODEL: it answers with values that are not finite; check the range of its input "
            "(--mean, --std) and its weights."
        )
    findings = _repeats(call, images.defend, given)
    _check_gradients(on_its_device(without_softmax(network)), images.defend)
    findings += _accuracy(call, images.defend, given, labels, prepared=prepared)
    return (*findings, *_few(images), *look_over(images))


def _other_count(count: int, classes: Sequence[str]) -> str:
    """Return the sentence where a network has other classes than the data, by which has more."""
    if count < len(classes):
        told = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
        return (
            f"MODEL: it has {count} classes and the data {len(classes)} ({printable(told)}); "
            f"remove those that are no class of the network from the data, or name other data."
        )
    order = {name: index for index, name in enumerate(classes)}
    shown = json.dumps(dict(list(order.items())[:SHOWN]), ensure_ascii=False)
    more = " and so on" if len(order) > SHOWN else ""
    return (
        f"MODEL: it has {count} classes and the data {len(classes)}; write the index of each class "
        f"of the data among the network's to a file for --labels, such as {printable(shown)}{more}."
    )


def _repeats(network: Classifier, images: Images, given: Tensor) -> list[Finding]:
    """Raise unless a network names the same classes twice; warn where its logits differ."""
    again, _ = look_at(network, images)
    if alike(again, given):
        return []
    same = torch.equal(given.argmax(1), again.argmax(1))
    if not (same and bool(again.isfinite().all()) and bool(given.any())):
        raise ContentError(
            "MODEL: it names other classes when it is run again, so no rate would mean anything; "
            "turn its randomness off (dropout in evaluation mode, a fixed seed in forward)."
        )
    apart = float((again - given).abs().amax() / given.abs().amax())
    return [
        _warning(
            "repeats",
            f"Run twice on the same images, the network names the same classes but its logits "
            f"differ by {apart:.1%} of the largest, so rates vary from run to run.",
            "Turn its randomness off (dropout in evaluation mode, a fixed seed in forward).",
        )
    ]


def _check_gradients(network: Classifier, images: Images) -> None:
    """Raise where the search has no gradient to follow: such a model would be reported as clean."""
    pixels = some_of(images)[0][:8].requires_grad_()
    with torch.enable_grad():
        best = network(pixels).float().topk(2, dim=1).values
        margin = (best[:, 0] - best[:, 1]).sum()
        slope = (
            torch.autograd.grad(margin, pixels, allow_unused=True)[0]
            if margin.requires_grad
            else None
        )
    if slope is None or not bool(slope.any()):
        raise ContentError(
            "MODEL: its logits do not change with the pixels, as far as gradients show, so no "
            "trigger can be searched for; give the differentiable network, without rounding, "
            "argmax or detach()."
        )


def _accuracy(
    network: Classifier, images: Images, given: Tensor, labels: Tensor, *, prepared: bool
) -> list[Finding]:
    right = _share(given, labels)
    if right >= FINE:
        return []
    chance = 1 / max(int((torch.bincount(labels) > 0).sum()), 2)
    guesses = right <= chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))
    remedy = _other_order(images, given, labels, right) or (
        _other_range(network, images, right) if not prepared else None
    )
    said = f"It names the right class for only {right:.0%} of {len(labels)} images"
    if remedy is not None and guesses:
        raise ContentError(
            f"MODEL: {said[0].lower()}{said[1:]}, no better than guessing; {remedy}."
        )
    if remedy is not None:
        return [_warning("accuracy", f"{said}.", f"{remedy[0].upper()}{remedy[1:]}.")]
    if guesses:
        return [
            _warning(
                "accuracy",
                f"{said}, no better than guessing, so a verdict says little.",
                "Check that data, --labels, --size, --mean and --std are those of the model.",
            )
        ]
    return []


def _share(given: Tensor, labels: Tensor) -> float:
    return float((given.argmax(1) == labels).double().mean())


def _other_order(images: Images, given: Tensor, labels: Tensor, right: float) -> str | None:
    """Return the remedy where one permutation of the classes explains the answers."""
    classes = len(images.classes)
    table = torch.zeros(classes, classes, dtype=torch.int64)
    table.index_put_((labels, given.argmax(1)), torch.ones_like(labels), accumulate=True)
    occurring = (table.sum(1) > 0).nonzero()[:, 0]
    named = [int(to) for to in table.argmax(1)[occurring]]
    rows = [int(row) for row in occurring]
    explained = int(table[occurring].amax(1).sum()) / len(labels)
    if len(set(named)) < len(named) or explained < max(FINE, right + GAIN):
        return None
    order = {images.classes[label]: to for label, to in zip(rows, named, strict=True)}
    shown = json.dumps(dict(list(order.items())[:SHOWN]), ensure_ascii=False)
    more = " and so on" if len(order) > SHOWN else ""
    return (
        f"its classes have another order, in which {explained:.0%} are right: write "
        f"{printable(shown)}{more} to a file for --labels"
    )


def _other_range(network: Classifier, images: Images, right: float) -> str | None:
    """Return the remedy where images that are prepared in another way are classified better."""
    pixels, labels = some_of(images)
    with torch.no_grad():
        shares = {
            flags: _share(network(change(pixels)), labels) for flags, change in RANGES.items()
        }
    flags = max(shares, key=lambda name: shares[name])
    if shares[flags] < right + GAIN:
        return None
    return (
        f"it seems to have been trained with another range of input values: with {flags} it is "
        f"right on {shares[flags]:.0%}"
    )


def _few(images: Split) -> list[Finding]:
    counts = torch.bincount(images.evaluate.targets, minlength=len(images.evaluate.classes))
    occurring = counts[counts > 0]
    fewest = int(occurring.min())
    if fewest >= FEW:
        return []
    name = printable(images.evaluate.classes[int((counts == fewest).nonzero()[0])])
    return [
        _warning(
            "images per class",
            f"Class {name!r} has only {fewest} images held back, so that rates are coarse.",
            f"Add images, best {FEW} and more of each class.",
        )
    ]


def _warning(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check=check, severity="warning", sentence=sentence, remedy=remedy)
