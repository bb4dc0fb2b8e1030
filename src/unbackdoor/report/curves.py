"""Where the figure of the classes puts its lines: x is the level β, y is log|V_β| in nats.

Every line begins at β = 0, where all patterns count, so that log|V_0| = 0. It goes on as long as
triggers were found that reach the level, and ends at the first level without: there only an upper
bound is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unbackdoor.errors import printable
from unbackdoor.report.words import clip, compact, fixed
from unbackdoor.results import ClassRecord, LogVolume, Rung, Status

ALL = LogVolume(beta=0.0, value=0.0, upper_bound=0.0)
"""Every pattern is a trigger at level 0."""

GAP = 17.0
"""Units between two labels, so that they do not touch."""
LABELLED = 12
"""Lines that get a label; more would fill the height."""
LONGEST = 30
"""Signs of a label that are kept; the browser shows as many as there is room for."""


@dataclass(frozen=True)
class Scale:
    """The straight map that takes ``low`` to ``start`` and ``high`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where ``value`` goes, the middle if all values are one."""
        if self.high == self.low:
            return round((self.start + self.end) / 2, 2)
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True)
class Tick:
    """One mark on an axis: where, and what it says."""

    place: float
    text: str


@dataclass(frozen=True)
class Mark:
    """One point: an estimate, or the upper bound of ``count`` classes that have none."""

    x: float
    y: float
    status: Status
    count: int
    hint: str


@dataclass(frozen=True)
class Line:
    """The estimates of one class, as the points of an SVG polyline; ``dashed`` leads to a bound."""

    points: str
    status: Status
    dashed: bool


@dataclass(frozen=True)
class Label:
    """The name of a line at its right end; ``y`` is moved away from other names, ``from_y`` not."""

    x: float
    y: float
    from_y: float
    text: str
    status: Status


@dataclass(frozen=True, kw_only=True)
class CurvePlot:
    """The whole figure, in units of its view box.

    ``ends`` are the levels that the best triggers of classes without estimates reach in the spaces
    of those that have some.
    """

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    marks: list[Mark]
    bounds: list[Mark]
    labels: list[Label]
    ends: list[Tick]

    @property
    def last_end(self) -> float | None:
        """Where the last of the classes that were not measured ends."""
        return max((end.place for end in self.ends), default=None)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers in [low, high], at most ``most`` + 1 of them, low < high.

    Example:
        >>> ticks(-23.0, 0.0)
        [-20.0, -15.0, -10.0, -5.0, 0.0]

    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) + 0.0 for index in range(first, last + 1)]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places moved as little as needed to lie ``gap`` apart in [low, high].

    They keep their order. Where not all fit, they go beyond ``low``.

    Example:
        >>> spread([50.0, 50.0, 10.0], 20, 0.0, 60.0)
        [40.0, 60.0, 10.0]

    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    previous = low - gap
    for index in order:
        previous = moved[index] = max(float(places[index]), previous + gap)
    following = high + gap
    for index in reversed(order):
        following = moved[index] = min(moved[index], following - gap)
    return moved


def height_of(volume: LogVolume) -> float | None:
    """Return the estimate, else the bound, None where neither is a finite number."""
    for height in (volume.value, volume.upper_bound):
        if height is not None and math.isfinite(height):
            return height
    return None


def course(record: ClassRecord) -> list[LogVolume]:
    """Return the levels of a class in order, up to the first that no trigger reached."""
    kept: list[LogVolume] = []
    for volume in sorted(record.log_volume, key=lambda one: one.beta):
        if height_of(volume) is None:
            continue
        kept.append(volume)
        if volume.value is None:
            break
    return [ALL, *kept] if kept else []


def curve_plot(classes: Sequence[ClassRecord], width: int, height: int) -> CurvePlot | None:
    """Return the figure for a view box of ``width`` × ``height``, None if it would be empty."""
    courses = [(record, course(record)) for record in classes]
    heights = [
        tall for _, known in courses for one in known if (tall := height_of(one)) is not None
    ]
    if not heights:
        return None
    betas = sorted({0.0, *(one.beta for record in classes for one in record.log_volume)})
    floor, ceiling = min(*heights, -1.0), max(0.0, *heights)
    narrow = width < 500
    left, right, top, bottom = 46.0, width - (104.0 if narrow else 176.0), 18.0, height - 48.0
    # The lowest bound needs room for its arrow above the axis.
    y = Scale(floor - 0.1 * (ceiling - floor), ceiling, bottom, top)
    inset = 18.0 if narrow else 36.0
    x = Scale(betas[0], betas[-1], left + inset, right - inset)

    lines: list[Line] = []
    marks: list[Mark] = []
    groups: dict[tuple[float, float, Status], list[str]] = {}
    for record, levels in courses:
        known = [
            (volume, x(volume.beta), y(tall))
            for volume in levels
            if (tall := height_of(volume)) is not None
        ]
        for volume, across, down in known[1:]:
            if volume.value is None:
                groups.setdefault((across, down, record.status), []).append(printable(record.name))
            else:
                hint = (
                    f"{printable(record.name)}, β = {compact(volume.beta)}: {fixed(volume.value)}"
                )
                marks.append(Mark(across, down, record.status, 1, hint))
        for (_, *start), (other, *end) in pairwise(known):
            lines.append(Line(_points(start, end), record.status, other.value is None))
    bounds = [
        Mark(across, down, status, len(names), f"upper bound of {', '.join(names[:20])}")
        for (across, down, status), names in groups.items()
    ]
    marks.sort(key=_prominence)
    return CurvePlot(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=[Tick(x(beta), compact(beta)) for beta in betas],
        y_ticks=[Tick(y(value), compact(value)) for value in ticks(y.low, y.high)],
        lines=sorted(lines, key=_prominence),
        marks=marks,
        bounds=sorted(bounds, key=_prominence),
        labels=_labels(classes, y, right, (top, bottom)),
        ends=_ends(classes, x),
    )


def _ends(classes: Sequence[ClassRecord], x: Scale) -> list[Tick]:
    """Return where the classes end that were not measured: no stronger trigger does more."""
    spaces = {record.space.partition("@")[0] for record in classes if record.log_volume}
    ends: list[Tick] = []
    for record in classes:
        as_strong = [rung for rung in record.ladder if any(_holds(rung, one) for one in spaces)]
        if as_strong and not record.log_volume:
            least = min(as_strong, key=lambda rung: _strength(rung.space)[1])
            place = x(min(least.asr, x.high))
            name, space = printable(record.name), printable(least.space)
            ends.append(Tick(place, f"{name}: up to {least.asr:.1%} by {space}"))
    return ends


def _holds(rung: Rung, space: str) -> bool:
    """Return whether a space has all triggers of another, or stronger ones of its kind."""
    (kind, strength), (other, least) = _strength(rung.space), _strength(space)
    return kind == other and strength >= least


def _strength(space: str) -> tuple[str, int]:
    """Return what kind of triggers a space holds, and how strong they may be."""
    matched = re.match(r"(\w+):(\d+)(x\d+)?", space)
    return (f"{matched[1]}{matched[3] or ''}", int(matched[2])) if matched else (space, 0)


def _labels(
    classes: Sequence[ClassRecord],
    y: Scale,
    right: float,
    between: tuple[float, float],
) -> list[Label]:
    wanted: list[tuple[float, str, Status]] = []
    marked = sorted((r for r in classes if r.status != "clean"), key=lambda r: -r.asr)
    for record in marked[:LABELLED]:
        known = course(record)
        tall = height_of(known[-1]) if known else None
        if tall is not None:
            wanted.append((y(tall), clip(printable(record.name), LONGEST), record.status))
    moved = spread([place for place, _, _ in wanted], GAP, *between)
    return [
        Label(right, down, place, text, status)
        for down, (place, text, status) in zip(moved, wanted, strict=True)
    ]


def _points(start: Sequence[float], end: Sequence[float]) -> str:
    return f"{start[0]:g},{start[1]:g} {end[0]:g},{end[1]:g}"


def _prominence(shape: Mark | Line) -> int:
    """Sort key: what matters most is drawn last, on top."""
    return ("clean", "suspicious", "backdoored").index(shape.status)
