"""Benchmarks: each repeats measurements of the README and the docs, and keeps their provenance."""

from __future__ import annotations

from typing import Any

from unbackdoor.bench import profile, robust, shipped
from unbackdoor.bench.bag import bench as bag
from unbackdoor.bench.bag import evasion, few
from unbackdoor.bench.families import bench as families
from unbackdoor.bench.framework.bench import Bench, Measured, Request, measure
from unbackdoor.bench.framework.engine import Engine, Processes, Ray, Serial
from unbackdoor.bench.framework.table import markdown
from unbackdoor.bench.modes import bench as modes
from unbackdoor.bench.paper import features, table
from unbackdoor.bench.paper import robust as paper_robust
from unbackdoor.bench.reference import bench as reference
from unbackdoor.bench.reference import panels
from unbackdoor.bench.repairs import bench as repairs
from unbackdoor.bench.scan import bench as scan
from unbackdoor.bench.toys import bench as toys

__all__ = [
    "BENCHES",
    "Bench",
    "Engine",
    "Measured",
    "Processes",
    "Ray",
    "Request",
    "Serial",
    "markdown",
    "measure",
]

BENCHES: dict[str, Bench[Any]] = {
    bench.name: bench
    for bench in (
        shipped.BENCH,
        families.BENCH,
        bag.BENCH,
        evasion.BENCH,
        few.BENCH,
        repairs.BENCH,
        repairs.RELEARNING,
        scan.BENCH,
        profile.BENCH,
        toys.BENCH,
        modes.BENCH,
        reference.BENCH,
        robust.BENCH,
        panels.BENCH,
        table.BENCH,
        features.BENCH,
        paper_robust.BENCH,
    )
}
"""By name on the command line."""
