"""What a network shows without any search: the weights of its last layer, and answers to noise.

``HeadWeights`` is the signature of Fields, Samragh, Javaheripi, Koushanfar and Javidi (*Trojan
Signatures in DNN Weights*, ICCV workshops 2021): the weights of a backdoored class in the last
layer are larger on average. The authors use Dixon's Q test; here an outlier is told by the median,
as for Neural Cleanse. ``NoiseAnswers`` asks what a network answers to pictures of uniform noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unbackdoor.data import Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import Evidence
from unbackdoor.detectors.steps import Steps
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space

AT_A_TIME = 64
"""Pictures of noise in a step that is kept."""


@dataclass(frozen=True)
class HeadWeights:
    """The mean weight of each class in the last layer, its statistic; 0 where there is no such.

    Args:
        name: in evidence and tables.

    """

    name: str = "head weights"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Read the weights; images serve only to tell the accuracy."""
        del spaces, work
        held = HeldBack(model, images.evaluate, 1)
        classes = len(images.defend.classes)
        heads = [
            layer
            for layer in model.module.modules()
            if isinstance(layer, nn.Linear) and layer.out_features == classes
        ]
        means = heads[-1].weight.detach().double().mean(1).cpu() if heads else torch.zeros(classes)
        return held.collected(
            self.name,
            [held.without_trigger(index, float(mean)) for index, mean in enumerate(means)],
        )


@dataclass(frozen=True)
class NoiseAnswers:
    """The mean log-probability of each class for pictures of noise, which is its statistic.

    Args:
        pictures: how many.
        name: in evidence and tables.

    """

    pictures: int = 1024
    name: str = "noise answers"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Ask; images serve only to tell the accuracy."""
        del spaces
        held = HeldBack(model, images.evaluate, 1)
        steps, shape = Steps(model, work.journal), images.defend.shape
        generator = stream(work.seed, self.name)

        def ask(count: int) -> Tensor:
            noise = torch.rand(count, *shape, generator=generator).to(model.device)
            with torch.no_grad():
                parts = [model(part).cpu() for part in torch.split(noise, images.defend.chunk)]
            return torch.cat(parts).log_softmax(1).double().sum(0)

        total = torch.zeros(len(images.defend.classes), dtype=torch.float64)
        for number, some in enumerate(torch.split(torch.arange(self.pictures), AT_A_TIME)):
            count = len(some)
            total += steps.keep(
                f"noise {number}", Tensor, lambda count=count: ask(count), (generator,)
            )
        return held.collected(
            self.name,
            [
                held.without_trigger(index, float(value) / self.pictures)
                for index, value in enumerate(total)
            ],
        )
