"""Neural Cleanse (Wang et al., S&P 2019): one reversed trigger for each class.

It minimises the cross-entropy towards the class over clean images with the trigger, by Adam. Where
the space is a patch, the patch itself is the mask, so no mask is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.reversal import descend
from unbackdoor.detectors.settings import REVERSAL, ReversalSettings
from unbackdoor.detectors.steps import Steps
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space


@dataclass(frozen=True)
class NeuralCleanse:
    """Reverse-engineer one trigger for each class; the statistic is its held-back success.

    Args:
        settings: steps, images in a step, learning rate.
        evaluate: largest number of held-back images on which a trigger is measured.

    """

    settings: ReversalSettings = REVERSAL
    evaluate: int = 500
    name: str = "neural-cleanse"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Search in each space."""
        held = HeldBack(model, images.evaluate, self.evaluate)
        steps = Steps(model, work.journal)

        def evidence_of(space: Space, target: int) -> ClassEvidence:
            start = stream(work.seed, "neural-cleanse", space.name, target)
            theta = reverse(model, images.defend, space, target, self.settings, generator=start)
            return held.evidence(space, theta, target, work.seed)

        found: list[ClassEvidence] = []
        classes = range(len(images.defend.classes))
        with work.progress.task(self.name, len(spaces) * len(classes)) as task:
            for space in spaces:
                for target in classes:
                    found.append(
                        steps.keep(
                            f"{space.name} class {target}",
                            ClassEvidence,
                            lambda space=space, target=target: evidence_of(space, target),
                        )
                    )
                    task.advance()
        return held.collected(self.name, found)


def reverse(
    model: Frozen,
    images: Images,
    space: Space,
    target: int,
    settings: ReversalSettings,
    *,
    generator: Generator,
) -> Tensor:
    """Return one trigger θ ``(n,)`` that sends images to ``target``.

    Args:
        model: the frozen classifier.
        images: the defender's.
        space: where to search.
        target: the class.
        settings: steps, images in a step, learning rate.
        generator: of the start, the images and the arms; another generator finds another trigger.

    """
    wanted = torch.full((settings.batch,), target)

    def add_gradient(x: Tensor) -> None:
        picks = torch.randint(len(images), (settings.batch,), generator=generator)
        arms = space.draw_arms(settings.batch, images.shape, generator)
        for rows in torch.split(torch.arange(settings.batch), model.at_once(images.shape)):
            theta = torch.sigmoid(x).expand(len(rows), -1)
            logits = model(space.apply(images.batch(picks[rows]), theta, arms[rows]))
            loss = functional.cross_entropy(logits, wanted[rows].to(logits.device), reduction="sum")
            (loss / settings.batch).backward()

    start = torch.rand(space.dimensions(images.shape), generator=generator)
    steps, rate = settings.steps, settings.learning_rate
    return descend(start, add_gradient, steps=steps, learning_rate=rate)[0]
