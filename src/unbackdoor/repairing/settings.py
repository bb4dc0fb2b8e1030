"""How a backdoor is unlearnt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

from unbackdoor.errors import ArgumentError, expect, expect_above
from unbackdoor.results.repairs import LEFT
from unbackdoor.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class RepairSettings:
    """How a backdoor is unlearnt.

    Args:
        share: share of the images in a batch that carry a trigger (with their true label).
        keep: weight in a label of the answer that the original network gave without a trigger.
        keep_clean: the same for the images without a trigger, beside those that carry one.
        images_seen: how many images the training sees in all, rounded to whole epochs.
        training: the recipe; its number of epochs is an upper limit.

    """

    share: float = 0.3
    keep: float = 0.5
    keep_clean: float = field(default=0.5, metadata={"later": True})
    images_seen: int = 12_000
    training: TrainingSettings = TrainingSettings(
        epochs=40, batch_size=128, learning_rate=0.03, shift=2, scaled=True
    )

    def __post_init__(self) -> None:
        expect(self, 0, 1, "share", "keep", "keep_clean")
        expect(self, 1, inf, "images_seen")

    def recipe(self, images: int) -> TrainingSettings:
        """Return the recipe for a number of clean images.

        Example:
            >>> [RepairSettings().recipe(images).epochs for images in (200, 2_000, 8_000, 50_000)]
            [40, 6, 2, 1]

        """
        wanted = max(1, round(self.images_seen / max(1, images)))
        return self.training.with_epochs(min(wanted, self.training.epochs))


TABLES = RepairSettings()
"""What the tables of the paper are measured with."""
REPAIR = RepairSettings(keep_clean=1.0)
"""What users get. Images without a trigger teach the network what it said before and nothing else,
so that it changes where triggers are and stays as it was elsewhere."""


SHORT_STEPS = 0.03
"""Limit of the gradients of a weight tensor, as a share of its norm, for networks that a common
rate would wreck."""
LEAST_RATE = 0.3
"""Factor of the learning rate below which a backdoor is hidden rather than unlearnt."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attempt at a repair differs from the recipe.

    Args:
        rate: factor of the learning rate.
        length: factor of the number of images that the training sees, and of the largest number of
            epochs.
        share: factor of the share of the images that carry triggers.
        layers: share of the weight tensors that are trained, the last ones.
        clip: limit of the gradients, see :class:`~unbackdoor.training.TrainingSettings`.

    """

    rate: float = 1.0
    length: float = 1.0
    share: float = 1.0
    layers: float = 1.0
    clip: float | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        expect_above(self, 0, "rate", "length", "share", "layers")
        expect(self, 0, 1, "layers")
        if self.clip is not None:
            expect_above(self, 0, "clip")

    @property
    def gentle(self) -> bool:
        """Whether a backdoor was seen to come back after attempts like this one."""
        return self.rate < LEAST_RATE or self.layers < 1

    def pace(self, training: TrainingSettings, epochs: int) -> TrainingSettings:
        """Return a training with the rate and the limit of this attempt.

        Args:
            training: of the recipe.
            epochs: how many it has in this attempt.

        """
        return replace(
            training,
            learning_rate=self.rate * training.learning_rate,
            epochs=max(1, epochs),
            clip=training.clip if self.clip is None else self.clip,
        )

    def of(self, settings: RepairSettings) -> RepairSettings:
        """Return the settings of this attempt."""
        training = self.pace(settings.training, round(self.length * settings.training.epochs))
        return replace(
            settings,
            share=min(1.0, self.share * settings.share),
            images_seen=max(1, round(self.length * settings.images_seen)),
            training=training,
        )


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """How a repair is watched, so that it cannot wreck a network.

    Args:
        max_accuracy_lost: the largest loss of accuracy.
        kept_back: share of the defender's images of each class that the repair is watched on.
        watched: share of the held-back images of the scan on which accuracy is watched too.
        attempts: from the strongest to gentler ones, which are made where those before them lost
            accuracy or left triggers that work.
        enough: success rate of the triggers, in excess of what goes to their class without one, up
            to which they count as unlearnt; of stronger ones, in excess of what they send to any
            other class.
        stronger: factors by which triggers are made stronger and tried too.
        mixes: where an attempt ends without accuracy, the weights of its end in means with the
            network as it came, whose accuracy lies between the two.
        looks: how often an attempt is watched.
        stamped: about how many images carry triggers in one look; few images are stamped often.
        rounds: how often triggers are unlearnt at most: again where the scan after it still finds
            some, together with these.

    """

    max_accuracy_lost: float = 0.01
    kept_back: float = 0.25
    watched: float = 0.5
    attempts: tuple[Attempt, ...] = (
        Attempt(),
        Attempt(clip=SHORT_STEPS),
        Attempt(rate=0.5),
        Attempt(rate=0.3, length=3),
        Attempt(rate=0.3, length=3, clip=SHORT_STEPS),
        Attempt(rate=0.1, length=3, share=0.5),
        Attempt(rate=0.3, length=3, layers=0.3),
    )
    enough: float = LEFT
    stronger: tuple[float, ...] = (2.0, 4.0)
    mixes: tuple[float, ...] = (0.7, 0.5)
    looks: int = 6
    stamped: int = 500
    rounds: int = field(default=1, metadata={"later": True})

    def __post_init__(self) -> None:
        expect(self, 0, 1, "max_accuracy_lost", "enough", "watched")
        expect(self, 1, inf, "looks", "stamped", "rounds")
        if not 0 < self.kept_back < 1:
            raise ArgumentError(f"kept_back: expected a share below 1, came {self.kept_back}.")
        if not all(factor > 1 for factor in self.stronger):
            raise ArgumentError(f"stronger: expected factors above 1, came {self.stronger}.")
        if not all(0 < mix < 1 for mix in self.mixes):
            raise ArgumentError(f"mixes: expected weights between 0 and 1, came {self.mixes}.")
        if not self.attempts:
            raise ArgumentError("attempts: expected at least one, came none.")


GUARD = GuardSettings(rounds=3)
"""What users get."""
