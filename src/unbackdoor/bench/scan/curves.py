"""The figure: the ROC curve of each method, over the networks on which it ran."""

from __future__ import annotations

from collections.abc import Sequence

from unbackdoor.bench.framework.bench import Figure
from unbackdoor.bench.framework.figure import COLOURS, line, opening, text
from unbackdoor.bench.framework.roc import area, curve
from unbackdoor.bench.scan.looked import ScanRow
from unbackdoor.bench.scan.seen import by_method, scores
from unbackdoor.errors import ArgumentError
from unbackdoor.report.curves import Scale

WIDTH, HEIGHT, SIDE = 820, 440, 340
LEFT, TOP = 64, 44
TITLE = "Backdoored networks found, and clean ones accused, from each score on"


class CurvesFigure(Figure[ScanRow]):
    """The ROC curves."""

    def draw(self, rows: Sequence[ScanRow]) -> str:
        """Return the figure as SVG.

        Raises:
            ArgumentError: no method ran on networks of both kinds.

        """
        across = Scale(0, 1, LEFT, LEFT + SIDE)
        up = Scale(0, 1, TOP + SIDE, TOP)
        parts = [opening(TITLE, WIDTH, HEIGHT), text(LEFT, 22, TITLE, weight="600")]
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            parts.append(line(across(share), TOP, across(share), TOP + SIDE, "#eeeeee"))
            parts.append(line(LEFT, up(share), LEFT + SIDE, up(share), "#eeeeee"))
            label = f"{100 * share:g} %"
            parts.append(text(across(share), TOP + SIDE + 18, label, anchor="middle"))
            parts.append(text(LEFT - 8, up(share) + 4, label, anchor="end"))
        parts.append(line(across(0), up(0), across(1), up(1), "#999999", dash="5 4"))
        parts.append(
            text(LEFT + SIDE / 2, HEIGHT - 16, "of clean ones", anchor="middle", fill="#555555")
        )
        drawn = 0
        for (name, some), colour in zip(by_method(rows).items(), COLOURS, strict=False):
            planted, clean = scores(some)
            if (found := area(planted, clean)) is None:
                continue
            points = [(across(x), up(y)) for x, y in curve(planted, clean)]
            joined = " ".join(f"{x:g},{y:g}" for x, y in points)
            parts.append(
                f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            below = TOP + 12 + 38 * drawn
            parts.append(text(LEFT + SIDE + 24, below, name, fill=colour, weight="600"))
            told = (
                f"AUC {found.value:.3f} ({found.low:.2f} to {found.high:.2f}); "
                f"{len(planted)} backdoored, {len(clean)} clean"
            )
            parts.append(text(LEFT + SIDE + 24, below + 17, told, fill="#555555"))
            drawn += 1
        if not drawn:
            raise ArgumentError(
                "-f svg: no method ran on networks with a backdoor and on clean ones, so there is "
                "no curve; measure more networks."
            )
        return "\n".join([*parts, "</svg>"])
