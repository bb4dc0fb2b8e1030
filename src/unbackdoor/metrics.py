"""What is measured on a classifier: accuracy, and the attack success rate of triggers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from unbackdoor.data.images import Images
from unbackdoor.errors import ContentError, InsufficientDataError, brief
from unbackdoor.triggers.family import Space

Classifier = Callable[[Tensor], Tensor]
"""Images ``(B, C, H, W)`` in [0, 1] → logits ``(B, classes)``."""


@torch.no_grad()
def answers(
    model: Classifier,
    images: Images,
    what: str = "MODEL: it",
    remedy: str = "say what it wants, such as --size",
) -> Tensor:
    """Return what a classifier answers to the first two images.

    Args:
        model: foreign code, perhaps.
        images: what it is to take.
        what: how a sentence about it begins.
        remedy: what to do if it cannot take them.

    Raises:
        ContentError: it cannot take such images.

    """
    try:
        return model(images.batch(torch.arange(min(2, len(images)))))
    except Exception as error:  # whatever foreign code raises
        raise ContentError(
            f"{what} cannot take images of shape {images.shape} ({brief(error)}); {remedy}."
        ) from error


def predict(model: Classifier, images: Images) -> Tensor:
    """Return the predicted class of each image, ``(n,)`` int64."""
    return predict_by(model, images)[0]


def changed(before: Tensor, after: Tensor) -> tuple[int, int]:
    """Return how many images were right and are wrong, and how many were wrong and are right.

    Args:
        before: which images were answered right, ``(n,)`` bool.
        after: the same of another network.

    Example:
        >>> changed(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
        (1, 1)

    """
    return int((before & ~after).sum()), int((~before & after).sum())


@torch.no_grad()
def predict_by(model: Classifier, images: Images) -> tuple[Tensor, Tensor]:
    """Return the predicted class of each image, and how far its logit leads; both ``(n,)``."""
    predicted: list[Tensor] = []
    leads: list[Tensor] = []
    for slot in _batches(images, len(images)):
        logits = model(images.batch(slot)).cpu()
        predicted.append(logits.argmax(1))
        leads.append(margins(logits, predicted[-1]))
    return torch.cat(predicted), torch.cat(leads)


def accuracy(model: Classifier, images: Images) -> float:
    """Return the share of images whose predicted class is the label."""
    return correct(predict(model, images), images)


def correct(predicted: Tensor, images: Images) -> float:
    """Return the share of images whose predicted class, of ``predicted`` ``(n,)``, is the label."""
    return float((predicted == images.targets).double().mean())


def guessed(predicted: Tensor, labels: Tensor) -> bool:
    """Return whether answers are no better than chance, or than one class for everything.

    The mean over the classes of the share that is right is 1 / classes for either, however
    unequal the classes are; more by less than three standard deviations is no better.

    Args:
        predicted: the class that is answered for each image, ``(n,)`` int64.
        labels: the class of each, ``(n,)`` int64.

    Example:
        >>> labels = torch.tensor([0] * 90 + [1] * 10)
        >>> guessed(torch.zeros(100, dtype=torch.int64), labels), guessed(labels, labels)
        (True, False)

    """
    counts = torch.bincount(labels)
    right = torch.bincount(labels[predicted == labels], minlength=len(counts))
    occurring = counts > 0
    mean = float((right[occurring] / counts[occurring]).mean())
    classes = int(occurring.sum())
    chance = 1 / classes
    variance = chance * (1 - chance) * float((1 / counts[occurring]).sum()) / classes**2
    return mean < 1 and mean <= chance + 3 * math.sqrt(variance)


def confusion(predicted: Tensor, images: Images, target: int) -> float:
    """Return the share of images of other classes that are predicted to be of the target."""
    return float((predicted[images.targets != target] == target).double().mean())


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return z_t − max_{j≠t} z_j, positive where the target wins.

    Args:
        logits: ``(B, classes)``.
        targets: ``(B,)`` int64, on the same device.

    """
    of_target = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], -torch.inf).amax(1)
    return of_target[:, 0] - others


def attack_success(
    model: Classifier,
    images: Images,
    space: Space,
    theta: Tensor,
    target: int,
    *,
    generator: Generator,
    rounds: int = 1,
    source: int | None = None,
) -> float:
    """Return the share of images of other classes that triggers send to ``target`` (the ASR).

    Args:
        model: the classifier.
        images: images of all classes; those of ``target`` are left out.
        space: of the triggers.
        theta: ``(k, n)``; the images take turns through the k triggers.
        target: the attacker's class.
        generator: of the arms, one at random for each image and round.
        rounds: how many times every image is stamped.
        source: the class whose images are stamped; every other class when left out.

    Raises:
        InsufficientDataError: every image is of class ``target``, or none of ``source``.

    """
    wanted = torch.full_like(images.targets, target)
    if source is not None:
        wanted = torch.where(images.targets == source, wanted, images.targets)
    return sent(model, images, space, theta, wanted, generator=generator, rounds=rounds)


def sent(
    model: Classifier,
    images: Images,
    space: Space,
    theta: Tensor,
    wanted: Tensor,
    *,
    generator: Generator,
    rounds: int = 1,
) -> float:
    """Return the share of images that triggers send to the class that is wanted for each.

    Args:
        model: the classifier.
        images: images of all classes.
        space: of the triggers.
        theta: ``(k, n)``; the images take turns through the k triggers.
        wanted: ``(len(images),)`` classes; images of that very class are left out.
        generator: of the arms, one at random for each image and round.
        rounds: how many times every image is stamped.

    Raises:
        InsufficientDataError: no image is left.

    """
    return sent_by(0.0, model, images, space, theta, wanted, generator=generator, rounds=rounds)[0]


@torch.no_grad()
def sent_by(
    lead: float,
    model: Classifier,
    images: Images,
    space: Space,
    theta: Tensor,
    wanted: Tensor,
    *,
    generator: Generator,
    rounds: int = 1,
) -> tuple[float, float]:
    """Return what :func:`sent` does, and the share of images that are sent there by a lead.

    Args:
        lead: by how much the class has to exceed all others at least, in units of the logits.
        model: the classifier.
        images: images of all classes.
        space: of the triggers.
        theta: ``(k, n)``; the images take turns through the k triggers.
        wanted: ``(len(images),)`` classes; images of that very class are left out.
        generator: of the arms, one at random for each image and round.
        rounds: how many times every image is stamped.

    Raises:
        InsufficientDataError: no image is left.

    """
    others = (images.targets != wanted).nonzero()[:, 0]
    if not len(others):
        raise InsufficientDataError(
            f"images: expected some of other classes than those the trigger sends them to, came "
            f"none of {len(images)}; add images."
        )
    hits, firm = 0, 0
    for start in range(rounds):
        turn = (torch.arange(len(others)) + start * len(others)) % len(theta)
        arms = space.draw_arms(len(others), images.shape, generator)
        for slot in _batches(images, len(others)):
            stamped = space.apply(images.batch(others[slot]), theta[turn[slot]], arms[slot])
            logits, goals = model(stamped).cpu(), wanted[others[slot]]
            hit = logits.argmax(1) == goals
            hits += int(hit.sum())
            firm += int((hit & (margins(logits, goals) >= lead)).sum())
    count = rounds * len(others)
    return hits / count, firm / count


def _batches(images: Images, count: int) -> list[Tensor]:
    """Return the positions 0 … count - 1 in as many as go through a network at a time."""
    return list(torch.split(torch.arange(count), images.chunk))
