"""What every command returns: typed, versioned, written atomically as JSON.

A scan holds all that a repair and a page need: some draws of each stair of every found class, with
their densities, and a few example images. Bytes are base64 in JSON.
"""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from unbackdoor.detectors.evidence import LogVolume, StairRecord
from unbackdoor.verdict.judge import Status, Verdict
from unbackdoor.verdict.thresholds import Thresholds

SCHEMA_VERSION = 1
LARGEST = 1 << 28
MOST_DIMENSIONS = 3 * 16**2
"""Of the largest patch; a page takes the square of it."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was seen about a model or its images before any work.

    Args:
        check: what was looked at, in a word or two.
        severity: ``note`` where it was dealt with, ``warning`` where the reader has to.
        sentence: what was seen.
        remedy: what to do about it, empty where nothing is to be done.

    """

    check: str
    severity: Literal["note", "warning"]
    sentence: str
    remedy: str


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which model was looked at.

    Args:
        path: as the user wrote it.
        sha256: of the file; empty for a model that was handed over in Python.
        arch: its architecture.
        accuracy: on the held-back images.

    """

    path: str
    sha256: str
    arch: str
    accuracy: float


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which clean images were used.

    Args:
        name: of the data set.
        sha256: over pixels and labels of the defender's, then of the held-back images.
        defend: number of images that triggers were searched and measured with.
        evaluate: number of held-back images.
        classes: the names, by index.

    """

    name: str
    sha256: str
    defend: int
    evaluate: int
    classes: list[str]


class ClassRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was found towards one class.

    Args:
        index: of the class.
        name: of the class.
        status: ``backdoored``, ``clean``, or ``suspicious`` in between.
        asr: attack success rate of its best trigger, on held-back images of other classes.
        confusion: share of those images that go to the class without a trigger.
        best: that trigger, θ as bytes.
        log_volume: one for each β.
        stairs: the recovered law, for classes that got the full budget.

    """

    index: int
    name: str
    status: Status
    asr: float
    best: bytes
    log_volume: list[LogVolume]
    confusion: float = 0.0
    stairs: list[StairRecord] = []


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
    """The trigger that was planted, where it is known, beside what was recovered.

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
        model: what was scanned.
        data: with which images.
        space: the trigger space, such as ``patch:3``.
        searched: what that is, in words; empty in older results.
        dimensions: n, parameters of one trigger.
        trigger_shape: channels, height and width of the picture that θ is; empty in older results,
            which hold squares.
        image_shape: channels, height, width.
        seed: of every draw.
        settings: every setting, by name.
        thresholds: by which it was judged.
        verdict: the answer.
        targets: classes with a backdoor.
        reason: the verdict in a sentence.
        power_checked: whether it was checked that a backdoor would have been found.
        classes: one record per class.
        examples: stamped images, for the found classes.
        original: the planted trigger, where it is known; the scan itself never uses it.
        preflight: what was seen before any work.
        image_passes: images through the model forward, evaluation included.
        image_passes_backward: images through it backward.
        seconds: wall-clock time.
        versions: of what the figures depend on.

    """

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord
    data: DataRecord
    space: str
    searched: str = ""
    dimensions: int
    trigger_shape: list[int] = []
    image_shape: list[int]
    seed: int
    settings: dict[str, Any]
    thresholds: Thresholds = Thresholds()
    verdict: Verdict
    targets: list[int]
    reason: str
    power_checked: bool
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
        path: as the user wrote it, or as it was found in a folder.
        sha256: of the file; empty where it cannot be read.

    """

    path: str
    sha256: str


class Unscanned(msgspec.Struct, frozen=True, kw_only=True, tag="unscanned", tag_field="kind"):
    """A model that could not be scanned; it is not clean.

    Args:
        schema_version: of this layout.
        model: which file.
        error: why, in a sentence.
        exit_code: what the command line answers for it.

    """

    schema_version: int = SCHEMA_VERSION
    model: FileRecord
    error: str
    exit_code: int


class RepairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the table before and after a repair; rates are on held-back images.

    Args:
        name: ``before``, ``repaired``, ``fine-tuned`` (the control: the same schedule without
            triggers), ``ideal`` (the same with the planted trigger, where it is known) or
            ``clean reference``.
        accuracy: on clean images.
        recovered_asr: of triggers drawn from the recovered stairs, in equal parts.
        original_asr: of the trigger that was planted, where it is known.
        confusion: share of clean images of other classes that go to the target all the same.

    """

    name: str
    accuracy: float
    recovered_asr: float
    original_asr: float | None
    confusion: float


class RepairResult(msgspec.Struct, frozen=True, kw_only=True, tag="repair", tag_field="kind"):
    """The outcome of a repair.

    Args:
        schema_version: of this layout.
        scan: what the repair started from.
        rescan: of the repaired model, with a fresh seed and images that nothing before has seen.
        rows: the table.
        output: where the repaired model was written, empty where it was not.
        sha256: of that file.
        settings: every setting of the repair, by name.
        seed: of every draw.
        image_passes: images through a model, training and evaluation included.
        seconds: wall-clock time without the first scan.
        versions: of what the figures depend on.

    """

    schema_version: int = SCHEMA_VERSION
    scan: ScanResult
    rescan: ScanResult
    rows: list[RepairRow]
    output: str
    sha256: str
    settings: dict[str, Any]
    seed: int
    image_passes: int
    seconds: float
    versions: dict[str, str]


Result = ScanResult | RepairResult
Scanned = ScanResult | Unscanned
"""What a scan says of one model."""
WRITTEN: dict[str, Any] = {"scan": Scanned | list[Scanned], "repair": Result}
"""What a command writes as JSON."""


def trigger_shape(scan: ScanResult, values: int) -> tuple[int, int, int]:
    """Return channels, height and width of the picture that a trigger of so many values is.

    One that is not of the space that was scanned, such as a planted one, is taken for a square.
    """
    if math.prod(scan.trigger_shape or [0]) == values:
        channels, height, width = scan.trigger_shape
        return channels, height, width
    side = max(1, math.isqrt(values // scan.image_shape[0]))
    return scan.image_shape[0], side, side


def verdict(result: Result) -> Verdict:
    """Return the verdict that counts: of a scan its own, of a repair that on the repaired model.

    Where the scan after a repair finds nothing, and triggers that were unlearnt still work more
    often than a clean class allows, it is inconclusive.
    """
    if isinstance(result, ScanResult):
        return result.verdict
    left = [row.recovered_asr for row in result.rows if row.name == "repaired"]
    if result.rescan.verdict == "clean" and left and max(left) > result.rescan.thresholds.clean:
        return "inconclusive"
    return result.rescan.verdict


def versions() -> dict[str, str]:
    """Return the versions that a figure depends on."""
    packages = {name: version(name) for name in ("torch", "numpy", "zuko", "safetensors")}
    return {"unbackdoor": version("unbackdoor"), "python": platform.python_version(), **packages}
