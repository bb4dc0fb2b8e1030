"""The results of the commands: typed and versioned records.

The result of a scan holds everything that a repair and a page need: some draws of each stair of
every found class, with their densities, and a few example images. Bytes are base64 in JSON.
"""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from unbackdoor.data.intake import Intake
from unbackdoor.detectors.evidence import LogVolume, Place, Rung, StairRecord
from unbackdoor.verdict.bag import Standing
from unbackdoor.verdict.careful import Check
from unbackdoor.verdict.judge import Status, Verdict
from unbackdoor.verdict.thresholds import Thresholds

SCHEMA_VERSION = 2
LEFT = 0.05
"""Excess success rate of triggers up to which they count as unlearnt."""
LARGEST = 1 << 28
MOST_VALUES = 3 * 64**2
"""Parameters of a trigger."""
MOST_DIMENSIONS = 3 * 16**2
"""The same where a density was recovered; the page needs memory for the square of this number."""
MOST_STORED = 1 << 20
"""Values of all draws together where none was."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding about a model or its images, made before any work.

    Args:
        check: the subject of the check, in a word or two.
        severity: ``note`` if nothing is left to do, ``warning`` if the user should act.
        sentence: the finding.
        remedy: what the user can do, empty if nothing is left to do.

    """

    check: str
    severity: Literal["note", "warning"]
    sentence: str
    remedy: str


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The model that was scanned.

    Args:
        path: as the user wrote it.
        sha256: of the file; empty for a model that was passed from Python.
        arch: its architecture.
        accuracy: on the held-back images.

    """

    path: str
    sha256: str
    arch: str
    accuracy: float


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The clean images that were used.

    Args:
        name: of the data set.
        sha256: over pixels and labels of the defender's, then of the held-back images.
        defend: number of images that triggers were searched and measured with.
        evaluate: number of held-back images.
        classes: the names, by index.
        intake: how the user's files were read; none for images that are part of the package, were
            passed from Python, or in older results.

    """

    name: str
    sha256: str
    defend: int
    evaluate: int
    classes: list[str]
    intake: Intake | None = None


class ClassRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The findings for one class.

    Args:
        index: of the class.
        name: of the class.
        status: ``backdoored``, ``clean``, or ``suspicious`` in between.
        asr: attack success rate of its best trigger, on held-back images of other classes.
        confusion: share of those images that the model assigns to the class without a trigger.
        best: that trigger, θ as bytes.
        log_volume: one for each β.
        stairs: the recovered law, for classes that got the full budget.
        space: of the best trigger and the law, such as ``patch:3@28,28``.
        trigger_shape: channels, height and width of the picture that θ is, row by row.
        ladder: the rates in all spaces that were searched, from weak to strong.
        sources: for each class, the share of its images that the best trigger sends to this one.
        goal: for each class, where the best trigger sends its images, if each class goes to one of
            its own (all-to-all); ``asr`` is then the rate of all of them together, over images
            that are answered right without a trigger. Empty otherwise.

    """

    index: int
    name: str
    status: Status
    asr: float
    best: bytes
    log_volume: list[LogVolume]
    confusion: float = 0.0
    stairs: list[StairRecord] = []
    space: str = ""
    trigger_shape: list[int] = []
    ladder: list[Rung] = []
    sources: list[float] = []
    goal: list[int] = []

    @property
    def dimensions(self) -> int:
        """n, the number of parameters of its best trigger."""
        return len(self.best)


class SearchedSpace(msgspec.Struct, frozen=True, kw_only=True):
    """A space in which triggers towards every class were looked for.

    Args:
        name: such as ``additive:8``.
        description: the triggers in words, to fit into "No … was found".
        counts: whether its triggers are weak enough to be evidence of a backdoor.
        clean: rate up to which a class counts as clean.
        backdoored: rate from which a class counts as backdoored.
        firm: rate by a clear lead from which it does too; None in older results.

    """

    name: str
    description: str
    counts: bool = True
    clean: float = 0.3
    backdoored: float = 0.8
    firm: float | None = None


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One held-back image before and after a found trigger is stamped on it.

    Args:
        image: bytes, channels × height × width.
        stamped: the same with the trigger.
        label: true class.
        predicted: class of the clean image.
        predicted_stamped: class of the stamped image.

    """

    image: bytes
    stamped: bytes
    label: int
    predicted: int
    predicted_stamped: int


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """The planted trigger, where it is known, and its distance to the recovered draws.

    Args:
        name: such as ``bw:170``.
        target: the class it sends images to.
        theta: as bytes.
        nearest: the draw nearest to it, as bytes.
        distance: root mean square difference of the two, in [0, 1].
        random_distance: the same for the nearest of as many uniform draws.

    """

    name: str
    target: int
    theta: bytes
    nearest: bytes
    distance: float
    random_distance: float


class ScanResult(msgspec.Struct, frozen=True, kw_only=True, tag="scan", tag_field="kind"):
    """The outcome of a scan.

    Args:
        schema_version: of this layout.
        model: the scanned model.
        data: the clean images.
        space: where triggers were looked for, as the user wrote it, such as ``auto``.
        searched: what was searched, in words that fit after "Searched:"; empty in older results.
        not_searched: what was not, in words that fit after "Not searched:"; empty in older results.
        spaces: each space that was searched.
        places: where patches were tried, and how far each rose.
        image_shape: channels, height, width.
        seed: of every draw.
        settings: every setting, by name.
        thresholds: the thresholds of the verdict.
        verdict: the answer.
        targets: classes with a backdoor.
        reason: the verdict in a sentence.
        power_checked: whether it was checked that a backdoor would have been found.
        checks: the known triggers that were planted in a copy of the model for that.
        standing: among reference networks; None where it was compared with none.
        classes: one record per class.
        examples: stamped images, for the found classes.
        original: the planted trigger, where it is known; the scan itself never uses it.
        preflight: the findings before any work.
        image_passes: images through the model forward, evaluation included.
        image_passes_backward: images through it backward.
        seconds: wall-clock time.
        versions: of the software on which the figures depend.

    """

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord
    data: DataRecord
    space: str
    searched: str = ""
    not_searched: str = ""
    spaces: list[SearchedSpace] = []
    places: list[Place] = []
    image_shape: list[int]
    seed: int
    settings: dict[str, Any]
    thresholds: Thresholds = Thresholds()
    verdict: Verdict
    targets: list[int]
    reason: str
    power_checked: bool
    checks: list[Check] = []
    standing: Standing | None = None
    classes: list[ClassRecord]
    examples: list[Example]
    original: Original | None = None
    preflight: list[Finding] = []
    image_passes: int
    image_passes_backward: int
    seconds: float
    versions: dict[str, str]


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was to be scanned.

    Args:
        path: as the user wrote it, or its path in a folder.
        sha256: of the file; empty where it cannot be read.

    """

    path: str
    sha256: str


class Unscanned(msgspec.Struct, frozen=True, kw_only=True, tag="unscanned", tag_field="kind"):
    """A model that could not be scanned; this does not mean that it is clean.

    Args:
        schema_version: of this layout.
        model: the file.
        error: the reason, in a sentence.
        exit_code: the exit code of the command line for it.

    """

    schema_version: int = SCHEMA_VERSION
    model: FileRecord
    error: str
    exit_code: int


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

    """

    name: str
    accuracy: float
    recovered_asr: float | None
    original_asr: float | None
    confusion: float


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

    """

    method: str
    learning_rate: float
    share: float
    layers: float
    images_seen: int


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """The network at one moment of a repair, on images that were kept back from it.

    Args:
        attempt: number of the attempt, from 0.
        images_seen: by the attempt so far.
        accuracy_lost: accuracy before the repair minus now, on the same images.
        asr: of the triggers that are unlearnt; None where none was known.
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
        unseen: number of images that the repair had not seen, for the figures below.
        broken: how many of them were right before the repair and are wrong after it.
        mended: how many of them were wrong and are right.
        gently: whether the state is less than a whole attempt that trains all of the network at a
            rate from which backdoors were seen to stay away; false for a repair without triggers.
        weakened: whether stronger triggers than those that were unlearnt still favour their class.
        outcome: ``kept``: accuracy fell by no more than is allowed; ``unsure``: by more, but
            chance explains as much; ``lost``: by more than chance explains; ``stuck``: no state
            with fewer working triggers had kept accuracy, so the rest was not measured.
        sentence: the same in words.

    """

    max_accuracy_lost: float
    watched: int
    attempts: list[Attempted]
    states: list[Watched]
    taken: int | None
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


class RepairResult(msgspec.Struct, frozen=True, kw_only=True, tag="repair", tag_field="kind"):
    """The outcome of a repair.

    Args:
        schema_version: of this layout.
        scan: the scan that the repair started from.
        rescan: the scan of the repaired model, with another seed and images that were not used
            before; None where no repaired model came about.
        assumed: what was taken for the backdoor; None in older results, which took the targets.
        guard: how the repair was watched; None in older results, which were not.
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
Scanned = ScanResult | Unscanned
"""The result of scanning one model."""
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
    floor = max(after.confusion, (clean.recovered_asr if clean else None) or 0.0)
    chance = 1.645 * math.sqrt(LEFT * (1 - LEFT) / max(1, result.scan.data.evaluate))
    return after.recovered_asr - floor > LEFT + chance


def versions() -> dict[str, str]:
    """Return the versions of the software on which the figures depend."""
    packages = {name: version(name) for name in ("torch", "numpy", "zuko", "safetensors")}
    return {"unbackdoor": version("unbackdoor"), "python": platform.python_version(), **packages}
