"""The findings of a detector: plain numbers for each class and space, without thresholds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class LogVolume(msgspec.Struct, frozen=True, kw_only=True):
    """The volume of the set of triggers with F ≥ β: log|V_β| in nats, 0 for the cube [0, 1]^n.

    Args:
        beta: the level.
        value: an estimate, None where no working trigger was found.
        upper_bound: the true value is below it with 95 % confidence (from uniform draws).

    """

    beta: float
    value: float | None
    upper_bound: float | None


class StairRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The recovered law of triggers at one level.

    Args:
        beta: the level.
        gamma: its weight in the staircase.
        draws: θ as bytes, row by row, ``count`` × ``dimensions``, 0 … 255.
        log_q: log density of each draw, in nats; empty where the law has no density.
        values: F of each draw, over a fixed set of the defender's images and places.
        valid_fraction: share of draws with F ≥ β.
        entropy_bound: lower bound of log|V_β| from the law's exact entropy.
        log_volume: importance-sampling estimate of log|V_β|.
        effective_sample_size: of that estimate.

    """

    beta: float
    gamma: float
    draws: bytes
    log_q: list[float]
    values: list[float]
    valid_fraction: float
    entropy_bound: float | None
    log_volume: float | None
    effective_sample_size: float


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """How well triggers of one space work towards a class.

    Args:
        space: its name.
        asr: rate of the best trigger found, on held-back images of other classes, in [0, 1].
        firm: the highest rate by a clear lead: of images in which the class exceeds all others by
            at least half of what the answer to a typical clean image does. None where it was not
            measured.

    """

    space: str
    asr: float
    firm: float | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How far a patch at one place rose in the search, towards the class it rose most for.

    Args:
        row, column: of the upper left corner, in pixels.
        size: side of the patch, in pixels.
        target: the class.
        rate: share of the images that obeyed at the end of the round in which it was given up.

    """

    row: int
    column: int
    size: int
    target: int
    rate: float


class ClassEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence for a backdoor towards one class, from one space of triggers.

    Args:
        index: of the class.
        name: of the class.
        space: name of the space of the best trigger; empty from a detector that looks for none.
        statistic: the number by which the detector ranks classes, larger for a backdoor.
        best: the best trigger towards the class, θ as bytes 0 … 255; empty where none was looked
            for.
        asr: attack success rate of that trigger on held-back images of other classes, in [0, 1];
            0 where there is none.
        firm: the same by a clear lead: of images in which the class exceeds all others by at least
            half of what the answer to a typical clean image does. None where it was not measured.
        confusion: share of those images that the model assigns to the class without a trigger.
        log_volume: one for each β; empty from detectors that measure none.
        stairs: the recovered law, for classes that got the full budget.
        sources: for each class, the share of its images that the best trigger sends to this one;
            empty where this was not measured.
        goal: for each class, where the trigger sends its images, if that is not this class for all
            (all-to-all); the rates are then of images that are answered right, each sent to its
            own class. Empty otherwise.

    """

    index: int
    name: str
    space: str
    statistic: float
    best: bytes
    asr: float
    firm: float | None = None
    confusion: float
    log_volume: list[LogVolume] = []
    stairs: list[StairRecord] = []
    sources: list[float] = []
    goal: list[int] = []

    @property
    def excess(self) -> float:
        """The rate among images that are not of the class anyway; 0 if there are none."""
        return _beyond(self.asr, self.confusion)

    @property
    def firm_excess(self) -> float:
        """The rate by a clear lead in the same way; 0 where it was not measured."""
        return 0.0 if self.firm is None else _beyond(self.firm, self.confusion)


def _beyond(rate: float, confusion: float) -> float:
    return 0.0 if confusion == 1 else (rate - confusion) / (1 - confusion)


def ladder(named: Iterable[tuple[str, ClassEvidence]]) -> list[Rung]:
    """Return the highest rates of each name, in the order of the names' first occurrence."""
    best: dict[str, Rung] = {}
    for name, one in named:
        before = best.get(name, Rung(space=name, asr=0.0))
        known = [firm for firm in (before.firm, one.firm) if firm is not None]
        best[name] = Rung(space=name, asr=max(before.asr, one.asr), firm=max(known, default=None))
    return list(best.values())


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """What the strength of a trigger is compared with: the pictures that it was tried on.

    Args:
        side: the shorter side, in pixels.
        contrast: how far a pixel can move on average, the mean of max(x, 1 − x): 0.5 for grey
            pictures, 1 for black and white ones. A picture that is blended in moves pixels by its
            share of that.

    """

    side: int = 32
    contrast: float = 0.75


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of a detector in one model.

    Args:
        detector: its name.
        classes: one record for each class and space.
        accuracy: of the model on held-back images.
        image_passes: images through the model forward, evaluation included.
        image_passes_backward: images through it backward.
        places: where a search tried patches, and how far each rose.
        pictures: on which triggers were tried.
        left_out: names of the spaces that were not searched because the time was up.
        count: number of classes that the model tells apart; None where that is not known.

    """

    detector: str
    classes: list[ClassEvidence]
    accuracy: float
    image_passes: int
    image_passes_backward: int
    places: list[Place] = []
    pictures: Pictures = Pictures()
    left_out: list[str] = []
    count: int | None = None
