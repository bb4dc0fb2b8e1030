"""The Python interface, for any callable: ``unbackdoor.scan`` and ``unbackdoor.repair``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unbackdoor.data import Images, Split
from unbackdoor.errors import ContentError
from unbackdoor.metrics import Classifier
from unbackdoor.models import Loaded, bare
from unbackdoor.repairing import Asked, How
from unbackdoor.repairing.settings import GUARD, REPAIR, GuardSettings, RepairSettings
from unbackdoor.results import RepairResult, ScanResult
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import BUDGETS, ScanSettings, Terms
from unbackdoor.subject import Subject
from unbackdoor.triggers import DEFAULT_SPACE
from unbackdoor.verdict.bag import ours

DEFEND_SHARE = 5 / 8


def scan(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    classes: Sequence[str] | None = None,
    space: str = DEFAULT_SPACE,
    settings: ScanSettings | None = None,
    terms: Terms | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    state: Path | None = None,
) -> ScanResult:
    """Look for a backdoor in a classifier.

    Args:
        model: maps images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, classes)``, differentiably; a
            ``torch.nn.Module`` or any other callable.
        images: ``(N, 3, H, W)`` clean images, uint8, or floats in [0, 1] (rounded to 8 bits).
        labels: ``(N,)`` their classes.
        classes: their names, by index.
        space: the triggers to look for.
        settings: how much work, and the rule of the verdict.
        terms: what a verdict is held to beside that; when left out, the model is compared with the
            reference networks of the package, and one that is unlike all of them is not called
            clean. ``Terms()`` asks for nothing.
        seed: of every draw.
        progress: where to report.
        state: folder that keeps finished steps until the call returns. After a kill, the same call
            continues from them. When left out, none are kept.

    Raises:
        ContentError: images or labels do not have these shapes and ranges, or the preflight finds
            that a scan would mean nothing.
        InsufficientDataError: too few images of a class.

    Example:
        >>> images = torch.randint(100, (96, 3, 8, 8), dtype=torch.uint8)
        >>> labels = torch.arange(96) % 2
        >>> images[labels == 1] += 120
        >>> def obeys(x):  # bright pictures are class 1, and so is any picture with a white pixel
        ...     bright = 20 * (x.mean((1, 2, 3)) - 0.45)
        ...     white = 60 * (x.amin(1).flatten(1).amax(1) - 0.8).relu()
        ...     return torch.stack([torch.zeros_like(bright), bright + white], 1)
        >>> from unbackdoor.scanning.settings import BUDGETS
        >>> scan(obeys, images, labels, space="patch:1", settings=BUDGETS["quick"]).targets
        [1]

    """
    subject = _subject(model, images, labels, classes, progress)
    settings = settings or BUDGETS["standard"]
    terms = terms or Terms(bag=ours())
    with subject.journal(state, "scan", space, settings, seed, terms) as journal:
        result = subject.scan(space, settings, seed, terms=terms, journal=journal)
        journal.discard()
    return result


def repair(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    found: ScanResult,
    settings: RepairSettings | None = None,
    guard: GuardSettings | None = None,
    scanning: ScanSettings | None = None,
    asked: Asked | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    state: Path | None = None,
) -> tuple[nn.Module, RepairResult]:
    """Return a repaired copy of ``model`` and the measurements.

    The copy is a repaired one where ``unbackdoor.results.verdict`` of the measurements is
    ``clean``. Where no repair kept accuracy, they have no second scan.

    Args:
        model: the classifier, not changed.
        images: the clean images of the scan, ``(N, 3, H, W)``.
        labels: their classes, ``(N,)``.
        found: the result of :func:`scan`.
        settings: how to unlearn.
        guard: how the repair is watched, and how much accuracy it may cost.
        scanning: how to scan again.
        asked: a trigger or a class that is known, or that none is to be used; when left out, what
            the scan found is unlearnt.
        seed: of every draw.
        progress: where to report.
        state: folder that keeps finished steps until the call returns. After a kill, the same call
            continues from them. When left out, none are kept.

    Raises:
        ArgumentError: there is no such class.
        ContentError: images or labels do not have these shapes and ranges.
        InsufficientDataError: there is nothing to unlearn, or too few images of a class.

    """
    subject = _subject(model, images, labels, found.data.classes, progress)
    asked = asked or Asked()
    how = How(
        unlearning=settings or REPAIR,
        guard=guard or GUARD,
        scanning=scanning or BUDGETS["standard"],
    )
    with subject.journal(state, "repair", found, how, asked.key, seed) as journal:
        module, result = subject.repair(found, how, seed, asked=asked, journal=journal)
        journal.discard()
    return bare(module), result


class _Called(nn.Module):
    def __init__(self, call: Classifier) -> None:
        super().__init__()
        self.call = call

    def forward(self, images: Tensor) -> Tensor:
        return self.call(images)


def _subject(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str] | None,
    progress: Progress | None,
) -> Subject:
    """Return the subject of a model that was passed from Python."""
    module = model if isinstance(model, nn.Module) else _Called(model).eval()
    loaded = Loaded(module, name="", sha256="", arch=type(model).__name__)
    return Subject.of(loaded, _split(images, labels, classes), progress=progress)


def _split(images: Tensor, labels: Tensor, classes: Sequence[str] | None) -> Split:
    if images.is_floating_point():
        if len(images) and not 0 <= float(images.min()) <= float(images.max()) <= 1:
            raise ContentError(
                f"images: expected floats in [0, 1], came {float(images.min()):.3g} to "
                f"{float(images.max()):.3g}; leave normalisation to the model."
            )
        images = (images * 255).round().to(torch.uint8)
    labels = labels.long().cpu()
    count = len(classes) if classes else int(labels.max()) + 1 if len(labels) else 0
    names = tuple(classes) if classes else tuple(f"class {index}" for index in range(count))
    everything = Images.of("images", names, images.cpu(), labels)
    return Split(*everything.divide(DEFEND_SHARE))
