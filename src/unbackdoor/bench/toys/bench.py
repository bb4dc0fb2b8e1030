"""``bench toys``: test every estimator on problems with known answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from unbackdoor.bench.framework.bench import Bench, Figure, Request, rows_in_each_result
from unbackdoor.bench.framework.figure import lines
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.toys.estimates import Estimate, Staircases, Stairs
from unbackdoor.bench.toys.problems import densities, level_sets
from unbackdoor.errors import ArgumentError
from unbackdoor.mesa import Estimator, FlowEstimator, Mine, Smc
from unbackdoor.mesa.settings import MINE_CORRECTED, MINE_PAPER

MINE_UP_TO = 27
"""Largest number of dimensions in which ``mine`` finds a valid draw."""
ESTIMATORS: Mapping[str, Estimator] = {
    "flow": FlowEstimator(),
    "smc": Smc(),
    "mine, paper": Mine(MINE_PAPER),
    "mine, corrected": Mine(MINE_CORRECTED),
}


def plan(request: Request) -> list[Spec]:
    """Return for each seed the stairs by every estimator, and the staircases by ``smc``."""
    problems, known = level_sets(), densities()
    specs: list[Spec] = []
    for seed in request.seeds:
        specs += [
            Stairs(problem=problem, name=name, estimator=estimator, seed=seed)
            for name, estimator in ESTIMATORS.items()
            for problem in problems
            if problem.dimensions <= MINE_UP_TO or not name.startswith("mine")
        ]
        specs += [
            Staircases(density=density, estimator=ESTIMATORS["smc"], seed=seed) for density in known
        ]
    return specs


def table(rows: Sequence[Estimate]) -> list[Line]:
    """Return a line per problem and estimator: mean over seeds and levels, worst in brackets."""
    lines: list[Line] = []
    for problem, dimensions, estimator, stairs in dict.fromkeys(map(_line_of, rows)):
        own = [r for r in rows if _line_of(r) == (problem, dimensions, estimator, stairs)]
        truths = [r.truth for r in own if r.truth is not None]
        lost = [r for r in own if r.valid == 0]
        lines.append(
            {
                "problem": problem,
                "n": str(dimensions),
                "estimator": estimator if stairs is None else f"{stairs} stairs of {estimator}",
                "seeds": str(len({r.seed for r in own})),
                "log volumes": f"{max(truths):.1f} … {min(truths):.1f}" if truths else "–",
                "error, nats": "nothing found"
                if lost
                else _mean_worst(abs(r.error) for r in own if r.error is not None),
                "information, nats": _mean_worst(
                    (r.information for r in own if r.information is not None), worst=min
                ),
                "valid": _mean_worst((r.valid for r in own if r.valid is not None), worst=min),
                "modes found": f"{min(r.modes or 0 for r in own)} of {own[0].modes_of}"
                if own[0].modes_of
                else "–",
                "distance of modes": _mean_worst(
                    r.mode_distance for r in own if r.mode_distance is not None
                ),
                "distance of laws": _mean_worst(
                    (r.distance for r in own if r.distance is not None), digits=3
                ),
                "MMD² · 10³ (exact)": f"{1e3 * fmean(r.mmd for r in own):.2f} "
                f"({1e3 * fmean(r.mmd_exact for r in own):.2f})",
                "calls of F": f"{fmean(r.calls for r in own):,.0f}",
                "seconds": f"{fmean(r.seconds for r in own):.1f}",
            }
        )
    return lines


def _line_of(row: Estimate) -> tuple[str, int, str, int | None]:
    """Return the key that the rows of one line share."""
    return row.problem, row.dimensions, row.estimator, row.stairs


class StairsFigure(Figure[Estimate]):
    """The error of a staircase against the number of its stairs."""

    def draw(self, rows: Sequence[Estimate]) -> str:
        """Return it as SVG.

        Raises:
            ArgumentError: there is no staircase in the plane among the rows.

        """
        curves: dict[str, list[tuple[float, float]]] = {}
        for problem, stairs in dict.fromkeys((r.problem, r.stairs) for r in rows):
            found = [
                row.distance
                for row in rows
                if (row.problem, row.stairs) == (problem, stairs) and row.distance is not None
            ]
            if found and stairs is not None:
                curves.setdefault(problem, []).append((stairs, fmean(found)))
        if not curves:
            raise ArgumentError("--store: it has no staircases yet; measure some first.")
        return lines(
            "A staircase comes nearer with every stair",
            "stairs, their β chosen automatically",
            "total variation to the density, mean over the seeds",
            curves,
            goal=(0.05, "0.05"),
        )


def _mean_worst(
    values: Iterable[float], *, worst: Callable[[list[float]], float] = max, digits: int = 2
) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    return f"{fmean(known):.{digits}f} ({worst(known):.{digits}f})"


BENCH = Bench(
    name="toys",
    summary="Every estimator of level sets on problems whose answer is known.",
    plan=plan,
    rows=rows_in_each_result,
    table=table,
    figure=StairsFigure(),
)
