"""Does a backdoor stay away? A repaired network is trained further, as its owner may do.

A few poisoned images among the clean ones can bring a backdoor back that is only hidden, and so can
clean fine-tuning. A network that was never attacked shows what the same training teaches anew.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import msgspec
from torch import nn

from unbackdoor.attack import Backdoor, Poison
from unbackdoor.attack.implant import measure
from unbackdoor.data import Split
from unbackdoor.rng import stream
from unbackdoor.training import TrainingSettings, fit

RECIPE = TrainingSettings(
    epochs=1, batch_size=128, learning_rate=0.01, label_smoothing=0.0, warm_up=0.0
)


@dataclass(frozen=True, kw_only=True)
class Further:
    """How a network is trained further.

    Args:
        epochs: passes over the clean images.
        poisoned: how many of them are poisoned.

    """

    epochs: int = 1
    poisoned: int = 0

    @property
    def name(self) -> str:
        """In the table.

        Example:
            >>> Further(poisoned=5).name, Further(epochs=5).name
            ('5 poisoned images', '5 clean epochs')

        """
        if self.poisoned:
            return f"{self.poisoned} poisoned image{'s' * (self.poisoned > 1)}"
        return f"{self.epochs} clean epochs"


FURTHER = (Further(poisoned=1), Further(poisoned=5), Further(poisoned=20), Further(epochs=5))


class Relearnt(msgspec.Struct, frozen=True, kw_only=True):
    """What further training brought back.

    Args:
        name: of the training.
        accuracy: after it.
        asr: of the planted trigger after it.

    """

    name: str
    accuracy: float
    asr: float


def relearn(
    network: nn.Module, images: Split, backdoor: Backdoor, further: Further, seed: int
) -> Relearnt:
    """Train a copy of a network further and measure it.

    Args:
        network: not changed.
        images: clean ones to train with, and those to measure on.
        backdoor: what was planted.
        further: the training.
        seed: of every draw.

    """
    network = copy.deepcopy(network).requires_grad_(True)
    rate = further.poisoned / len(images.defend)
    poison = Poison(
        images.defend, replace(backdoor, rate=rate, cover=0.0), stream(seed, "relearn", "poison")
    )
    fit(
        network,
        images.defend,
        RECIPE.with_epochs(further.epochs),
        generator=stream(seed, "relearn", "training"),
        change=poison,
        draws=(poison.generator,),
    )
    accuracy, (asr,) = measure(network, images, backdoor, seed)
    return Relearnt(name=further.name, accuracy=accuracy, asr=asr)
