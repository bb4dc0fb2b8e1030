"""The detector of this project: it screens every class, then models the triggers of suspects.

For each class the evidence is the held-back success of its best trigger, and the curve β →
log|V_β|: how large the set of triggers with F ≥ β is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from unbackdoor.data import Images, Split
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence, LogVolume
from unbackdoor.detectors.objective import Panel
from unbackdoor.detectors.recovery import (
    Known,
    objective_of_class,
    panel_of,
    recover,
    screen_classes,
    steps_of_a_staircase,
)
from unbackdoor.detectors.screening import Screening
from unbackdoor.detectors.settings import SearchSettings
from unbackdoor.detectors.stairs import to_records
from unbackdoor.detectors.steps import Steps
from unbackdoor.mesa import Stair
from unbackdoor.mesa.uniform import log_volume_upper_bound
from unbackdoor.metrics import attack_success
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space

CANDIDATES = 4
"""Draws of the highest stair that are tried as the best trigger, besides the screened one."""


@dataclass(frozen=True)
class Mesa:
    """Screen every class, and recover the law of triggers of those that look suspicious.

    Args:
        settings: how much work.

    """

    settings: SearchSettings = SearchSettings()
    name: str = "mesa"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Search in each space."""
        forward, backward = model.passes, model.backward_passes
        found: list[ClassEvidence] = []
        searches: list[_Search] = []
        for space in spaces:
            panel = panel_of(model, images.defend, space, self.settings, work.seed)
            steps = Steps(model, work.journal.within(space.name))
            screening, known = screen_classes(
                panel, images.defend, self.settings, work.seed, work.progress, steps=steps
            )
            searches.append(_Search(panel, screening, known, steps))
        held = HeldBack(model, images.evaluate, self.settings.evaluate)
        for search in searches:
            for target in range(len(images.defend.classes)):
                suspect = _Class(search, images.defend, held, self.settings, work, target)
                found.append(search.steps.keep(f"class {target}", ClassEvidence, suspect.evidence))
        return Evidence(
            detector=self.name,
            classes=found,
            accuracy=held.accuracy,
            image_passes=model.passes - forward,
            image_passes_backward=model.backward_passes - backward,
        )


@dataclass(frozen=True)
class _Search:
    """The results of screening one space."""

    panel: Panel
    screening: Screening
    known: Known
    steps: Steps


@dataclass(frozen=True)
class _Class:
    """One class in one space, and the inputs of its evidence."""

    search: _Search
    images: Images
    held: HeldBack
    settings: SearchSettings
    work: Work
    target: int

    def evidence(self) -> ClassEvidence:
        """Recover the staircase if the screening found a trigger, and measure the best trigger."""
        stairs = self._stairs()
        space, best = self.search.panel.space, self._best(stairs)
        return msgspec.structs.replace(
            self.held.evidence(space, best, self.target, self.work.seed),
            log_volume=self._volumes(stairs),
            stairs=to_records(stairs) if stairs else [],
        )

    def _stairs(self) -> tuple[Stair, ...]:
        search, settings, seed = self.search, self.settings, self.work.seed
        if float(search.screening.asr[self.target].max()) < settings.survives:
            return ()
        name = self.images.classes[self.target]
        total = steps_of_a_staircase(settings)
        with self.work.progress.task(f"staircase of {name}", total) as task:
            triggers = search.screening.theta[self.target]
            on = objective_of_class(
                search.panel, self.images, triggers, search.known, self.target, settings, seed
            )
            return recover(on, settings, seed, task.advance, search.steps)

    def _best(self, stairs: Sequence[Stair]) -> torch.Tensor:
        """Return the trigger that works best on the defender's images, ``(n,)``."""
        screening, target, space = self.search.screening, self.target, self.search.panel.space
        candidates = screening.theta[target][screening.asr[target].argmax()][None]
        if not stairs:
            return candidates[0]
        top = stairs[-1].values.topk(min(CANDIDATES, len(stairs[-1].values))).indices
        some = self.images.thinned(self.settings.evaluate)

        def success(theta: torch.Tensor) -> float:
            arms = stream(self.work.seed, "scan", "success", "defend", target)
            return attack_success(self.held.model, some, space, theta[None], target, generator=arms)

        return max(torch.cat([candidates, stairs[-1].draws[top]]), key=success)

    def _volumes(self, stairs: Sequence[Stair]) -> list[LogVolume]:
        betas = self.settings.betas
        uniform = self.search.known.values[: self.settings.uniform_draws, self.target]
        volumes = [stair.log_volume for stair in stairs] or [None] * len(betas)
        return [
            LogVolume(
                beta=beta,
                value=volume,
                upper_bound=log_volume_upper_bound(int((uniform >= beta).sum()), len(uniform)),
            )
            for beta, volume in zip(betas, volumes, strict=True)
        ]
