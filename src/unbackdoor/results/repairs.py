"""The results of repairs: what was assumed, what came of it, and what speaks against it."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from unbackdoor.results.records import SCHEMA_VERSION, Scanned, ScanResult
from unbackdoor.verdict.reason import Verdict

LEFT = 0.05
"""Excess success rate of triggers up to which they count as unlearnt."""
CERTAIN = 1.645
"""Standard errors beyond which a difference is more than chance (95 %, one-sided)."""


class RepairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of a repair: one network, with its rates on held-back images.

    Args:
        name: ``before``, ``repaired`` (or ``best attempt`` where a repair failed), ``fine-tuned``
            (the control: the same schedule without triggers), ``ideal`` (the same with the planted
            triggers, where they are known) or ``clean reference``.
        accuracy: on clean images.
        recovered_asr: of the triggers that are unlearnt; None where none was known.
        original_asr: of the triggers that were planted, of several the highest, where they are
            known.
        confusion: share of clean images of other classes that the network assigns to the target.
        recovered: rate of the triggers that are unlearnt towards each class, in the order of the
            classes; ``recovered_asr`` is the highest.
        without: what goes to each of these classes without a trigger.

    """

    name: str
    accuracy: float
    recovered_asr: float | None
    original_asr: float | None
    confusion: float
    recovered: list[float] = []
    without: list[float] = []


Basis = Literal["found", "suspected", "target", "trigger", "blind"]


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair took for the backdoor.

    Args:
        basis: ``found``: the targets of the scan; ``suspected``: the classes that an inconclusive
            scan left open; ``target``: a class that the user named; ``trigger``: a trigger and its
            class that the user named; ``blind``: nothing.
        sentence: the same in words.
        targets: the classes whose triggers were unlearnt.

    """

    basis: Basis
    sentence: str
    targets: list[int]


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a repair.

    Args:
        method: ``unlearning`` or the name of a repair without triggers.
        learning_rate: the peak of the schedule.
        share: share of the images that carried triggers.
        layers: share of the weight tensors that were trained, the last ones.
        images_seen: by the training.
        clip: limit of the gradients of a weight tensor, as a share of its norm; None without one.

    """

    method: str
    learning_rate: float
    share: float
    layers: float
    images_seen: int
    clip: float | None = None


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """The network at one moment of a repair, on images that were kept back from it.

    Args:
        attempt: number of the attempt, from 0.
        images_seen: by the attempt so far.
        accuracy_lost: accuracy before the repair minus now, on the same images.
        asr: of the triggers that are unlearnt; None where none was known.
        excess: of their rate over what goes to the same class without one in the network as it
            came, the largest of all classes; None where no trigger was known.
        stronger: how much more often the same triggers, made stronger, send images to their class
            than to any other; None where there are none, or none that send all to one class.
        mixed: weight of the retrained network in a mean with the one as it came; 1 without a mean.
        broken: images that were right before and are wrong now.
        mended: images that were wrong before and are right now.

    """

    attempt: int
    images_seen: int
    accuracy_lost: float
    asr: float | None
    excess: float | None = None
    stronger: float | None = None
    mixed: float = 1.0
    broken: int = 0
    mended: int = 0


Outcome = Literal["kept", "unsure", "lost", "stuck"]


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """How a repair was watched, and what it did to accuracy on images that it had not seen.

    Args:
        max_accuracy_lost: the largest loss of accuracy that was allowed.
        watched: number of the defender's images that were kept back to watch the repair.
        attempts: in the order in which they were made.
        states: every look at the network, the trade-off between accuracy and the triggers' rate.
        taken: index of the state that became the repaired network; None where none was good enough.
        turned_down: indices of states that would have become it, but lost more accuracy on images
            that the repair had not seen than is allowed and than chance explains.
        unseen: number of images that the repair had not seen, for the figures below.
        broken: how many of them were right before the repair and are wrong after it.
        mended: how many of them were wrong and are right.
        gently: whether the state is less than a whole attempt that trains all of the network at a
            rate from which backdoors were seen to stay away; false for a repair without triggers.
        weakened: whether stronger triggers than those that were unlearnt still favour their class.
        outcome: ``kept``: accuracy fell by no more than is allowed; ``unsure``: by more, but
            chance explains as much, or the images are too few to know; ``lost``: by more than
            chance explains; ``stuck``: no state with fewer working triggers had kept accuracy, so
            the rest was not measured.
        sentence: the same in words.

    """

    max_accuracy_lost: float
    watched: int
    attempts: list[Attempted]
    states: list[Watched]
    taken: int | None
    turned_down: list[int] = []
    unseen: int
    broken: int
    mended: int
    gently: bool = False
    weakened: bool = False
    outcome: Outcome
    sentence: str

    @property
    def accuracy_lost(self) -> float:
        """Accuracy before minus after, on the same unseen images."""
        return (self.broken - self.mended) / self.unseen if self.unseen else 0.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Another round of a repair, which was not taken.

    Args:
        assumed: what was taken for the backdoor in it.
        guard: how it was watched.
        rescan: the scan after it; None where no repaired model came about.

    """

    assumed: Assumption
    guard: Guarded
    rescan: ScanResult | None


class RepairResult(msgspec.Struct, frozen=True, kw_only=True, tag="repair", tag_field="kind"):
    """The outcome of a repair.

    Args:
        schema_version: of this layout.
        scan: the scan that the repair started from.
        rescan: the scan of the repaired model, with another seed and images that neither the first
            scan nor any retraining used; None where no repaired model came about.
        assumed: what was taken for the backdoor; None in older results, which took the targets.
        guard: how the repair was watched; None in older results, which were not.
        not_taken: further rounds, in which what the scan after the one before found was unlearnt as
            well; the one that was taken is told by the other fields.
        rows: the table.
        output: file of the repaired model, empty if it was not written.
        sha256: of that file.
        settings: every setting of the repair, by name.
        seed: of every draw.
        image_passes: images through a model, training and evaluation included.
        seconds: wall-clock time without the first scan.
        versions: of the software on which the figures depend.

    """

    schema_version: int = SCHEMA_VERSION
    scan: ScanResult
    rescan: ScanResult | None
    assumed: Assumption | None = None
    guard: Guarded | None = None
    not_taken: list[Round] = []
    rows: list[RepairRow]
    output: str
    sha256: str
    settings: dict[str, Any]
    seed: int
    image_passes: int
    seconds: float
    versions: dict[str, str]

    @property
    def latest(self) -> ScanResult:
        """The last scan: of the repaired model, or of the model as it came if there is none."""
        return self.rescan or self.scan


Result = ScanResult | RepairResult
WRITTEN: dict[str, Any] = {"scan": Scanned | list[Scanned], "repair": Result}
"""The type that each command writes as JSON."""


def verdict(result: Result) -> Verdict:
    """Return the verdict of a scan, or the verdict of a repair about the repaired model.

    A repair is inconclusive if the scan after it finds nothing, but unlearnt triggers still work,
    as they are or stronger, if they may come back because the network was trained but gently, or
    if accuracy may have fallen by more than is allowed.
    """
    if isinstance(result, ScanResult):
        return result.verdict
    if result.rescan is None:
        return "inconclusive"
    if result.rescan.verdict == "clean" and doubt(result):
        return "inconclusive"
    return result.rescan.verdict


Doubt = Literal["stronger", "accuracy", "works", "gentle"]


def doubt(result: RepairResult) -> Doubt | None:
    """Return what speaks most against a repair whose second scan finds nothing; None if nothing.

    ``stronger``: stronger triggers still work; ``accuracy``: it may have fallen by more than is
    allowed; ``works``: unlearnt triggers still work; ``gentle``: retraining was too gentle to last.
    """
    guard = result.guard
    if guard is not None and guard.weakened:
        return "stronger"
    if guard is not None and guard.outcome != "kept":
        return "accuracy"
    if still_works(result):
        return "works"
    return "gentle" if guard is not None and guard.gently else None


def still_works(result: RepairResult) -> bool:
    """Return whether triggers that were unlearnt send more images to their class than happens.

    What happens is what goes there without a trigger, or with one in a network that never had a
    backdoor, where one was given. Beyond :data:`LEFT` the excess has to be more than chance makes
    of it (95 %, one-sided).
    """
    rows = {row.name: row for row in result.rows}
    after, clean = rows.get("repaired"), rows.get("clean reference")
    if after is None or after.recovered_asr is None:
        return False
    rates = after.recovered or [after.recovered_asr]
    floors = after.without or [after.confusion]
    others = (clean.recovered or [clean.recovered_asr or 0.0]) if clean else [0.0] * len(rates)
    excess = max(
        rate - max(floor, other) for rate, floor, other in zip(rates, floors, others, strict=True)
    )
    chance = CERTAIN * math.sqrt(LEFT * (1 - LEFT) / max(1, result.scan.data.evaluate))
    return excess > LEFT + chance
