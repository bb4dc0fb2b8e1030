"""Unlearning: fine-tune on clean images of which a share carries triggers and its true label.

Retraining with the planted trigger itself is the best that can be done; draws of a recovered law
approximate it. Where the triggers come from is the caller's affair, so that the planted trigger,
one reversed trigger and a whole distribution are compared by the same code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from unbackdoor.data import Images
from unbackdoor.progress import Progress
from unbackdoor.rng import stream
from unbackdoor.settings import RepairSettings
from unbackdoor.training import fit
from unbackdoor.triggers import TriggerSpace

Sampler = Callable[[int, Generator], Tensor]
"""(count, generator) → θ ``(count, n)`` in [0, 1]."""


def unlearn(
    model: nn.Module,
    images: Images,
    space: TriggerSpace,
    sampler: Sampler | None,
    settings: RepairSettings,
    *,
    seed: int,
    description: str = "repair",
    progress: Progress | None = None,
) -> int:
    """Fine-tune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        space: how a trigger is stamped.
        sampler: where triggers come from; None is the control, the same schedule without any.
        settings: share of stamped images, and the recipe.
        seed: of every draw; the control sees the same images in the same order.
        description: what the progress bar is called.
        progress: where to report.

    """
    generator = stream(seed, "repair", "triggers")

    def stamp(pixels: Tensor, labels: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
        count = round(settings.share * len(picks))
        if sampler is None or not count:
            return pixels, labels
        places = space.places(count, images.shape, generator)
        stamped = space.stamp(pixels[:count], sampler(count, generator), places)
        return torch.cat([stamped, pixels[count:]]), labels

    return fit(
        model,
        images,
        settings.training,
        generator=stream(seed, "repair", "training"),
        change=stamp,
        description=description,
        progress=progress,
    )
