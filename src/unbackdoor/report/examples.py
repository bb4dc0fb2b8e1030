"""Clean images and the same images with a trigger on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unbackdoor.report.pixels import Box, Pixels, changed, crisp, data_uri, image, window
from unbackdoor.report.words import class_name
from unbackdoor.results import ScanResult

LARGEST = 128
"""Pixels of an image that are shown at most, across and down; of larger ones a cut-out."""
BYTES = 400_000
"""Room on a page for all examples."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image before and after.

    Args:
        clean: its PNG file.
        stamped: the same with the trigger.
        width, height: to show both at, in CSS pixels.
        columns, rows: pixels of the part that is shown.
        box: where in it the trigger is, None where nothing changed.
        label: the true class.
        predicted: the answer to the clean image.
        predicted_stamped: the answer to the stamped one.
        fooled: whether the trigger changed the answer.

    """

    clean: str
    stamped: str
    width: int
    height: int
    columns: int
    rows: int
    box: Box | None
    label: str
    predicted: str
    predicted_stamped: str
    fooled: bool


@dataclass(frozen=True)
class Pairs:
    """The examples that are shown, of how many, and whether they are cut-outs."""

    shown: Sequence[Pair]
    total: int
    cut: bool


def pairs(scan: ScanResult) -> Pairs:
    """Return the examples of a scan, in its order, as many as there is room for."""
    channels, height, width = scan.image_shape
    shown: list[Pair] = []
    room = BYTES
    for example in scan.examples:
        before = image(example.image, (channels, height, width))
        after = image(example.stamped, (channels, height, width))
        part = window(height, width, changed(before, after), LARGEST)
        before, after = _cut(before, part), _cut(after, part)
        clean, stamped = data_uri(before), data_uri(after)
        room -= len(clean) + len(stamped)
        if room < 0 and shown:
            break
        size = crisp(max(part.width, part.height), 96) // max(part.width, part.height)
        shown.append(
            Pair(
                clean=clean,
                stamped=stamped,
                width=part.width * size,
                height=part.height * size,
                columns=part.width,
                rows=part.height,
                box=changed(before, after),
                label=class_name(scan, example.label),
                predicted=class_name(scan, example.predicted),
                predicted_stamped=class_name(scan, example.predicted_stamped),
                fooled=example.predicted != example.predicted_stamped,
            )
        )
    return Pairs(shown, len(scan.examples), max(height, width) > LARGEST)


def _cut(pixels: Pixels, part: Box) -> Pixels:
    return pixels[part.top : part.top + part.height, part.left : part.left + part.width]
