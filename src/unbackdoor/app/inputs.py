"""The inputs of commands other than models: checked and turned into values before any work."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from pathlib import Path

import msgspec

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import file_of
from unbackdoor.runtime.files import read_bytes
from unbackdoor.scanning.settings import Terms
from unbackdoor.subject import InputSettings
from unbackdoor.verdict.bag import ours, read_bag

NO_BAG = "none"
LARGEST_SIDE = 1024
LARGEST_LABELS = 16 << 20


def files_read(
    data: str, arch: str | None, config: Path | None
) -> dict[str, list[str | Path | None]]:
    """Return the files that the common arguments name: argument → files."""
    return {"--data": [data], "--arch": [file_of(arch) if arch else None], "--config": [config]}


def input_settings(
    size: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    labels: Path | None,
) -> InputSettings:
    """Return how images are fitted to a network.

    Args:
        size: side of its square input.
        mean: per channel, subtracted.
        std: per channel, divides the difference.
        labels: file of the class indices.

    Raises:
        ArgumentError: a number is out of range, or the file cannot be read.
        ContentError: the file does not hold class indices.

    """
    if size is not None and not 1 <= size <= LARGEST_SIDE:
        raise ArgumentError(f"--size: expected 1 to {LARGEST_SIDE}, came {size}.")
    for name, values in (("--mean", mean), ("--std", std)):
        if values is not None and len(values) not in (1, 3):
            raise ArgumentError(
                f"{name}: expected one number for grey pictures or three for red, green and blue, "
                f"came {len(values)}."
            )
    if mean is not None and std is not None and len(mean) != len(std):
        raise ArgumentError(
            f"--std: expected as many numbers as --mean, {len(mean)}, came {len(std)}."
        )
    if mean is not None and not all(map(isfinite, mean)):
        raise ArgumentError(f"--mean: expected finite numbers, came {_numbers(mean)}.")
    if std is not None and not all(isfinite(value) and value > 0 for value in std):
        raise ArgumentError(f"--std: expected finite numbers above 0, came {_numbers(std)}.")
    return InputSettings(
        size=size,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        labels=None if labels is None else read_labels(labels),
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def terms_of(bag: str | None, *, power: bool = False, seconds: float | None = None) -> Terms:
    """Return what a verdict is held to.

    Args:
        bag: file of reference networks; ``none`` for none, those of the package when left out.
        power: whether it is checked that known triggers would be found.
        seconds: after which no further space is searched.

    Raises:
        ArgumentError: there is no such file, or the time is not above 0.
        ContentError: the file is no bag.

    """
    if seconds is not None and not seconds > 0:
        raise ArgumentError(f"--max-seconds: expected more than 0, came {seconds:g}.")
    known = ours() if bag is None else None if bag == NO_BAG else read_bag(Path(bag))
    return Terms(bag=known, power=power, seconds=inf if seconds is None else seconds)


def read_labels(path: Path) -> dict[str, int]:
    """Read the index of each class of the data.

    Raises:
        ArgumentError: there is no such file, or it cannot be read.
        ContentError: it holds something else.

    """
    content = read_bytes(path, "--labels", LARGEST_LABELS)
    try:
        return msgspec.json.decode(content, type=dict[str, int])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(
            f'--labels: expected {{"class of the data": index, …}} in {path}, came {error}.'
        ) from error
