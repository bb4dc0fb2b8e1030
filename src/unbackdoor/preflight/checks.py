"""Checks whether a scan would be meaningful: each finding is a sentence and a remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError, printable
from unbackdoor.metrics import Classifier, guessed
from unbackdoor.models.alike import alike
from unbackdoor.models.logits import without_softmax
from unbackdoor.preflight.findings import warning
from unbackdoor.preflight.look import ask, on_its_device, some_of
from unbackdoor.preflight.pictures import look_over
from unbackdoor.preflight.remedies import (
    AS_IT_IS,
    FINE,
    SHOWN,
    Remedy,
    as_labels,
    best_of,
    order_for,
    remedy_for,
    seen_by,
)
from unbackdoor.preflight.turned import turned_for
from unbackdoor.results import Finding

FEW = 10
"""Held-back images of a class below which its rate is called coarse."""
APART = 0.2
"""How much less often a network may be right about the later images before it is said."""
HALF, LARGE = 0.5, 0.2
"""Accuracy below which a remedy that raises it by so much has to be taken or turned down first."""
NEARLY = 0.9
"""Accuracy from which no range can raise it by as much as one has to."""


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
    given, labels = ask(call, images.defend)
    classes = images.defend.classes
    if given.shape[1] != len(classes):
        from_one = int(min(part.targets.min() for part in (images.defend, images.evaluate))) == 1
        if from_one and given.shape[1] == len(classes) - 1:
            raise ContentError(
                f"MODEL: it has {given.shape[1]} classes, and the labels of the data go from 1 to "
                f"{given.shape[1]}; number the classes from 0, so write each label less by 1."
            )
        few = given.shape[1] > len(classes)
        remedy = order_for(network, images.defend, prepared=prepared) if few else None
        raise ContentError(_other_count(given.shape[1], classes, remedy))
    if not bool(given.isfinite().all()):
        raise ContentError(
            "MODEL: it answers with values that are not finite; check the range of its input "
            "(--mean, --std) and its weights."
        )
    if len(given) > 1 and bool((given == given[:1]).all()):
        raise ContentError(_same_answer(network, images.defend, prepared=prepared))
    findings = _repeats(call, images.defend, given)
    ways = (without_softmax(network), network)
    if not any(_has_gradients(on_its_device(way), images.defend) for way in ways):
        raise ContentError(_no_gradients(network, images.defend, prepared=prepared))
    findings += _accuracy(network, images.defend, given, labels, prepared=prepared)
    findings += _apart(call, images.evaluate, given, labels)
    return (*findings, *_few(images), *look_over(images))


def _other_count(count: int, classes: Sequence[str], remedy: Remedy | None) -> str:
    """Return the sentence where a network has other classes than the data, by which has more.

    Args:
        count: of the network's classes.
        classes: of the data.
        remedy: which of the network's they are, where its answers show it.

    """
    if count < len(classes):
        told = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
        return (
            f"MODEL: it has {count} classes and the data {len(classes)} ({printable(told)}); "
            f"remove those that are no class of the network from the data, or name other data."
        )
    have = f"MODEL: it has {count} classes and the data {len(classes)}"
    if remedy is None:
        names = [printable(json.dumps(name, ensure_ascii=False)) for name in classes[:SHOWN]]
        form = ", ".join(f"{name}: …" for name in names)
        return (
            f"{have}, and its answers do not show which of its classes those are; write the index "
            f"that each had when it was trained to a file for --labels, of the form {{{form}}}."
        )
    added = f"add {remedy.flags}, and " if remedy.flags else ""
    return (
        f"{have}; {added}write the index of each class of the data among the network's to a file "
        f"for --labels: {as_labels(remedy.order)}, with which {remedy.share:.0%} are right."
    )


def _same_answer(network: nn.Module, images: Images, *, prepared: bool) -> str:
    """Return the sentence where the answer does not depend on the picture."""
    remedy = remedy_for(network, images, prepared=prepared)
    advice = (
        remedy.text
        if remedy is not None
        else "its weights are dead (all zero behind a ReLU, say), or its input has another range: "
        "check --mean and --std, or train or fetch it anew"
    )
    return (
        f"MODEL: it answers the same to every picture, so no trigger can be searched for; {advice}."
    )


def _repeats(network: Classifier, images: Images, given: Tensor) -> list[Finding]:
    """Raise unless a network names the same classes twice; warn where its logits differ."""
    again, _ = ask(network, images)
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
        warning(
            "repeats",
            f"Run twice on the same images, the network names the same classes but its logits "
            f"differ by {apart:.1%} of the largest, so rates vary from run to run.",
            "Turn its randomness off (dropout in evaluation mode, a fixed seed in forward).",
        )
    ]


def _has_gradients(network: Classifier, images: Images) -> bool:
    """Return whether the search has a gradient to follow: without one, any model looks clean."""
    for pixels in torch.split(some_of(images, 8)[0], 1):  # one at a time, which is enough for most
        leaf = pixels.clone().requires_grad_()
        with torch.enable_grad():
            best = network(leaf.clone()).float().topk(2, dim=1).values
            margin = (best[:, 0] - best[:, 1]).sum()
            slope = (
                torch.autograd.grad(margin, leaf, allow_unused=True)[0]
                if margin.requires_grad
                else None
            )
        if slope is not None and bool(slope.any()):
            return True
    return False


def _no_gradients(network: nn.Module, images: Images, *, prepared: bool) -> str:
    """Return the sentence where logits do not change with the pixels.

    In a range that is not its own a network may have none alive of what it computes with.
    """
    remedy = remedy_for(network, images, prepared=prepared)
    advice = (
        remedy.text
        if remedy is not None
        else "give the differentiable network, without rounding, thresholds, argmax or detach(), "
        "or with gradients of their own in their place (torch.autograd.Function)"
    )
    return (
        f"MODEL: its logits do not change with the pixels, as far as gradients show, so no trigger "
        f"can be searched for; {advice}."
    )


def _accuracy(
    network: nn.Module, images: Images, given: Tensor, labels: Tensor, *, prepared: bool
) -> list[Finding]:
    """Raise or warn where a network is right too seldom, with the remedy where one is known."""
    right = float((given.argmax(1) == labels).double().mean())
    if right >= NEARLY and not guessed(given.argmax(1), labels):
        return []
    seen = seen_by(network, images, prepared=prepared)
    guesses = seen[0].guesses
    said = f"It names the right class for only {right:.0%} of {len(labels)} images"
    if (remedy := best_of(seen, images)) is not None:
        text = remedy.text
        said += ", no better than guessing" if guesses else ""
        # where it guesses nothing would be searched, so whatever helps for certain comes first
        if guesses or (right < HALF and remedy.gain >= LARGE and _unsaid(remedy)):
            turned_down = f"add that, or {AS_IT_IS} to scan it as it is"
            text += (
                ""
                if remedy.order
                else f"; {turned_down if _unsaid(remedy) else 'say that instead'}"
            )
            raise ContentError(f"MODEL: {said[0].lower()}{said[1:]}; {text}.")
        return [warning("accuracy", f"{said}.", f"{text[0].upper()}{text[1:]}.")]
    if right >= FINE and not guesses:
        return []
    known = "--labels and --size" if prepared else "--labels, --size, --mean and --std"
    usual = f"Check that the data and {known} are those that it was trained with."
    advice = turned_for(network, images, seen[0].right) or usual
    if guesses:
        said = f"{said}, no better than guessing, so a verdict says little."
        return [warning("accuracy", said, advice)]
    return [warning("accuracy", f"{said}, so a verdict says less.", advice)]


def _unsaid(remedy: Remedy) -> bool:
    """Return whether a remedy is more than another range than that which was said."""
    return bool(remedy.order) or not remedy.instead


def _apart(network: Classifier, later: Images, given: Tensor, labels: Tensor) -> list[Finding]:
    """Warn where the later images of each class, which are held back, are labelled worse.

    Args:
        network: images in [0, 1] → logits.
        later: the images that are held back.
        given: logits for some of the earlier ones.
        labels: of those.

    """
    first = float((given.argmax(1) == labels).double().mean())
    answered, targets = ask(network, later)
    second = float((answered.argmax(1) == targets).double().mean())
    # the difference of two shares varies by this where nothing is wrong
    chance = math.sqrt(first * (1 - first) / len(labels) + second * (1 - second) / len(targets))
    if first < FINE or first - second < max(APART, 4 * chance):
        return []
    return [
        warning(
            "later images",
            f"It names the right class for {first:.0%} of {len(labels)} of the first images of "
            f"each class and for only {second:.0%} of {len(targets)} of the last, which are held "
            f"back, so that no rate means much.",
            "Check the labels of the last images of each class, or of the last parts of the data.",
        )
    ]


def _few(images: Split) -> list[Finding]:
    counts = torch.bincount(images.evaluate.targets, minlength=len(images.evaluate.classes))
    occurring = counts[counts > 0]
    fewest = int(occurring.min())
    if fewest >= FEW:
        return []
    name = printable(images.evaluate.classes[int((counts == fewest).nonzero()[0])])
    return [
        warning(
            "images per class",
            f"Class {name!r} has only {fewest} images held back, so that rates are coarse.",
            f"Add images, best {FEW} and more of each class.",
        )
    ]
