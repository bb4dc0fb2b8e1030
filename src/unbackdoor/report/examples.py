"""Clean images and the same images with a trigger on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unbackdoor.report.pixels import (
    Box,
    Pixels,
    changed,
    crisp,
    data_uri,
    difference,
    image,
    window,
)
from unbackdoor.report.words import class_name
from unbackdoor.results import ScanResult

LARGEST = 128
"""Pixels of an image that are shown at most, across and down; of larger ones a cut-out."""
BYTES = 400_000
"""Room on a page for all examples."""
WHOLE = 0.5
"""A trigger that changes more of an image than this share of it gets no box around it."""
STRONGEST, NEARLY_ALL = 32, 98
"""How much a difference is amplified at most, and which per cent of changes must stay in range."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image before and after.

    Args:
        clean: its PNG file.
        stamped: the same with the trigger.
        difference: what has changed, amplified; None where a box shows it.
        width, height: to show all of them at, in CSS pixels.
        columns, rows: pixels of the part that is shown.
        box: where in it the trigger is, None where nothing changed or most of the image did.
        label: the true class.
        predicted: the answer to the clean image.
        predicted_stamped: the answer to the stamped one.
        fooled: whether the trigger changed the answer.

    """

    clean: str
    stamped: str
    difference: str | None
    width: int
    height: int
    columns: int
    rows: int
    box: Box | None
    label: str
    predicted: str
    predicted_stamped: str
    fooled: bool


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The examples that are shown.

    Args:
        shown: as many as there is room for.
        total: how many there are.
        cut: whether they are cut-outs of larger images.
        boxed: whether any has a box around the trigger.
        gain: how much the differences are amplified, None where none is shown.

    """

    shown: Sequence[Pair]
    total: int
    cut: bool
    boxed: bool
    gain: int | None


def pairs(scan: ScanResult) -> Pairs:
    """Return the examples of a scan, in its order, as many as there is room for."""
    channels, height, width = scan.image_shape
    both = [
        tuple(image(one, (channels, height, width)) for one in (example.image, example.stamped))
        for example in scan.examples
    ]
    boxes = [changed(before, after) for before, after in both]
    whole = [box is not None and box.width * box.height > WHOLE * width * height for box in boxes]
    gain = _gain([one for one, covers in zip(both, whole, strict=True) if covers])
    shown: list[Pair] = []
    room = BYTES
    for example, (before, after), box, covers in zip(
        scan.examples, both, boxes, whole, strict=True
    ):
        part = window(height, width, box, LARGEST)
        before, after = _cut(before, part), _cut(after, part)
        clean, stamped = data_uri(before), data_uri(after)
        apart = data_uri(difference(before, after, gain)) if covers else None
        room -= len(clean) + len(stamped) + len(apart or "")
        if room < 0 and shown:
            break
        size = crisp(max(part.width, part.height), 96) // max(part.width, part.height)
        shown.append(
            Pair(
                clean=clean,
                stamped=stamped,
                difference=apart,
                width=part.width * size,
                height=part.height * size,
                columns=part.width,
                rows=part.height,
                box=None if covers else changed(before, after),
                label=class_name(scan, example.label),
                predicted=class_name(scan, example.predicted),
                predicted_stamped=class_name(scan, example.predicted_stamped),
                fooled=example.predicted != example.predicted_stamped,
            )
        )
    return Pairs(
        shown=shown,
        total=len(scan.examples),
        cut=max(height, width) > LARGEST,
        boxed=any(pair.box for pair in shown),
        gain=gain if any(pair.difference for pair in shown) else None,
    )


def _gain(both: Sequence[tuple[Pixels, ...]]) -> int:
    """Return by how much nearly all changes can be amplified, a power of two."""
    changes = [np.abs(before.astype(int) - after.astype(int)).ravel() for before, after in both]
    large = float(np.percentile(np.concatenate(changes), NEARLY_ALL)) if changes else 0.0
    gain = 1
    while 2 * gain * large <= 128 and gain < STRONGEST:
        gain *= 2
    return gain


def _cut(pixels: Pixels, part: Box) -> Pixels:
    return pixels[part.top : part.top + part.height, part.left : part.left + part.width]
