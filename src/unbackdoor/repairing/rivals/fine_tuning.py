"""Plain fine-tuning on clean images with true labels, the control of every repair.

Unlike :func:`unbackdoor.repairing.unlearn` without triggers it has the usual schedule: one rate for
all weights, no answers of the network as it came, and a rate that falls along a cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, nn

from unbackdoor.data import Images
from unbackdoor.training import TrainingSettings, fit

TUNING = TrainingSettings(
    epochs=100, batch_size=128, learning_rate=0.01, label_smoothing=0.0, warm_up=0.0
)
"""The usual recipe of the literature."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """How a network is fine-tuned.

    Args:
        training: the recipe; the learning rate falls along a cosine.

    """

    training: TrainingSettings = TUNING


def fine_tune(
    model: nn.Module, images: Images, settings: TuningSettings, *, generator: Generator
) -> int:
    """Fine-tune ``model`` in place and return the number of images that went through it.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        settings: the recipe.
        generator: order and augmentation.

    """
    return fit(model, images, settings.training, generator=generator)
