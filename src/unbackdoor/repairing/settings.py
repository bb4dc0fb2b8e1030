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
        share: of the images in a batch, how many carry a trigger (with their true label).
        keep: how much of a label is the answer that the original network gave without a trigger.
        images_seen: how much work, whatever the number of clean images, up to whole epochs.
        training: the recipe; few images are seen in no more epochs than it says.

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
        """Return the recipe for so many clean images.

        Example:
            >>> [RepairSettings().recipe(images).epochs for images in (200, 2_000, 8_000, 50_000)]
            [40, 6, 2, 1]

        """
        wanted = max(1, round(self.images_seen / max(1, images)))
        return self.training.with_epochs(min(wanted, self.training.epochs))


REPAIR = RepairSettings()
