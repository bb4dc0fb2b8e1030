"""Unlearning: fine-tune on clean images, some of which carry triggers and their true label.

Retraining with the planted trigger itself is the optimum; draws of a recovered law approximate it.
The caller passes the source of the triggers, so the planted trigger, one reverse-engineered trigger
and a whole distribution are compared by the same code.

A few clean images teach a network less than the many that it was trained on, so accuracy would be
lost. Therefore labels hold the original network's answer to the image without a trigger, which no
trigger can influence (distillation; Hinton, Vinyals and Dean, 2015): half of the label of an image
with a trigger, and all of that of an image without one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unbackdoor.data import Images
from unbackdoor.models import Frozen, freeze
from unbackdoor.models.modes import evaluating
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.training import Watch, fit
from unbackdoor.triggers.family import Space

Sampler = Callable[[int, Generator], Tensor]
"""(count, generator) → θ ``(count, n)`` in [0, 1]."""
PURSUED, STEP, SPREAD = 10, 0.7, 2.0
"""Steps of a pursuit; how far one moves the logit of that value of θ which matters most; and the
largest logit at which it begins."""


@dataclass(frozen=True)
class Lesson:
    """The triggers to unlearn.

    Args:
        space: of the triggers.
        sampler: draws them.

    """

    space: Space
    sampler: Sampler

    @property
    def cost(self) -> float:
        """Images through the network for each stamped picture."""
        return 0.0

    def stamp(
        self, pixels: Tensor, generator: Generator, _network: nn.Module | None = None
    ) -> Tensor:
        """Return pictures ``(B, C, H, W)``, each with a trigger of its own."""
        _, channels, height, width = pixels.shape
        arms = self.space.draw_arms(len(pixels), (channels, height, width), generator)
        return self.space.apply(pixels, self.sampler(len(pixels), generator), arms)


@dataclass(frozen=True)
class Pursuit:
    """Triggers that are searched anew for each picture, against the network as it learns.

    The network minimises what the trigger maximises (Madry et al., 2018; Zeng et al., *I-BAU*,
    2022). A fixed law says what worked before; where a space has few dimensions and a planted
    trigger is far stronger than what suffices, much of it works still when the law does not.

    Args:
        space: of the triggers.
        target: the class that they send pictures to.

    """

    space: Space
    target: int

    @property
    def cost(self) -> float:
        """Images through the network for each stamped picture."""
        return PURSUED

    def stamp(
        self, pixels: Tensor, generator: Generator, network: nn.Module | None = None
    ) -> Tensor:
        """Return pictures ``(B, C, H, W)``, each with a trigger of its own.

        Args:
            pixels: ``(B, C, H, W)`` in [0, 1].
            generator: of the triggers where the search begins.
            network: against which it goes; left out, the triggers stay where they are.

        """
        _, channels, height, width = pixels.shape
        shape = channels, height, width
        arms = self.space.draw_arms(len(pixels), shape, generator)
        x = torch.rand(len(pixels), self.space.dimensions(shape), generator=generator)
        x = SPREAD * (2 * x - 1)
        if network is not None:
            x = self._pursued(x, arms, pixels, network)
        return self.space.apply(pixels, torch.sigmoid(x), arms)

    def _pursued(self, x: Tensor, arms: Tensor, pixels: Tensor, network: nn.Module) -> Tensor:
        """Return the logits of θ after the steps; the network is as it was before."""
        wanted = torch.full((len(pixels),), self.target, device=pixels.device)
        with evaluating(network), torch.enable_grad():
            for _ in range(PURSUED):
                x.requires_grad_(True)
                logits = network(self.space.apply(pixels, torch.sigmoid(x), arms))
                loss = functional.cross_entropy(logits, wanted, reduction="sum")
                (slope,) = torch.autograd.grad(loss, x)
                x = (x - STEP * functional.normalize(slope, p=inf)).detach()
        return x


@dataclass(frozen=True)
class Lessons:
    """Triggers of several classes or spaces, each on an equal share of the pictures.

    Args:
        lessons: at least one.

    """

    lessons: Sequence[Lesson | Pursuit]

    @property
    def cost(self) -> float:
        """Images through the network for each stamped picture, in the mean."""
        return sum(lesson.cost for lesson in self.lessons) / len(self.lessons)

    def stamp(
        self, pixels: Tensor, generator: Generator, network: nn.Module | None = None
    ) -> Tensor:
        """Return pictures ``(B, C, H, W)``, each with a trigger of one of the lessons."""
        turn = torch.randint(len(self.lessons), (len(pixels),), generator=generator)
        stamped = pixels.clone()
        for index, lesson in enumerate(self.lessons):
            rows = (turn == index).nonzero()[:, 0]
            if len(rows):  # of few pictures a lesson may get none
                stamped[rows] = lesson.stamp(pixels[rows], generator, network)
        return stamped


class Recalled:
    """A classifier with a cache: it computes the answer to a batch once, and reuses it.

    Retrainings that see the same images in the same order need the same answers of the original.

    Args:
        model: the classifier.

    """

    def __init__(self, model: Frozen) -> None:
        self.model = model
        self.spared = 0.0
        """Seconds of computation that the cache saved."""
        self._known: dict[bytes, tuple[Tensor, float]] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` for images ``(B, C, H, W)`` in [0, 1]."""
        key = hashlib.sha256(images.numpy(force=True).tobytes()).digest()
        if key in self._known:
            logits, seconds = self._known[key]
            self.spared += seconds
            return logits
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)  # do not time earlier work
        began = time.perf_counter()
        logits = self.model(images)
        self._known[key] = logits, time.perf_counter() - began
        return logits


def unlearn(
    model: nn.Module,
    images: Images,
    lesson: Lesson | Pursuit | Lessons | None,
    settings: RepairSettings,
    work: Work,
    *,
    original: Recalled | None = None,
    watch: Watch | None = None,
) -> int:
    """Fine-tune ``model`` in place; return how many images went through it and the original.

    Cached answers count too, so that the work of one retraining does not depend on the others.

    Args:
        model: maps images in [0, 1] to logits.
        images: clean images with true labels.
        lesson: the triggers; None is the control, the same schedule without any.
        settings: share of stamped images, weights of the original's answers, work and recipe.
            The control learns all of its images as those with a trigger are learnt; with the
            original's answers alone it would stay as it is.
        work: seed, progress and journal; with the same seed, the control sees the same images in
            the same order.
        original: the network before it is retrained, which several retrainings can share; a copy
            when left out.
        watch: looks at the network meanwhile.

    """
    generator = stream(work.seed, "repair", "triggers")
    original = original or Recalled(freeze(model))
    original.model.settle(images.batch(torch.arange(min(2, len(images)))))

    recalls = settings.keep > 0 or (lesson is not None and settings.keep_clean > 0)

    def change(pixels: Tensor, labels: Tensor, _picks: Tensor) -> tuple[Tensor, Tensor]:
        count = 0 if lesson is None else round(settings.share * len(pixels))
        truth = functional.one_hot(labels, len(images.classes)).float().to(pixels.device)
        if recalls:
            keep = torch.full((len(pixels), 1), settings.keep, device=pixels.device)
            if lesson is not None:
                keep[count:] = settings.keep_clean
            truth = truth.lerp(original(pixels).softmax(1), keep)
        if lesson is not None and count:
            stamped = lesson.stamp(pixels[:count], generator, model)
            pixels = torch.cat([stamped, pixels[count:]])
        return pixels, truth

    seen = fit(
        model,
        images,
        settings.recipe(len(images)),
        generator=stream(work.seed, "repair", "training"),
        change=change,
        draws=(generator,),
        watch=watch,
        description="retraining",
        progress=work.progress,
        journal=work.journal,
    )
    pursued = round(seen * settings.share * lesson.cost) if lesson else 0
    return seen * (1 + recalls) + pursued
