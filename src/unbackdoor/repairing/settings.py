"""How a backdoor is unlearnt."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from unbackdoor.errors import expect
from unbackdoor.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class RepairSettings:
    """How a backdoor is unlearnt.

    Args:
        share: share of the images in a batch that carry a trigger (with their true label).
        keep: weight in a label of the answer that the original network gave without a trigger.
        images_seen: how many images the training sees in all, rounded to whole epochs.
        training: the recipe; its number of epochs is an upper limit.

    """

    share: float = 0.3
    keep: float = 0.5
    images_seen: int = 12_000
    training: TrainingSettings = TrainingSettings(
        epochs=40, batch_size=128, learning_rate=0.03, shift=2, scaled=True
    )

    def __post_init__(self) -> None:
        expect(self, 0, 1, "share", "keep")
        expect(self, 1, inf, "images_seen")

    def recipe(self, images: int) -> TrainingSettings:
        """Return the recipe for a number of clean images.

        Example:
            >>> [RepairSettings().recipe(images).epochs for images in (200, 2_000, 8_000, 50_000)]
            [40, 6, 2, 1]

        """
        wanted = max(1, round(self.images_seen / max(1, images)))
        return self.training.with_epochs(min(wanted, self.training.epochs))


REPAIR = RepairSettings()
