"""What lies beside weights says how pictures are prepared for them and what their classes are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

LARGEST_SIDE = 1024
BYTES = 255.0


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the files of a folder say of a network's input and classes; nothing where they do not.

    Args:
        classes: names by index; one may list several names with commas between them.
        mean: per channel, subtracted from pictures in [0, 1].
        std: per channel, divides the difference.
        size: side of its pictures.

    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None

    def indices(self, names: Sequence[str]) -> dict[str, int] | None:
        """Return the index of each class of the data by its name, None unless each has one.

        Case, and what stands between words, do not count. Classes that are already in this order
        are not renamed.
        """
        known: dict[str, int] = {}
        for index, text in enumerate(self.classes):
            for name in (text, *text.split(",")):
                known.setdefault(_plain(name), index)
        found = {name: known[_plain(name)] for name in names if _plain(name) in known}
        if len(found) < len(names) or len({*found.values()}) < len(found):
            return None
        same = list(found.values()) == list(range(len(self.classes)))
        return None if same else found


UNSAID = Stated()
"""Of a file that has nothing beside it."""


def of_transformers(config: Mapping[str, Any], processor: Mapping[str, Any]) -> Stated:
    """Read ``id2label`` of a configuration, and ``preprocessor_config.json``."""
    labels = config.get("id2label")
    entries = cast("dict[str, Any]", labels) if isinstance(labels, dict) else {}
    named = {
        int(key): value
        for key, value in entries.items()
        if key.isdecimal() and len(key) < 9 and isinstance(value, str)
    }
    complete = sorted(named) == list(range(len(named)))
    classes = tuple(named[index] for index in range(len(named))) if complete else ()
    if all(name == f"LABEL_{index}" for index, name in enumerate(classes)):
        classes = ()
    size = processor.get("crop_size") or processor.get("size")
    # A processor makes v = p · 255 · factor of a pixel p in [0, 1], and (v − mean) / std of that.
    factor = _number(processor.get("rescale_factor", 1 / BYTES)) or 1 / BYTES
    scale = BYTES * (factor if processor.get("do_rescale", True) else 1.0)
    mean, std = None, None
    if processor and processor.get("do_normalize", True):
        mean, std = _channels(processor.get("image_mean")), _channels(processor.get("image_std"))
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    if not mean or not std or min(std) <= 0:
        mean, std = (0.0,) * 3, (1.0,) * 3
    mean = tuple((value + offset) / scale for value in mean)
    std = tuple(value / scale for value in std)
    plain = not processor or (mean == (0.0,) * 3 and std == (1.0,) * 3)
    return Stated(
        classes=classes,
        mean=None if plain else mean,
        std=None if plain else std,
        size=_side(size),
    )


def of_timm(config: Mapping[str, Any]) -> Stated:
    """Read ``label_names`` and ``pretrained_cfg`` of a configuration."""
    names = config.get("label_names")
    listed = cast("list[Any]", names) if isinstance(names, list) else []
    given = config.get("pretrained_cfg")
    described = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    sizes = described.get("input_size")
    mean, std = _channels(described.get("mean")), _channels(described.get("std"))
    known = mean is not None and std is not None and min(std) > 0
    return Stated(
        classes=tuple(map(str, listed)) if all(isinstance(name, str) for name in listed) else (),
        mean=mean if known else None,
        std=std if known else None,
        size=_side(cast("list[Any]", sizes)[-1] if isinstance(sizes, list) and sizes else None),
    )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _channels(value: object) -> tuple[float, ...] | None:
    """Return three finite numbers, of one that stands for each channel or of three."""
    values: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or not all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
        for one in values
    ):
        return None
    return tuple(float(one) for one in values)


def _side(value: object) -> int | None:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        height, width = fields.get("height"), fields.get("width")
        value = (
            fields.get("shortest_edge") if height is None else height if height == width else None
        )
    usable = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIDE
    return cast("int", value) if usable else None
