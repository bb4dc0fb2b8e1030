"""``bench reference``: compare the staircase of a scan with a long run of ``smc`` on the same F.

Both use the same images and places. The uniform law on V_β has its mass at the edge, where half of
the draws would not be valid on other images. So draws for later use are first filtered on a
thousand images with a margin of two standard errors, and then judged on a thousand images that were
not used before.
"""

from __future__ import annotations

from collections.abc import Sequence

from unbackdoor.bench.framework.bench import Bench, Request, rows_in_each_result
from unbackdoor.bench.framework.models import backdoored
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.reference.comparisons import Compared, Comparison


def plan(request: Request) -> list[Spec]:
    """Return a piece for each model and seed."""
    return [
        Compared(model=model, seed=seed) for model in backdoored(request) for seed in request.seeds
    ]


def table(rows: Sequence[Comparison]) -> list[Line]:
    """Return one line per model, seed and level."""
    return [
        {
            "model": f"`{row.model}`",
            "seed": str(row.seed),
            "β": "staircase" if row.beta is None else f"{row.beta:g}",
            "log volume: smc": _number(row.smc, ".1f"),
            "flow": "–"
            if row.flow is None
            else f"{row.flow:.1f} ± {_number(row.flow_error, '.1f')}",
            "valid": _number(row.valid, ".0%"),
            "kept by rejection": _number(row.kept, ".0%"),
            "valid on fresh images": _number(row.fresh, ".0%"),
            "modes: smc (its repeats) / flow": ", ".join(
                f"{name} {share:.0%} ({', '.join(f'{one[name]:.0%}' for one in row.modes_repeats)})"
                f" / {row.modes_flow[name]:.0%}"
                for name, share in row.modes_smc.items()
            ),
            "within a factor of two": f"{sum(row.found)} of {len(row.found)}",
            "patterns within it": f"{sum(row.patterns_found)} of {len(row.patterns_found)}",
            "connected": _number(row.connected, ".0%"),
            "planted": f"{row.original or '–'}, F = {row.value_of_original:.2f}",
            "nearest to it: smc / flow": f"{_number(row.nearest_smc, '.2f')} / "
            f"{_number(row.nearest_flow, '.2f')}",
            "passes: smc / flow": f"{row.smc_passes:,} / {row.passes:,}",
        }
        for row in rows
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


BENCH = Bench(
    name="reference",
    summary="The staircase of a scan, compared with a long population on the same network.",
    plan=plan,
    rows=rows_in_each_result,
    table=table,
    flags=frozenset({"models"}),
)
