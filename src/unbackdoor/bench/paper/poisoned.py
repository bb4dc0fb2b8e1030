"""The training images of a backdoored network: some stamped and with changed labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.attack import Poison, backdoor_of, poison_of
from unbackdoor.bench.paper.networks import Network, training_images
from unbackdoor.data import Images
from unbackdoor.repairing.rivals.spectral import penultimate

BATCH = 256


@dataclass(frozen=True)
class Poisoned:
    """The training set of a backdoored network.

    Args:
        images: before the attack.
        labels: ``(n,)``, after the attack.
        poison: stamps and relabels images.

    """

    images: Images
    labels: Tensor
    poison: Poison

    @classmethod
    def of(cls, network: Network) -> Poisoned:
        """Return the training images of a backdoored network."""
        images = training_images(network.data).defend
        backdoor = backdoor_of(network.attack, images)
        assert backdoor is not None
        poison = poison_of(images, backdoor, network.seed)
        labels = images.targets.clone()
        labels[poison.poisoned] = network.target
        return cls(images, labels, poison)

    def features(self, module: nn.Module, picks: Tensor) -> Tensor:
        """Return the inputs of the last layer of ``module``, for the images at ``picks``."""
        return penultimate(
            module,
            (
                self.poison(self.images.batch(some), self.labels[some], some)[0]
                for some in torch.split(picks, BATCH)
            ),
        )
