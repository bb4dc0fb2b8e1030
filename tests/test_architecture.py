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
    "settings": set(),
    "progress": {"errors"},
    "snapshot": set(),
    "cpu": set(),
    "terminal": set(),
    "files": {"errors"},
    "pictures": {"errors"},
    "results": {"errors", "files", "settings"},
    "journal": {"errors", "files", "progress"},
    "configuration": {"errors"},
    "gate": {"errors", "results"},
    "mesa": {"errors", "rng", "settings"},
    "triggers": {"errors", "pictures", "rng"},
    "data": {"errors", "files", "pictures", "progress"},
    "models": {"errors", "files", "cpu"},
    "metrics": {"data", "errors", "triggers"},
    "training": {"cpu", "data", "errors", "journal", "progress", "rng", "settings", "snapshot"},
    "attack": {
        "data", "errors", "files", "journal", "metrics", "models", "progress", "results", "rng",
        "settings", "training", "triggers",
    },
    "preflight": {"data", "errors", "metrics", "models", "results"},
    "scanning": {
        "data", "errors", "journal", "mesa", "metrics", "models", "progress", "results", "rng",
        "settings", "snapshot", "triggers",
    },
    "repairing": {
        "data", "errors", "journal", "metrics", "models", "progress", "results", "rng", "scanning",
        "settings", "training", "triggers",
    },
    "baselines": {"data", "errors", "models", "settings", "training", "triggers"},
    "report": {"errors", "files", "results"},
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
    free = {"__init__", "__main__", "api", "case", "cli", "commands", "deliver", "experiments"}
    units = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert units - free - {"__pycache__"} == set(ALLOWED)


def test_settings_and_the_package_itself_import_no_torch() -> None:
    for name in ("settings", "__init__", "cli"):
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
