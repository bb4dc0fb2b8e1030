"""The paper's figure: the success of each trigger after the defences, sorted, with its pattern."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from unbackdoor.bench.framework.figure import COLOURS, line, opening, text
from unbackdoor.bench.paper.defended import DefenceRow
from unbackdoor.bench.paper.networks import SHAPE
from unbackdoor.report.curves import Scale
from unbackdoor.triggers.notation import parse_trigger

WIDTH, HEIGHT = 1000, 330
LEFT, RIGHT, TOP, BOTTOM = 60, 210, 40, 50
TICKS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FLOOR = "clean network"
LARGEST, ROOM = 12.0, 0.85
"""Largest side of a pattern, and its side as a share of the distance between two patterns."""


def figure(rows: Sequence[DefenceRow], ours: str) -> str:
    """Return one chart for each data set and way of implanting.

    Args:
        rows: of any defences; rows of the same defence and trigger are averaged.
        ours: the defence by which triggers are sorted.

    """
    charts = list(dict.fromkeys((row.data, row.variant) for row in rows))
    title = "Attack success rate of each planted trigger after the defences"
    parts = [opening(title, WIDTH, HEIGHT * len(charts))]
    for index, (data, variant) in enumerate(charts):
        own = [row for row in rows if (row.data, row.variant) == (data, variant)]
        parts.append(f'<g transform="translate(0 {HEIGHT * index})">')
        parts += _chart(f"({'abcdefgh'[index]}) {data}, {variant}", own, ours)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"])


def _chart(title: str, rows: Sequence[DefenceRow], ours: str) -> list[str]:
    series = _series(rows)
    by = series.get(ours, series[FLOOR])
    order = sorted(series[FLOOR], key=lambda trigger: by.get(trigger, 1.0))
    across = Scale(0, max(1, len(order) - 1), LEFT + 20, WIDTH - RIGHT - 20)
    least = min(value for values in series.values() for value in values.values())
    lowest = max((tick for tick in TICKS[:-1] if tick <= least), default=TICKS[0])
    up = Scale(math.log10(lowest), 0, HEIGHT - BOTTOM, TOP)
    side = min(LARGEST, ROOM * (across(1) - across(0))) if len(order) > 1 else LARGEST
    parts = [text(LEFT, 22, title, weight="600")]
    for tick in TICKS[TICKS.index(lowest) :]:
        place = up(math.log10(tick))
        parts.append(line(LEFT, place, WIDTH - RIGHT, place, "#eeeeee"))
        sign = "≤ " if tick == lowest and least < lowest else ""
        parts.append(text(LEFT - 8, place + 4, f"{sign}{100 * tick:g} %", anchor="end"))
    for index, (name, values) in enumerate(series.items()):
        colour = "#999999" if name == FLOOR else COLOURS[index % len(COLOURS)]
        for at, trigger in enumerate(order):
            if trigger in values:
                place = up(math.log10(max(values[trigger], lowest)))
                parts.append(f'<circle cx="{across(at):g}" cy="{place:g}" r="3" fill="{colour}"/>')
        below = TOP + 18 * index
        label = f"{name} (our default)" if name == ours else name
        parts.append(f'<circle cx="{WIDTH - RIGHT + 14}" cy="{below}" r="3" fill="{colour}"/>')
        parts.append(text(WIDTH - RIGHT + 24, below + 4, label, fill=colour))
    for at, trigger in enumerate(order):
        parts += _pattern(trigger, across(at), HEIGHT - BOTTOM + 10, side)
    return parts


def _series(rows: Sequence[DefenceRow]) -> Mapping[str, Mapping[str, float]]:
    """Return defence → trigger → mean rate, without rows in which nothing was done."""
    series: dict[str, dict[str, list[float]]] = {FLOOR: {}}
    for row in rows:
        series[FLOOR].setdefault(row.trigger, []).append(row.asr_clean)
        if row.passes:
            series.setdefault(row.defence, {}).setdefault(row.trigger, []).append(row.asr_after)
    return {
        name: {trigger: fmean(values) for trigger, values in own.items()}
        for name, own in series.items()
    }


def _pattern(trigger: str, middle: float, y: float, side: float) -> list[str]:
    planted = parse_trigger(trigger, SHAPE)
    picture = planted.space.picture(planted.theta[None], SHAPE)[0] * 255
    picture = picture.round().int()
    rows, columns = picture.shape[1:]
    x, size = middle - side / 2, side / columns
    parts: list[str] = []
    for row in range(rows):
        for column in range(columns):
            colour = "".join(f"{int(level):02x}" for level in picture[:, row, column])
            parts.append(
                f'<rect x="{x + column * size:g}" y="{y + row * size:g}" width="{size:g}" '
                f'height="{size:g}" fill="#{colour}"/>'
            )
    frame = f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" '
    return [*parts, f'{frame}fill="none" stroke="#999999" stroke-width="0.5"/>']
