"""Figures as SVG for documents: lines on two logarithmic axes, and shared parts of figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from unbackdoor.report.curves import Scale

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 44, 56
COLOURS = (
    *("#3366aa", "#cc5544", "#338855", "#8855aa", "#aa7722"),
    *("#22aacc", "#cc4499", "#77aa22", "#555555", "#ddaa11"),
    *("#99aaee", "#ee9988", "#77ccaa", "#cc99dd"),
)


def lines(
    title: str,
    x_name: str,
    y_name: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    goal: tuple[float, str] | None = None,
) -> str:
    """Return the figure.

    Args:
        title: above it.
        x_name: under the horizontal axis.
        y_name: over the vertical axis.
        curves: name → points (x, y), both above 0.
        goal: a level to draw as a dashed line, and its name.

    """
    xs = sorted({x for points in curves.values() for x, _ in points})
    ys = [y for points in curves.values() for _, y in points] + ([goal[0]] if goal else [])
    low, high = math.floor(2 * math.log10(min(ys))) / 2, math.ceil(2 * math.log10(max(ys))) / 2
    across = Scale(math.log10(xs[0]), math.log10(xs[-1]), LEFT, WIDTH - RIGHT)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        opening(title, WIDTH, HEIGHT),
        text(LEFT, 20, title, weight="600"),
        text(LEFT, 37, y_name, fill="#555555"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, anchor="middle", fill="#555555"),
    ]
    for x in xs:
        place = across(math.log10(x))
        parts.append(line(place, TOP, place, HEIGHT - BOTTOM, "#eeeeee"))
        parts.append(text(place, HEIGHT - BOTTOM + 20, f"{x:g}", anchor="middle"))
    for power in range(math.floor(low), math.ceil(high) + 1):
        for factor in (1, 2, 5):
            value = factor * 10.0**power
            if low <= math.log10(value) <= high:
                place = up(math.log10(value))
                parts.append(line(LEFT, place, WIDTH - RIGHT, place, "#eeeeee"))
                parts.append(text(LEFT - 8, place + 4, f"{value:g}", anchor="end"))
    if goal:
        place = up(math.log10(goal[0]))
        parts.append(line(LEFT, place, WIDTH - RIGHT, place, "#999999", dash="5 4"))
        parts.append(text(WIDTH - RIGHT + 8, place + 4, goal[1], fill="#777777"))
    ends = sorted((up(math.log10(points[-1][1])), name) for name, points in curves.items())
    below = -math.inf
    labels: dict[str, float] = {}
    for place, name in ends:
        below = max(place, below + 17)
        labels[name] = below
    for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
        places = [(across(math.log10(x)), up(math.log10(y))) for x, y in points]
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(text(WIDTH - RIGHT + 8, labels[name] + 4, name, fill=colour, weight="600"))
    return "\n".join([*parts, "</svg>"])


def opening(title: str, width: float, height: float) -> str:
    """Return the head of a figure on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    fill: str = "#222222",
    weight: str = "400",
) -> str:
    """Return a text at a place."""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" '
        f'font-weight="{weight}">{escape(content)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, dash: str = "none") -> str:
    """Return a straight line."""
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{stroke}" '
        f'stroke-dasharray="{dash}"/>'
    )
