"""The paper's cross-sections: draws of a recovered law by level and temperature, in one plane.

The plane is the one in which all draws differ most. It is the same in every square, so that an
effect of the level or the temperature is visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unbackdoor.bench.framework.figure import opening, text
from unbackdoor.bench.paper.networks import SHAPE
from unbackdoor.report.curves import Scale
from unbackdoor.report.draws import Draws, principal_axes, read_draws
from unbackdoor.report.pixels import Shape, data_uri, image
from unbackdoor.results import StairRecord
from unbackdoor.triggers.planted import Trigger

SIDE, GAP, LEFT, TOP = 250, 14, 110, 70
POINT, MARGIN, DRAWS = 11, 12, 70


def figure(laws: Mapping[str, Sequence[StairRecord]], planted: Trigger) -> str:
    """Return a square for each law and level.

    Args:
        laws: name → stairs of triggers with as many values as the planted one, at the same levels.
        planted: the trigger, which a ring marks.

    """
    dimensions = planted.theta.numel()
    rows, columns = planted.space.picture(planted.theta[None], SHAPE).shape[2:]
    shape = (SHAPE[0], rows, columns)
    drawn = {name: [read_draws(stair, dimensions) for stair in own] for name, own in laws.items()}
    every = [draws.theta for own in drawn.values() for draws in own]
    mark = (planted.theta.numpy() * 255).round()[None]
    axes = principal_axes(np.concatenate(every))
    places = axes.project(np.concatenate([*(theta[:DRAWS] for theta in every), mark]))
    low, high = places.min(axis=0), places.max(axis=0)
    inside = POINT / 2 + MARGIN
    unit = (SIDE - 2 * inside) / max(*(high - low), 1e-9)
    height = max(SIDE / 2, (high - low)[1] * unit + 2 * inside)
    across, up = (
        Scale(middle - reach, middle + reach, *ends)
        for middle, reach, ends in (
            ((low + high)[0] / 2, SIDE / 2 / unit, (0, SIDE)),
            ((low + high)[1] / 2, height / 2 / unit, (height, 0)),
        )
    )
    title = f"Triggers recovered where {planted.name} was planted, by level and temperature"
    levels = [stair.beta for stair in next(iter(laws.values()))]
    parts = [opening(title, LEFT + (SIDE + GAP) * len(levels), TOP + (height + GAP) * len(laws))]
    parts.append(text(LEFT, 24, title, weight="600"))
    for column, beta in enumerate(levels):
        left = LEFT + (SIDE + GAP) * column
        parts.append(text(left + SIDE / 2, TOP - 12, f"β = {beta:g}", anchor="middle"))
    for row, (name, stairs) in enumerate(drawn.items()):
        top = TOP + (height + GAP) * row
        parts.append(text(LEFT - 12, top + height / 2, name, anchor="end"))
        for column, draws in enumerate(stairs):
            left = LEFT + (SIDE + GAP) * column
            parts.append(f'<g transform="translate({left:g} {top:g})">')
            parts.append(_frame(height))
            parts += _dots(draws, axes.project(draws.theta[:DRAWS]), across, up, shape)
            x, y = axes.project(mark)[0]
            parts.append(
                f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="{POINT}" fill="none" '
                f'stroke="#cc5544" stroke-width="2.5"/>'
            )
            share = f"{draws.valid.mean():.0%} of draws reach β"
            parts.append(text(SIDE - 8, height - 8, share, anchor="end", fill="#777777"))
            parts.append("</g>")
    return "\n".join([*parts, "</svg>"])


def _frame(height: float) -> str:
    return f'<rect width="{SIDE}" height="{height:g}" fill="none" stroke="#dddddd"/>'


def _dots(draws: Draws, plane: np.ndarray, across: Scale, up: Scale, shape: Shape) -> list[str]:
    """Return the pictures of draws; those that do not reach β are faint and behind the others."""
    parts: list[str] = []
    for row in np.argsort(draws.valid[:DRAWS], kind="stable"):
        x, y = plane[row]
        faint = "" if draws.valid[row] else ' opacity="0.25"'
        parts.append(
            f'<image x="{across(x) - POINT / 2:.1f}" y="{up(y) - POINT / 2:.1f}" width="{POINT}" '
            f'height="{POINT}" style="image-rendering:pixelated"{faint} '
            f'href="{data_uri(image(draws.theta[row].tobytes(), shape))}"/>'
        )
    return parts
