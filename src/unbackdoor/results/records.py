"""The results of scans: typed and versioned records.

The result of a scan holds everything that a repair and a page need: some draws of each stair of
every found class, with their densities, and a few example images. Bytes are base64 in JSON.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from unbackdoor.data.intake import Intake
from unbackdoor.detectors.evidence import LogVolume, Place, Rung, StairRecord
from unbackdoor.verdict.bag import Standing
from unbackdoor.verdict.careful import Check
from unbackdoor.verdict.case import Status
from unbackdoor.verdict.reason import Verdict
from unbackdoor.verdict.thresholds import Thresholds

SCHEMA_VERSION = 2
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


Scanned = ScanResult | Unscanned
"""The result of scanning one model."""


def versions() -> dict[str, str]:
    """Return the versions of the software on which the figures depend."""
    packages = {name: version(name) for name in ("torch", "numpy", "zuko", "safetensors")}
    return {"unbackdoor": version("unbackdoor"), "python": platform.python_version(), **packages}
