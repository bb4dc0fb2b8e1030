"""The detector of this project: a bandit over arms in each space, then a walk to less.

In each space a bandit looks for triggers towards every class at many places. The best of them walk
down: they are made weaker step by step (a patch loses pixels, a pattern its amplitude) as long as
the weaker trigger suffices. Nearly any class can be reached by a strong trigger, in clean networks
too; the evidence for a backdoor is how little is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from unbackdoor.data import Images, Split
from unbackdoor.detectors import maps
from unbackdoor.detectors.detector import HeldBack
from unbackdoor.detectors.evidence import ClassEvidence, Evidence
from unbackdoor.detectors.objective import temperature
from unbackdoor.detectors.settings import BANDIT, BanditSettings
from unbackdoor.detectors.steps import Steps
from unbackdoor.detectors.trails import Findings, Measure, Trail, is_certain, worth_measuring
from unbackdoor.detectors.walks import SpaceSearch
from unbackdoor.models import Frozen
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.triggers.family import Space

T = TypeVar("T")
FURTHER = 2
"""How often walks go on after they were measured, at most."""


@dataclass(frozen=True)
class ArmSearch:
    """Search triggers towards every class in several spaces.

    Args:
        settings: how much work.
        evaluate: largest number of held-back images on which the weakest triggers are measured.
        suspects: classes that get a search of their own whatever rises, such as those whose
            triggers were unlearnt.
        held: measurements on the same held-back images, where there are some already.

    """

    settings: BanditSettings = BANDIT
    evaluate: int = 500
    suspects: tuple[int, ...] = ()
    held: HeldBack | None = None
    name: str = "arms"

    def __call__(
        self, model: Frozen, images: Split, spaces: Sequence[Space], work: Work
    ) -> Evidence:
        """Search in each space."""
        forward, backward = model.passes, model.backward_passes
        steps = Steps(model, work.journal, work.until)
        scale = temperature(model, images.defend)
        searches: list[SpaceSearch] = []
        found: list[Findings] = []
        late: list[str] = []
        with work.progress.task("searching", len(spaces)) as task:
            for space in spaces:
                if work.late:
                    break
                search = SpaceSearch(self.settings, model, images.defend, space, scale, work.seed)
                search.until = work.until
                if is_certain((way for one in found for way in one.trails), images.defend.shape):
                    search.do_less()
                found.append(steps.keep(space.name, Findings, search.findings, [search.generator]))
                searches.append(search)
                if work.late:
                    late.append(space.name)
                task.advance()
        held = self.held or HeldBack(model, images.evaluate, self.evaluate)
        measure = Measure(held, images.defend, work.seed, self.settings)
        measured: list[ClassEvidence] = []
        with work.progress.task("measuring", len(spaces)) as task:
            for search, one in zip(searches, found, strict=True):
                more, left = _evidence(search, one, measure, steps, work, self.suspects)
                measured += more
                late += left
                task.advance()
        unbegun = [space.name for space in spaces[len(found) :]]
        more, left = self._of_each(model, images.defend, spaces, scale, measure, steps, work)
        measured += more
        return Evidence(
            detector=self.name,
            classes=measured or held.nothing(spaces[0]).classes,
            accuracy=measure.exactly.accuracy,
            image_passes=model.passes - forward,
            image_passes_backward=model.backward_passes - backward,
            places=[place for one in found for place in one.places],
            left_out=[*dict.fromkeys([*unbegun, *late, *left])],
            pictures=measure.exactly.pictures,
            count=len(images.defend.classes),
        )

    def _of_each(
        self,
        model: Frozen,
        images: Images,
        spaces: Sequence[Space],
        scale: float,
        measure: Measure,
        steps: Steps,
        work: Work,
    ) -> tuple[list[ClassEvidence], list[str]]:
        """Look for triggers under which each class goes to a class of its own.

        Returns:
            What was measured, and the spaces that were left out because the time was up.

        """
        right = maps.answered_right(model, images, stream(work.seed, "maps", "right"))
        measured: list[ClassEvidence] = []
        chosen = maps.spaces(spaces)
        left: list[str] = []
        with work.progress.task("searching each class's own", len(chosen)) as task:
            for space in chosen:
                walks: list[Trail] = []
                if not work.late:
                    search = SpaceSearch(
                        self.settings, model, right, space, scale, work.seed, "maps"
                    )
                    search.until = work.until
                    walks = steps.keep(f"{space.name}, maps", list[Trail], search.maps)
                if work.late:
                    left.append(f"{space.name} towards each class's own")
                walks = [one for one in walks if one.success[0] >= self.settings.promising]
                name = f"{space.name}, maps down"
                measured += steps.keep(name, list[ClassEvidence], partial(measure, walks))
                task.advance()
        return measured, left


def _evidence(
    search: SpaceSearch,
    found: Findings,
    measure: Measure,
    steps: Steps,
    work: Work,
    suspects: Sequence[int] = (),
) -> tuple[list[ClassEvidence], list[str]]:
    """Measure what was found in one space, and walk with those that were overlooked.

    Returns:
        What was measured, and the searches that were left out because the time was up.

    """
    left: list[str] = []
    name, promising = search.space.name, search.settings.promising

    def walked(
        part: str, todo: Sequence[T], walk: Callable[[Sequence[T]], list[Trail]], told: str
    ) -> list[Trail]:
        """Return the walks of what there is to do, as far as there is time for it."""
        if not todo:
            return []
        known = partial(steps.keep, part, list[Trail], partial(walk, todo), [search.generator])
        walks = [] if work.late else known()
        if work.late:
            left.append(f"{name}{told}")
        return walks

    best = steps.keep(f"{name}, best", list[ClassEvidence], lambda: measure.roughly(found.best))
    weaker = ", weaker triggers than suffice"
    missed = search.unwalked(found, best)
    walks = [*found.trails, *walked(f"{name}, more", missed, search.overlooked, weaker)]
    walks = [trail for trail in walks if trail.success[0] >= promising]
    rose = search.rose(walks, suspects)
    classes = "a class" if len(rose) == 1 else f"{len(rose)} classes"
    own = f" towards {classes} for which something rose"
    again = walked(f"{name}, again", rose, partial(search.again, walks=walks), own)
    walks += [trail for trail in again if trail.success[0] >= promising]
    kinds = {trail.kind for trail in walks}
    for trail, one in zip(found.best, best, strict=True):
        if one.asr >= promising and trail.kind not in kinds:
            walks.append(trail)
    rough = [one for one in best if one.asr < promising]
    walks = worth_measuring(walks, search.settings.enough, search.images.shape)
    down = steps.keep(f"{name}, down", list[ClassEvidence], partial(measure, walks))
    measured = [*rough, *down]
    for step in range(FURTHER):
        todo = search.unfinished(walks, down)
        walks = walked(f"{name}, further {step}", todo, search.further, weaker)
        part = f"{name}, further {step} down"
        down = steps.keep(part, list[ClassEvidence], partial(measure, walks))
        measured += down
    return measured, left
