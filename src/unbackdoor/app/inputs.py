"""The inputs of commands other than models: checked and turned into values before any work."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from pathlib import Path

import msgspec

from unbackdoor.errors import ArgumentError, ContentError, printable
from unbackdoor.models import file_of
from unbackdoor.runtime.files import encoding_of, read_bytes
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

    The file holds ``{"cat": 3, …}``, the inverse of it as ``id2label`` of Hugging Face is written,
    ``{"3": "cat", …}``, or the names alone in the order of the network's classes.

    Raises:
        ArgumentError: there is no such file, or it cannot be read.
        ContentError: it holds something else, or a name twice.

    """
    content = read_bytes(path, "--labels", LARGEST_LABELS)
    given: dict[str, int | str] | list[str]
    try:
        text = content.decode(encoding_of(content))
        given = msgspec.json.decode(text, type=dict[str, int | str] | list[str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(_expected(path, str(error))) from error
    if isinstance(given, list):
        return _distinct(path, [(name, index) for index, name in enumerate(given)])
    indices = {name: index for name, index in given.items() if isinstance(index, int)}
    names = {index: name for index, name in given.items() if isinstance(name, str)}
    if not names:
        return indices
    if indices or not all(map(_is_index, names)):
        raise ContentError(_expected(path, "texts where indices should be"))
    if all(map(_is_index, names.values())):  # either could be the names
        raise ContentError(_expected(path, "numbers in quotes on both sides"))
    return _distinct(path, [(name, int(index)) for index, name in names.items()])


def _distinct(path: Path, pairs: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return names with their indices; raise where one name has two."""
    order: dict[str, int] = {}
    for name, index in pairs:
        if name in order:
            raise ContentError(_expected(path, f"the name {printable(name)!r} twice"))
        order[name] = index
    return order


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _expected(path: Path, came: str) -> str:
    return (
        f'--labels: expected {{"class of the data": index, …}} in {path}, such as {{"cat": 3, '
        f'"dog": 5}}, or {{"3": "cat", "5": "dog"}}, or ["cat", "dog"] in the order of the '
        f"network's classes, came {came}; write it so."
    )
