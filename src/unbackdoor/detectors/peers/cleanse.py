"""Neural Cleanse with a mask and a pattern, as BackdoorBench and TrojanZoo run it.

For each class a mask and a pattern are optimised over the same images again and again, with a price
of the mask that adapts itself (:mod:`.masks`). The smallest mask that works says how little is
enough; its verdict is the anomaly index over the classes (Wang et al., S&P 2019).

What differs from ``defense/nc.py`` of BackdoorBench (Wu et al., 2022):

- It takes 5 % of the training set, 2,500 images. Where the defender has fewer, they come again, so
  that an epoch has as many passes. Images are not augmented.
- Its loop stops once the price has risen and fallen and 25 epochs brought no mask that is smaller
  by 1 %. The published settings write this 1 % as 99 where 0.99 is compared with, by which the loop
  would never stop; here it does, which saves it passes.

As there, a class towards which nothing worked has the mask of its first epoch. TrojanZoo (Pang et
al., 2022) begins at random, takes the whole training set and keeps the smallest mask, whether it
works or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import msgspec
import torch
from torch import Generator, Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.peers.masks import SPACE, Masked, Price
from unbackdoor.detectors.steps import Steps
from unbackdoor.errors import expect, expect_above
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Shape, Space


@dataclass(frozen=True, kw_only=True)
class CleanseSettings:
    """How masks are optimised; the defaults are those of BackdoorBench.

    Args:
        epochs: passes over the images for each class, at most.
        images: in an epoch.
        batch: images in a step.
        learning_rate: of Adam.
        momenta: β₁ and β₂ of Adam.
        works: success from which a trigger works.
        price: of a pixel of the mask, at first.
        multiplier: by which the price rises; it falls by this to the power of 1.5.
        patience: epochs in a row after which it does.
        stop_after: epochs without a smaller mask after which a class is done.
        stop_share: a mask is smaller if it has less than this share of the smallest one.
        random_start: whether the mask and the pattern begin at random, else at σ(2).
        only_working: whether only a mask that works can be the smallest one.

    """

    epochs: int = 80
    images: int = 2500
    batch: int = 256
    learning_rate: float = 0.1
    momenta: tuple[float, float] = (0.5, 0.9)
    works: float = 0.98
    price: float = 1e-3
    multiplier: float = 2.0
    patience: int = 5
    stop_after: int = 25
    stop_share: float = 0.99
    random_start: bool = False
    only_working: bool = True

    def __post_init__(self) -> None:
        expect(self, 1, inf, "epochs", "images", "batch", "patience", "stop_after", "multiplier")
        expect(self, 0, 1, "works", "stop_share")
        expect_above(self, 0, "learning_rate", "price")


BACKDOORBENCH = CleanseSettings()
TROJANZOO = CleanseSettings(
    epochs=10,
    images=50_000,
    batch=100,
    momenta=(0.9, 0.999),
    works=0.99,
    multiplier=1.5,
    patience=10,
    stop_after=20,
    random_start=True,
    only_working=False,
)
"""As published, over the whole training set."""


@dataclass(frozen=True)
class Cleanse:
    """Neural Cleanse; the statistic of a class is minus the size of its mask, in pixels.

    Args:
        settings: how masks are optimised.
        name: in evidence and tables.
        evaluate: largest number of held-back images on which a trigger is measured.

    """

    settings: CleanseSettings = BACKDOORBENCH
    name: str = "neural-cleanse, BackdoorBench"
    evaluate: int = 500

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Look for masks of any size, whatever the spaces."""
        del spaces
        held = HeldBack(model, images.evaluate, self.evaluate)
        steps = Steps(model, work.journal)

        def evidence_of(target: int) -> ClassEvidence:
            generator = stream(work.seed, self.name, target)
            theta, size = smallest(model, images.defend, target, self.settings, generator)
            found = held.evidence(SPACE, theta, target, work.seed)
            return msgspec.structs.replace(found, statistic=-size)

        found: list[ClassEvidence] = []
        classes = range(len(images.defend.classes))
        with work.progress.task(self.name, len(classes)) as task:
            for target in classes:
                found.append(
                    steps.keep(
                        f"class {target}", ClassEvidence, lambda target=target: evidence_of(target)
                    )
                )
                task.advance()
        return held.collected(self.name, found)


def smallest(
    model: Frozen, images: Images, target: int, settings: CleanseSettings, generator: Generator
) -> tuple[Tensor, float]:
    """Return the trigger θ ``(n,)`` with the smallest mask, and the L1 norm of that mask.

    Args:
        model: the frozen classifier.
        images: the defender's.
        target: the class.
        settings: how it is optimised.
        generator: of the order of the images, and of a random start.

    """
    masked = Masked(
        _start(images.shape, settings, generator), settings.learning_rate, settings.momenta
    )
    price = Price(
        first=settings.price,
        up=settings.multiplier,
        down=settings.multiplier**1.5,
        patience=settings.patience,
        begin=settings.patience,
        value=settings.price,
    )
    pixels = images.shape[1] * images.shape[2]
    best: Tensor | None = None
    least, before, unchanged = inf, inf, 0
    for _ in range(settings.epochs):
        epoch = masked.pass_over(
            model,
            images,
            _order(len(images), settings.images, generator),
            target,
            batch=settings.batch,
            price=price.value * pixels,
        )
        works = epoch.success >= settings.works
        if (works or not settings.only_working) and epoch.size < least:
            best, least = masked.theta, epoch.size
        if least < inf:
            unchanged = unchanged + 1 if least >= settings.stop_share * before else 0
        before = min(before, least)
        if price.rose and price.fell and unchanged >= settings.stop_after:
            break
        price.follow(works)
        best = masked.theta if best is None else best
    assert best is not None
    mask = SPACE.picture(best[None], images.shape)[:, 0]
    return best, pixels * float(mask.mean())


def _start(shape: Shape, settings: CleanseSettings, generator: Generator) -> Tensor:
    dimensions = SPACE.dimensions(shape)
    if settings.random_start:
        return torch.randn(dimensions, generator=generator)
    return torch.ones(dimensions)


def _order(there: int, wanted: int, generator: Generator) -> Tensor:
    """Return images in random order, each as often as any other, ``(wanted,)``."""
    rounds = -(-wanted // there)
    shuffled = [torch.randperm(there, generator=generator) for _ in range(rounds)]
    return torch.cat(shuffled)[:wanted]
