"""The triggers of a class: a gallery, what each stair looks like, and cross-sections of its law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unbackdoor.errors import printable
from unbackdoor.report.draws import Axes, Draws, choose, neighbours, principal_axes, read_draws
from unbackdoor.report.looks import Details, Drawer, drawer
from unbackdoor.report.pixels import Pixels, crisp, data_uri, image, shrunk, to_colour
from unbackdoor.report.spaces import located
from unbackdoor.report.words import capitalised, class_name, compact, fixed, moves, percent
from unbackdoor.results import ClassRecord, Original, ScanResult, StairRecord

POINTS, GALLERY = 150, 60
"""Draws in a cross-section and in a gallery, at most."""
PANEL_WIDTH, POINT, MARGIN = 320.0, 12.0, 14.0
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BYTES = 800_000
MOST_MOVES = 12
"""Classes whose goals are shown of a trigger that sends each class to its own."""
"""Room on a page for the pictures of all draws."""


@dataclass(frozen=True)
class Picture:
    """A trigger as a picture.

    Args:
        uri: its PNG file.
        width, height: to show it at, in CSS pixels.
        text: what it is, in words.
        faded: whether it stands back, because it does not reach β where others do.

    """

    uri: str
    width: int
    height: int
    text: str
    faded: bool = False


@dataclass(frozen=True)
class Dot:
    """One draw in a cross-section: its left upper corner, and its picture."""

    x: float
    y: float
    uri: str
    valid: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One stair in the plane that all panels of a class share.

    Args:
        beta: its level, in words.
        width, height: of the view box.
        point: width and height of a dot.
        dots: those that do not reach β first.
        ring: where the planted trigger lies, None where it is not known.
        facts: what is said under the panel, as terms and details.
        text: the panel in words.

    """

    beta: str
    width: float
    height: float
    point: float
    dots: list[Dot]
    ring: tuple[float, float] | None
    facts: list[tuple[str, str]]
    text: str


@dataclass(frozen=True, kw_only=True)
class Planted:
    """The planted trigger beside the draw that is nearest to it."""

    name: str
    theta: Picture
    nearest: Picture
    distance: str
    random_distance: str
    closer: bool


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """All that is shown of one class.

    Args:
        name: of the class.
        kind: its triggers in words, and where they lie.
        space: the name of their space.
        rate: how often its best trigger works, in per cent.
        sent: how often its best trigger works and on which images, in a sentence.
        best: that trigger.
        caption: how to read the pictures; empty where each is the trigger itself.
        details: of the best trigger.
        layers: further pictures of it, each with its caption.
        sources: which classes it works on, in a sentence; empty where this was not measured.
        found: whether the class has a backdoor.
        planted: what was planted, where it is known.
        law: draws from the recovered law, None where there are none.

    """

    name: str
    kind: str
    space: str
    rate: str
    sent: str
    best: Picture
    caption: str
    details: Details
    layers: list[tuple[Picture, str]]
    sources: str
    found: bool
    planted: Planted | None
    law: Law | None


@dataclass(frozen=True, kw_only=True)
class Law:
    """What is shown of the recovered law of one class.

    Args:
        dense: whether it has a density; if not, its draws are what searches found.
        beta: the level that the gallery shows.
        gallery: draws of the highest stair, similar ones side by side.
        reaching: how many of the gallery reach β.
        means: the mean picture of each stair.
        panels: the cross-sections.
        share: of the variance of all draws, held by the plane of the cross-sections, in per cent.

    """

    dense: bool
    beta: str
    gallery: list[Picture]
    reaching: int
    means: list[Picture]
    panels: list[Panel]
    share: str


def allowance(stairs: int, classes: int, dimensions: int) -> tuple[int, int]:
    """Return how many draws a cross-section and a gallery may show, so that a page stays small.

    Example:
        >>> allowance(3, 1, 27), allowance(30, 10, 768)
        ((150, 60), (18, 7))

    """
    # A PNG of a few pixels is its values and some 90 bytes; base64 adds a third, markup the rest.
    each = (dimensions + 90) * 4 / 3 + 110
    wanted = each * (POINTS * stairs + GALLERY * classes)
    scale = min(1.0, BYTES / wanted) if wanted else 1.0
    return max(1, int(POINTS * scale)), max(1, int(GALLERY * scale))


def portraits(scan: ScanResult, classes: Sequence[ClassRecord]) -> list[Portrait]:
    """Return what is shown of ``classes``."""
    drawn = [record for record in classes if any(stair.draws for stair in record.stairs)]
    stairs = sum(len(record.stairs) for record in drawn)
    most = max((record.dimensions for record in drawn), default=0)
    points, gallery = allowance(stairs, len(drawn), most)
    return [_portrait(scan, record, points, gallery) for record in classes]


def picture(pixels: Pixels, wanted: int, text: str, faded: bool = False) -> Picture:
    """Return an image as a picture about ``wanted`` CSS pixels along its longer side."""
    pixels = shrunk(pixels, 3 * wanted // 2)
    height, width = pixels.shape[:2]
    scale = crisp(max(height, width), wanted) // max(height, width)
    return Picture(data_uri(pixels), width * scale, height * scale, text, faded)


def _portrait(scan: ScanResult, record: ClassRecord, points: int, count: int) -> Portrait:
    name = class_name(scan, record.index)
    draw = drawer(record.space, record.trigger_shape)
    details = draw.details(record.best)
    original = scan.original if scan.original and scan.original.target == record.index else None
    return Portrait(
        name=name,
        kind=capitalised(located(scan, record.space)),
        space=printable(record.space),
        rate=percent(record.asr),
        sent=_sent(scan, record),
        best=picture(draw.pixels(record.best), 96, f"The best trigger towards {name}"),
        caption=draw.look.caption,
        details=details,
        layers=[
            (picture(pixels, 96, f"The best trigger towards {name}, {caption}"), caption)
            for caption, pixels in details.layers
        ],
        sources=_sources(scan, record),
        found=record.status != "suspicious",
        planted=None if original is None else _planted(original, record, scan.image_shape[0]),
        law=_law(record, draw, original, points, count),
    )


def _sent(scan: ScanResult, record: ClassRecord) -> str:
    """Return how often the best trigger works, and on which images."""
    if not record.goal:
        rate = percent(record.asr)
        return f"Its best trigger sends {rate} of held-back images of other classes there."
    return (
        f"Its best trigger sends each class to one of its own, {percent(record.asr)} of the "
        f"held-back images that are answered right without it: "
        f"{moves(scan, record.goal, MOST_MOVES)}."
    )


def _sources(scan: ScanResult, record: ClassRecord) -> str:
    """Return on images of which classes the best trigger works most and least."""
    rates = sorted(
        (-rate, index) for index, rate in enumerate(record.sources) if index != record.index
    )
    if not rates or record.goal:
        return ""
    (most, first), (least, last) = rates[0], rates[-1]
    if percent(-most) == percent(-least):
        return f"It works equally well on images of each of them: {percent(-most)}."
    return (
        f"By class, these are from {percent(-least)} of {class_name(scan, last)} to "
        f"{percent(-most)} of {class_name(scan, first)}."
    )


def _law(
    record: ClassRecord, draw: Drawer, original: Original | None, points: int, count: int
) -> Law | None:
    stairs = sorted((one for one in record.stairs if one.draws), key=lambda one: one.beta)
    if not stairs:
        return None
    drawn = [read_draws(stair, record.dimensions) for stair in stairs]
    highest, top = stairs[-1], drawn[-1]
    chosen = choose(top, count)
    chosen = chosen[neighbours(top.theta[chosen])]
    axes = principal_axes(np.concatenate([draws.theta for draws in drawn]))
    return Law(
        dense=bool(highest.log_q),
        beta=compact(highest.beta),
        gallery=[
            picture(
                draw.pixels(top.theta[row].tobytes()),
                40,
                f"F = {fixed(float(top.values[row]), 2)}",
                faded=bool(top.valid[chosen].any() and not top.valid[row]),
            )
            for row in chosen
        ],
        reaching=int(top.valid[chosen].sum()),
        means=[
            picture(
                draw.pixels(draws.theta.mean(axis=0).round().astype(np.uint8).tobytes()),
                72,
                f"β = {compact(stair.beta)}",
            )
            for stair, draws in zip(stairs, drawn, strict=True)
        ],
        panels=_panels(stairs, drawn, axes, original, draw, points),
        share=percent(axes.share),
    )


def _planted(original: Original, record: ClassRecord, channels: int) -> Planted:
    name = printable(original.name)
    own, nearest = (_drawn(one, record, channels) for one in (original.theta, original.nearest))
    return Planted(
        name=name,
        theta=picture(own, 96, f"The planted trigger {name}"),
        nearest=picture(nearest, 96, "The draw nearest to the planted trigger"),
        distance=fixed(original.distance, 3),
        random_distance=fixed(original.random_distance, 3),
        closer=original.distance < original.random_distance,
    )


def _drawn(theta: bytes, record: ClassRecord, channels: int) -> Pixels:
    """Return a trigger as an image; one that is not of the space of its class is a square."""
    if len(theta) == record.dimensions:
        return drawer(record.space, record.trigger_shape).pixels(theta)
    side = max(1, math.isqrt(len(theta) // channels))
    return to_colour(image(theta, (channels, side, side)))


def _panels(
    stairs: Sequence[StairRecord],
    drawn: Sequence[Draws],
    axes: Axes,
    original: Original | None,
    draw: Drawer,
    points: int,
) -> list[Panel]:
    """One panel per stair; a unit is as long along x as along y, and the same in all of them."""
    shown = [draws.theta[:points] for draws in drawn]
    planes = [axes.project(theta) for theta in shown]
    ring = None
    # A trigger of another size than was searched for has no place in this plane.
    if original is not None and len(original.theta) == axes.centre.size:
        ring = axes.project(np.frombuffer(original.theta, dtype=np.uint8)[None])
    cloud = np.concatenate([*planes, *([] if ring is None else [ring])])
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    middle, reach = (low + high) / 2, np.maximum(high - low, 1e-9)
    inside = PANEL_WIDTH - POINT - 2 * MARGIN
    height = PANEL_WIDTH * float(np.clip(reach[1] / reach[0], 0.6, 1.15))
    unit = min(inside / reach[0], (height - POINT - 2 * MARGIN) / reach[1])

    def place(rows: np.ndarray) -> list[tuple[float, float]]:
        moved = (rows - middle) * unit * (1, -1) + (PANEL_WIDTH / 2, height / 2)
        return [(round(float(x), 1), round(float(y), 1)) for x, y in moved]

    panels: list[Panel] = []
    for stair, draws, theta, plane in zip(stairs, drawn, shown, planes, strict=True):
        dots = [
            Dot(
                round(x - POINT / 2, 1),
                round(y - POINT / 2, 1),
                data_uri(draw.pixels(row.tobytes())),
                bool(valid),
            )
            for row, valid, (x, y) in zip(theta, draws.valid, place(plane), strict=False)
        ]
        beta = compact(stair.beta)
        reaching = sum(dot.valid for dot in dots)
        panels.append(
            Panel(
                beta=beta,
                width=PANEL_WIDTH,
                height=round(height, 1),
                point=POINT,
                dots=sorted(dots, key=lambda dot: dot.valid),
                ring=None if ring is None else place(ring)[0],
                facts=_facts(stair, alone=len(stairs) == 1),
                text=(
                    f"{len(dots)} draws of the stair β = {beta}, {reaching} of which reach β, "
                    f"in the plane in which all draws differ most."
                    + ("" if ring is None else " A ring marks the planted trigger.")
                ),
            )
        )
    return panels


def _facts(stair: StairRecord, *, alone: bool) -> list[tuple[str, str]]:
    """Return what is said of a stair; without a density there is no volume to speak of."""
    facts = [("valid draws", percent(stair.valid_fraction))]
    if not alone:
        facts.append(("weight γ", _weight(stair.gamma)))
    if not stair.log_q:
        return facts
    volume = f"{fixed(stair.log_volume)} nats"
    if stair.log_volume is None:
        volume = "no estimate"
    elif stair.entropy_bound is not None:
        volume += f" (at least {fixed(stair.entropy_bound)})"
    effective = f"{fixed(stair.effective_sample_size, 0)} of {len(stair.values):,}"
    return [*facts, ("log|V|", volume), ("effective sample size", effective)]


def _weight(gamma: float) -> str:
    """Return a weight; weights span many powers of ten, so that decimals would make most 0."""
    if gamma == 0 or gamma >= 0.0005:
        return fixed(gamma, 4)
    mantissa, exponent = f"{gamma:.0e}".split("e")
    return f"{mantissa} × 10" + str(int(exponent)).translate(SUPERSCRIPT)
