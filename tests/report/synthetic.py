"""Results out of thin air: two families of triggers around two patterns, always the same."""

from __future__ import annotations

from math import isqrt

import msgspec
import numpy as np

from unbackdoor.results import (
    Assumption,
    Attempted,
    ClassRecord,
    DataRecord,
    Example,
    FileRecord,
    Finding,
    Guarded,
    Intake,
    LogVolume,
    ModelRecord,
    Original,
    Outcome,
    RepairResult,
    RepairRow,
    Rung,
    ScanResult,
    SearchedSpace,
    StairRecord,
    Status,
    Unscanned,
    Verdict,
    Watched,
)

NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BETAS = (0.5, 0.8, 0.9)
SETTINGS: dict[str, float | int | str | list[float]] = {
    "betas": [0.5, 0.8, 0.9],
    "uniform_draws": 512,
    "backdoored": 0.8,
    "flow": "8 layers",
}
FINDINGS = [
    Finding(
        check="softmax",
        severity="note",
        sentence="The network answers with probabilities; their logarithms are used as logits.",
        remedy="Give the network without its last softmax where you can.",
    ),
    Finding(
        check="duplicates",
        severity="warning",
        sentence="12 of 1500 held-back images are also among those that triggers are searched "
        "with, so that rates are better than they should be.",
        remedy="Remove duplicates from the data.",
    ),
]
VERSIONS = {"unbackdoor": "0.1.0", "python": "3.11.9", "torch": "2.10.0", "numpy": "2.3.0"}


def patterns(dimensions: int, channels: int = 3) -> np.ndarray:
    """A chequered trigger and one with bright columns, ``(2, n)`` in [0, 1]."""
    channels = channels if dimensions % channels == 0 else 1
    index = np.arange(dimensions // channels)
    both = np.stack([(index % 2 == 1).astype(float), (index % 3 == 0).astype(float)])
    return np.tile(both, (1, channels))


def stair(beta: float, dimensions: int, count: int, valid: float, seed: int = 0) -> StairRecord:
    generator = np.random.default_rng(seed + round(beta * 100))
    centres = patterns(dimensions)[(generator.random(count) < 0.35).astype(int)]
    noise = generator.normal(size=(count, dimensions)) * (1.15 - beta) * 0.45
    theta = np.clip(centres * 0.9 + 0.05 + noise, 0, 1)
    order = np.argsort(np.abs(theta - centres).mean(axis=1))
    values = np.empty(count)
    reach = round(valid * count)
    values[order[:reach]] = generator.uniform(beta, 1, reach)
    values[order[reach:]] = generator.uniform(0, beta - 1e-3, count - reach)
    volume = -30 * beta + 3
    return StairRecord(
        beta=beta,
        gamma={0.5: 0.9724, 0.8: 0.0271, 0.9: 0.0005}.get(beta, 0.1),
        draws=(theta * 255).round().astype(np.uint8).tobytes(),
        log_q=(-volume + generator.normal(size=count)).tolist(),
        values=values.tolist(),
        valid_fraction=reach / count if count else 0.0,
        entropy_bound=volume - 0.6 if reach else None,
        log_volume=volume if reach else None,
        effective_sample_size=0.4 * reach,
    )


def record(
    index: int,
    name: str,
    status: Status,
    asr: float,
    *,
    dimensions: int = 27,
    count: int = 200,
    valid: float = 0.7,
    betas: tuple[float, ...] = BETAS,
    space: str = "patch:3",
    shape: tuple[int, int, int] | None = None,
) -> ClassRecord:
    stairs = [stair(beta, dimensions, count, valid, 17 * index) for beta in betas]
    drawn = status != "clean"
    best = np.clip(patterns(dimensions)[index % 2] + 0.03 * index, 0, 1)
    return ClassRecord(
        index=index,
        name=name,
        status=status,
        asr=asr,
        best=(best * 255).astype(np.uint8).tobytes(),
        log_volume=[
            LogVolume(
                beta=one.beta,
                value=one.log_volume if drawn else None,
                upper_bound=-5.1 if one.beta > 0.5 or index % 3 else -4.4,
            )
            for one in stairs
        ],
        stairs=stairs if drawn else [],
        space=space,
        trigger_shape=[*(shape or (3, *[isqrt(dimensions // 3)] * 2))],
        ladder=[Rung(space=space, asr=asr)],
    )


def example(shape: tuple[int, int, int], size: int, label: int, seed: int) -> Example:
    channels, height, width = shape
    generator = np.random.default_rng(seed)
    across = np.linspace(0, 1, width)[None, None, :]
    down = np.linspace(0, 1, height)[None, :, None]
    tint = generator.random((channels, 1, 1))
    image = tint * across + (1 - tint) * down + 0.05 * generator.normal(size=shape)
    image = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    stamped = image.copy()
    row, column = (int(generator.integers(0, side - size + 1)) for side in (height, width))
    theta = patterns(channels * size * size, channels)[0].reshape(channels, size, size)
    stamped[:, row : row + size, column : column + size] = (theta * 255).astype(np.uint8)
    return Example(
        image=image.tobytes(),
        stamped=stamped.tobytes(),
        label=label,
        predicted=label,
        predicted_stamped=0 if seed % 5 else label,
    )


def scan(
    verdict: Verdict = "backdoored",
    *,
    names: tuple[str, ...] = NAMES,
    size: int = 3,
    shape: tuple[int, int, int] = (3, 32, 32),
    targets: tuple[int, ...] = (0,),
    count: int = 200,
    valid: float = 0.7,
    examples: int = 8,
    original: bool = True,
    path: str = "models/resnet20-badnets.safetensors",
) -> ScanResult:
    dimensions = shape[0] * size * size
    targets = targets if verdict == "backdoored" else ()
    statuses: dict[int, Status] = dict.fromkeys(targets, "backdoored")
    if verdict == "inconclusive":
        statuses[3] = "suspicious"
    classes = [
        record(
            index,
            name,
            statuses.get(index, "clean"),
            {"backdoored": 0.998, "suspicious": 0.52, "clean": 0.01 + 0.07 * (index % 3) / 2}[
                statuses.get(index, "clean")
            ],
            dimensions=dimensions,
            count=count,
            valid=valid,
            space=f"patch:{size}",
            shape=(shape[0], size, size),
        )
        for index, name in enumerate(names)
    ]
    planted = None
    if original and targets:
        planted = Original(
            name="bw:170",
            target=targets[0],
            theta=(patterns(dimensions)[0] * 255).astype(np.uint8).tobytes(),
            nearest=classes[targets[0]].stairs[-1].draws[:dimensions],
            distance=0.1123,
            random_distance=0.3871,
        )
    return ScanResult(
        model=ModelRecord(path=path, sha256="3f" * 32, arch="resnet20", accuracy=0.9012),
        data=DataRecord(
            name="cifar10-sample", sha256="a7" * 32, defend=2500, evaluate=1500, classes=[*names]
        ),
        space=f"patch:{size}",
        spaces=[SearchedSpace(name=f"patch:{size}", description=f"square patch of {size} pixels")],
        image_shape=[*shape],
        seed=1,
        settings=SETTINGS,
        verdict=verdict,
        targets=[*targets],
        reason={
            "backdoored": "Triggers of patch:3 were found that send held-back images of other "
            "classes to airplane (99.8%); from 80% a class counts as backdoored.",
            "clean": "No trigger of patch:3 was found that sends more than 8.0% of held-back "
            "images to any class (the most: bird; up to 30% counts as clean).",
            "inconclusive": "The best triggers of patch:3 towards cat (52.0%) work more often than "
            "a clean class allows (up to 30%) and less often than a backdoor (from 80%).",
        }[verdict],
        power_checked=False,
        classes=classes,
        examples=[
            example(shape, size, 1 + seed % max(len(names) - 1, 1), seed)
            for seed in range(examples if targets else 0)
        ],
        original=planted,
        preflight=FINDINGS,
        image_passes=412_350,
        image_passes_backward=96_000,
        seconds=87.3,
        versions=VERSIONS,
    )


def of_folder(result: ScanResult) -> ScanResult:
    """Return a result as of pictures in a folder of the user."""
    read = Intake(read=4000, passed_over={".txt": 2, "hidden": 1}, turned=32)
    data = msgspec.structs.replace(result.data, name="pictures", intake=read)
    return msgspec.structs.replace(result, data=data)


def unscanned() -> Unscanned:
    return Unscanned(
        model=FileRecord(path="models/unknown.pt", sha256="5d" * 32),
        error="models/unknown.pt: a pickle that wants to import os.system; no pickle is executed. "
        "Save the state dict alone, best as .safetensors.",
        exit_code=2,
    )


def repair(
    after: Verdict = "clean", *, before: ScanResult | None = None, known: bool = True
) -> RepairResult:
    rates = {
        "before": (0.9012, 0.971, 0.998, 0.011),
        "repaired": (0.8984, 0.014, 0.012, 0.010),
        "fine-tuned": (0.9041, 0.942, 0.981, 0.011),
        "ideal": (0.8991, 0.021, 0.010, 0.010),
        "clean reference": (0.9023, 0.012, 0.009, 0.009),
    }
    return RepairResult(
        assumed=Assumption(
            basis="found",
            sentence="The triggers that the scan found towards “airplane” are unlearnt.",
            targets=[0],
        ),
        guard=guarded("kept"),
        scan=before or scan(original=known),
        rescan=msgspec.structs.replace(scan(after, path="", original=False), preflight=[]),
        rows=[
            RepairRow(
                name=name,
                accuracy=accuracy,
                recovered_asr=recovered,
                original_asr=original if known else None,
                confusion=confusion,
            )
            for name, (accuracy, recovered, original, confusion) in rates.items()
        ],
        output="fixed.safetensors",
        sha256="9c" * 32,
        settings={"epochs": 10, "share": 0.3},
        seed=2,
        image_passes=310_000,
        seconds=140.2,
        versions=VERSIONS,
    )


def guarded(outcome: Outcome) -> Guarded:
    """Two attempts, the first of which loses accuracy; the second is taken where one is."""
    attempts = [(0, 1500, 0.004, 0.8), (0, 9000, 0.31, 0.01), (1, 4500, 0.002, 0.3)]
    states = [(0, 0, 0.0, 0.99), *attempts, (1, 27000, 0.008, 0.02)]
    return Guarded(
        max_accuracy_lost=0.01,
        watched=500,
        attempts=[
            Attempted(
                method="unlearning", learning_rate=rate, share=0.3, layers=1.0, images_seen=seen
            )
            for rate, seen in ((0.03, 9000), (0.009, 27000))
        ],
        states=[
            Watched(
                attempt=attempt,
                images_seen=seen,
                accuracy_lost=lost,
                asr=asr,
                stronger=None if not seen else asr - 0.2,
            )
            for attempt, seen, lost, asr in states
        ],
        taken=None if outcome == "stuck" else 4,
        unseen=2000,
        broken=120 if outcome == "lost" else 22,
        mended=14,
        outcome=outcome,
        sentence="Of 2000 images that the repair had not seen some are wrong after it.",
    )


def wrecked(outcome: Outcome) -> RepairResult:
    """A repair that would have cost too much accuracy, so that nothing was written."""
    done = repair()
    rows = [
        msgspec.structs.replace(row, name="best attempt") if row.name == "repaired" else row
        for row in done.rows
        if row.name in {"before", *(["repaired"] if outcome == "lost" else [])}
    ]
    return msgspec.structs.replace(
        done, guard=guarded(outcome), rescan=None, rows=rows, output="", sha256=""
    )
