"""Who may import whom: one natural direction of data, held for every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import unbackdoor

ROOT = Path(unbackdoor.__file__).parent
ALLOWED = {
    "errors": set(),
    "rng": set(),
    "runtime": {"errors"},
    "mesa": {"errors", "rng"},
    "triggers": {"errors", "rng", "runtime"},
    "data": {"errors", "runtime"},
    "models": {"errors", "runtime"},
    "metrics": {"data", "errors", "triggers"},
    "results": {"detectors", "errors", "runtime"},
    "training": {"data", "errors", "rng", "runtime"},
    "attack": {
        "data", "errors", "metrics", "models", "results", "rng", "runtime", "training", "triggers",
    },
    "preflight": {"data", "errors", "metrics", "models", "results"},
    "detectors": {
        "data", "errors", "mesa", "metrics", "models", "rng", "runtime", "triggers",
    },
    "verdict": {"detectors", "results"},
    "scanning": {
        "data", "detectors", "errors", "mesa", "metrics", "models", "results", "rng", "runtime",
        "triggers", "verdict",
    },
    "repairing": {
        "data", "detectors", "errors", "metrics", "models", "results", "rng", "runtime",
        "scanning", "training", "triggers",
    },
    "report": {"errors", "results", "runtime"},
}  # fmt: skip


def modules(unit: str) -> list[Path]:
    folder = ROOT / unit
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{unit}.py"]


def imported_units(path: Path) -> set[str]:
    units: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "unbackdoor":
            units |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unbackdoor."):
            units.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            units |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("unbackdoor.")
            }
    return units


@pytest.mark.parametrize("unit", ALLOWED)
def test_a_unit_imports_only_what_lies_before_it(unit: str) -> None:
    for path in modules(unit):
        assert imported_units(path) <= ALLOWED[unit] | {unit}, path


def test_every_unit_has_its_place() -> None:
    free = {"__init__", "__main__", "api", "app", "bench", "subject"}
    units = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert units - free - {"__pycache__"} == set(ALLOWED)


def test_the_command_line_and_the_package_itself_import_no_torch() -> None:
    for name in ("__init__", "app/cli"):
        tree = ast.parse((ROOT / f"{name}.py").read_text())
        heads = {
            name
            for node in tree.body
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not any(head.split(".")[0] in {"torch", "zuko", "numpy"} for head in heads)
