"""What a network answers with: the one tensor of logits in it, or why none can be taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from unbackdoor.data import Images
from unbackdoor.errors import ContentError, printable
from unbackdoor.models import Adapted, Log, Odds, Pair, Pick, Row
from unbackdoor.models.alike import probabilities
from unbackdoor.preflight.findings import note
from unbackdoor.preflight.look import LOOKED_AT, moved_to, some_of
from unbackdoor.results import Finding

Path = tuple[str | int, ...]
NAMES = ("logits", "logit")
DEEPEST, MOST = 4, 64
"""How deep an answer is looked into, and how many of its parts are looked at."""


@torch.no_grad()
def read_answers(
    module: nn.Module, before: list[nn.Module], images: Images
) -> tuple[list[nn.Module], list[Finding]]:
    """Return the steps that make logits ``(B, classes)`` of what a network answers.

    Args:
        module: in evaluation mode.
        before: what images pass first.
        images: that it takes.

    Raises:
        ContentError: no tensor of its answer, or more than one, could be the logits.

    """
    network = Adapted(module, before=before)
    pixels = some_of(images, min(LOOKED_AT, images.chunk))[0]
    answer: object = network(moved_to(network, pixels))
    classes, findings = len(images.classes), list[Finding]()
    path, logits = _chosen(answer, len(pixels), classes, type(module).__name__)
    steps: list[nn.Module] = []
    if path:
        steps.append(Pick(path))
        findings.append(
            note(
                "answer",
                f"The network answers with several values; its logits are taken from "
                f"{written(path)}.",
                "",
            )
        )
    if logits.ndim == 1 or logits.shape[1:].numel() == 1:
        return [*steps, _of_one(logits, images, findings)], findings
    if logits.ndim > 2:
        steps.append(Row())
        logits = logits.flatten(1)
    if probabilities(logits.float()):
        steps.append(Log())
        findings.append(
            note(
                "softmax",
                "The network answers with probabilities; their logarithms are used as logits.",
                "Give the network without its last softmax where you can.",
            )
        )
    return steps, findings


def written(path: Path) -> str:
    """Return how a part of an answer is written in Python.

    Example:
        >>> written((0, "logits", ".scores"))
        "[0]['logits'].scores"

    """
    return printable(
        "".join(
            key if isinstance(key, str) and key.startswith(".") else f"[{key!r}]" for key in path
        )
    )


def _chosen(answer: object, count: int, classes: int, name: str) -> tuple[Path, Tensor]:
    """Return the one tensor that can only be the logits, and where it is."""
    rows = [
        (path, tensor)
        for path, tensor in _tensors(answer)
        if tensor.is_floating_point() and _of_rows(tensor, count)
    ]
    groups = (
        [row for row in rows if row[0] and str(row[0][-1]).removeprefix(".") in NAMES],
        [row for row in rows if row[1].shape[1:].numel() == classes],
        [row for row in rows if row[1].shape[1:].numel() > 1],
        rows,
    )
    found = next((group for group in groups if group), rows)
    if len(found) == 1 and not (isinstance(answer, Tensor) and answer.ndim == 1 and classes != 2):
        return found[0]
    if isinstance(answer, Tensor):
        raise ContentError(
            f"MODEL: expected a row of logits for each image, came an answer of shape "
            f"{tuple(answer.shape)}; give the network without what follows its classifier."
        )
    wrapped = (
        f"class Chosen({name}): forward = lambda self, x: {name}.forward(self, x)"
        f"{written(found[0][0]) if found else '[0]'}"
    )
    what = (
        f"it answers with {len(found)} tensors that could be the logits "
        f"({', '.join(written(path) for path, _ in found[:4])})"
        if found
        else f"its answer is a {type(answer).__name__} without a row of logits for each image"
    )
    raise ContentError(
        f"MODEL: {what}; wrap it: add the line “{wrapped}” with the one that counts to the file of "
        f"--arch, and name Chosen there."
    )


def answers_each(answer: object, count: int) -> bool:
    """Return whether an answer holds so many rows or numbers, one for each image."""
    return any(_of_rows(tensor, count) for _, tensor in _tensors(answer))


def _of_rows(tensor: Tensor, count: int) -> bool:
    in_rows = bool(tensor.ndim) and tensor.shape[:2].numel() == tensor.numel()
    return in_rows and len(tensor) == count


def _tensors(answer: object, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Yield the tensors in an answer with their places: of tuples, lists, mappings and classes."""
    if isinstance(answer, Tensor):
        yield path, answer
        return
    if len(path) >= DEEPEST:
        return
    given = cast("Any", answer)
    parts: list[tuple[str | int, Any]] = []
    if isinstance(answer, Mapping):
        parts = [(key, value) for key, value in given.items() if isinstance(key, str | int)]
    elif isinstance(answer, tuple) and hasattr(given, "_fields"):
        parts = [(f".{field}", getattr(given, field)) for field in given._fields]
    elif isinstance(answer, tuple | list):
        parts = [(index, given[index]) for index in range(min(len(given), MOST))]
    elif dataclasses.is_dataclass(answer):
        names = [field.name for field in dataclasses.fields(answer)]
        parts = [(f".{name}", getattr(given, name)) for name in names]
    for key, value in parts[:MOST]:
        yield from _tensors(value, (*path, key))


def _of_one(logits: Tensor, images: Images, findings: list[Finding]) -> nn.Module:
    """Return what makes two logits of one number for each image, and say so."""
    classes = images.classes
    if len(classes) != 2:
        raise ContentError(
            f"MODEL: it answers with one number for each image, which tells two classes apart, and "
            f"the data has {len(classes)}; give pictures of its two classes alone by --data."
        )
    second = printable(classes[1])
    odds = bool(((logits >= 0) & (logits <= 1)).all())
    how = (
        "probability p is used as logits [log(1 − p), log p]"
        if odds
        else "logit z is used as [0, z]"
    )
    findings.append(
        note(
            "one logit",
            f"The network answers with one number; its {how}, so that it is {second!r} above "
            f"{'one half' if odds else '0'}.",
        )
    )
    return Odds() if odds else Pair()
