"""The modules of the command line import each other in one direction alone."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from unbackdoor import app

ROOT = Path(app.__file__).parent
TYPES_OF_BENCH = ("commands.bench", "cli")
"""The options of bench stand in cli; the command names their type and uses nothing else of it."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(path: Path, known: set[str]) -> set[str]:
    """Return what a module imports of the others, wherever in it, for types alone too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("unbackdoor.app.") for name in names} & known


def test_there_is_no_circle() -> None:
    paths = {name_of(path): path for path in ROOT.rglob("*.py") if path.stem != "__init__"}
    graph = {
        name: {other for other in imported(path, {*paths}) if (name, other) != TYPES_OF_BENCH}
        for name, path in paths.items()
    }
    assert graph["cli"] > {"options", "commands.scan", "settings_file"}
    order = [*TopologicalSorter(graph).static_order()]
    assert order[-1] == "cli"


def test_nothing_below_imports_the_command_line() -> None:
    for path in ROOT.parent.rglob("*.py"):
        if ROOT not in path.parents and path.name != "__main__.py":
            assert "unbackdoor.app" not in path.read_text(), path
