"""The detection of Qiao, Yang and Li (NeurIPS 2019): generators of triggers towards a class.

The paper knows the attacked class and the size of the trigger, and says of a class only how often
the triggers of its generators work; it has no rule that would accuse one. See
:mod:`unbackdoor.mesa.mine` for the generator and what is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.objective import probability
from unbackdoor.detectors.steps import Steps
from unbackdoor.mesa import Mine, TestingFunction
from unbackdoor.mesa.settings import MINE_PAPER, MineSettings
from unbackdoor.metrics import attack_success
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space


@dataclass(frozen=True)
class PaperMine:
    """Fit the paper's generators; the statistic is the mean success of their draws.

    Args:
        settings: of the generators.
        betas: the levels, each with a generator of its own.
        draws: kept of each generator.
        classes: towards which triggers are looked for; every class when left out.
        name: in evidence and tables.
        evaluate: largest number of held-back images on which triggers are measured.

    """

    settings: MineSettings = MINE_PAPER
    betas: tuple[float, ...] = (0.5, 0.8, 0.9)
    draws: int = 200
    classes: tuple[int, ...] = ()
    name: str = "mine, class given"
    evaluate: int = 500

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Fit generators in each space."""
        held = HeldBack(model, images.evaluate, self.evaluate)
        steps = Steps(model, work.journal)
        classes = self.classes or tuple(range(len(images.defend.classes)))
        found: list[ClassEvidence] = []
        with work.progress.task(self.name, len(spaces) * len(classes)) as task:
            for space in spaces:
                for target in classes:
                    found.append(
                        steps.keep(
                            f"{space.name} class {target}",
                            ClassEvidence,
                            lambda space=space, target=target: self._towards(
                                model, images.defend, held, space, target, work.seed
                            ),
                        )
                    )
                    task.advance()
        return held.collected(self.name, found)

    def _towards(
        self, model: Frozen, images: Images, held: HeldBack, space: Space, target: int, seed: int
    ) -> ClassEvidence:
        generator = stream(seed, self.name, space.name, target)
        F = _piecewise(model, images, probability(model, images, space, target, generator))
        stairs = Mine(self.settings, draws=self.draws)(
            F,
            self.betas,
            space.dimensions(images.shape),
            seed=int(torch.randint(2**31, (), generator=generator)),
        )
        draws = torch.cat([stair.draws for stair in stairs])
        best = draws[torch.cat([stair.values for stair in stairs]).argmax()]
        rate = attack_success(model, held.some, space, draws, target, generator=generator)
        one = held.evidence(space, best, target, seed)
        return msgspec.structs.replace(one, statistic=rate)


def _piecewise(model: Frozen, images: Images, whole: TestingFunction) -> TestingFunction:
    """Return F with the same values and slopes, of as many pictures at a time as there is room for.

    A value depends on its own θ alone, so the slopes are taken at once and kept in place of what
    the network would keep for them.
    """

    def F(theta: Tensor) -> Tensor:  # noqa: N802
        if not theta.requires_grad:
            return torch.cat([whole(part) for part in torch.split(theta, images.chunk)])
        values: list[Tensor] = []
        slopes: list[Tensor] = []
        for part in torch.split(theta.detach(), model.at_once(images.shape)):
            part.requires_grad_()
            value = whole(part)
            (slope,) = torch.autograd.grad(value.sum(), part)
            values.append(value.detach())
            slopes.append(slope)
        moved = theta - theta.detach()
        return torch.cat(values) + (moved * torch.cat(slopes)).sum(1)

    return F
