"""MM-BD (Wang, Xiang, Miller and Kesidis, *MM-BD: Post-Training Detection …*, S&P 2024).

A backdoor makes one class win by more than any other can. So for each class pictures of noise are
changed until the logit of the class exceeds the largest other one by as much as possible, without
any image. The largest margin of one class that none of the others explains is that of a backdoor:
the authors fit a gamma distribution to the others.

As in the published code a step follows the plain gradient: its optimiser is made anew for each
step, so that its momentum does nothing. There a batch of all pictures ends when the sum of their
margins hardly changes; here too. Pixels are cut off at 0 and 1 only where the network sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from unbackdoor.data import Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.steps import Steps
from unbackdoor.errors import expect, expect_above
from unbackdoor.metrics import margins
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Shape, Space


@dataclass(frozen=True, kw_only=True)
class MarginSettings:
    """How margins are made large; the defaults are the published ones.

    Args:
        pictures: random starts for each class.
        steps: at most.
        learning_rate: of a step along the gradient of the sum of the margins.
        settled: relative change of that sum below which a class is done.

    """

    pictures: int = 30
    steps: int = 300
    learning_rate: float = 0.01
    settled: float = 1e-5

    def __post_init__(self) -> None:
        expect(self, 1, inf, "pictures", "steps")
        expect(self, 0, inf, "settled")
        expect_above(self, 0, "learning_rate")


@dataclass(frozen=True)
class LargestMargin:
    """The largest margin of each class, which is its statistic; it looks for no trigger.

    Args:
        settings: how margins are made large.
        name: in evidence and tables.

    """

    settings: MarginSettings = MarginSettings()
    name: str = "MM-BD"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Make margins large; images serve only to tell the accuracy."""
        del spaces
        held = HeldBack(model, images.evaluate, 1)
        steps = Steps(model, work.journal)
        found: list[ClassEvidence] = []
        classes = range(len(images.defend.classes))
        with work.progress.task(self.name, len(classes)) as task:
            for target in classes:
                margin = steps.keep(
                    f"class {target}",
                    float,
                    lambda target=target: self._largest(
                        model, images.defend.shape, target, work.seed
                    ),
                )
                found.append(held.without_trigger(target, margin))
                task.advance()
        return held.collected(self.name, found)

    def _largest(self, model: Frozen, shape: Shape, target: int, seed: int) -> float:
        settings = self.settings
        generator = stream(seed, self.name, target)
        x = torch.rand(settings.pictures, *shape, generator=generator).to(model.device)
        before = inf
        best = -inf
        for _ in range(settings.steps):
            slopes: list[Tensor] = []
            reached: list[Tensor] = []
            for part in torch.split(x, model.at_once(shape)):
                part = part.detach().requires_grad_()
                logits = model(part.clamp(0, 1))
                margin = margins(logits, torch.full((len(part),), target, device=logits.device))
                margin.sum().backward()
                assert part.grad is not None
                slopes.append(part.grad)
                reached.append(margin.detach().double())
            every = torch.cat(reached)
            best, total = float(every.max()), float(every.sum())
            x = x + settings.learning_rate * torch.cat(slopes)
            if before < inf and abs(before - total) < settings.settled * abs(before):
                break
            before = total
        return best
