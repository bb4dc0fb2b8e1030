"""One natural direction of data, held for every module; functions that one takes in at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from imports import ROOT, House

SHORT = ("app", "detectors", "repairing", "scanning", "verdict")
MOST_PARAMETERS, MOST_LINES = 7, 60
HEAVY = {"torch", "zuko", "numpy"}
LIGHT = ("__init__", "app/cli", "app/options", "results/records", "triggers/__init__")
"""What the command line loads before it knows what is asked."""


def test_the_house_stands() -> None:
    assert House().wrong() == []


def test_a_wrong_arrow_and_a_circle_are_seen(tmp_path: Path) -> None:
    package = tmp_path / "unbackdoor"
    (package / "mesa").mkdir(parents=True)
    (package / "mesa" / "__init__.py").write_text("")
    (package / "mesa" / "flow.py").write_text("from unbackdoor import rng\n")
    (package / "rng.py").write_text("def f():\n    from unbackdoor.mesa import flow\n")
    said = House(package).wrong()
    assert "rng takes from mesa, which stands above it" in said
    assert any(line.startswith("a circle: ") for line in said)


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for unit in SHORT:
        for path in sorted((ROOT / unit).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    yield f"{path.relative_to(ROOT)}:{node.name}", node


def test_no_function_takes_more_than_a_reader_can_hold() -> None:
    for where, node in functions():
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        own = [argument.arg for argument in every if argument.arg not in {"self", "cls"}]
        assert len(own) <= MOST_PARAMETERS, (where, own)


def test_no_function_is_longer_than_a_screen() -> None:
    for where, node in functions():
        body = node.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        if body:
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= MOST_LINES, (where, length)


@pytest.mark.parametrize("name", [name for name in LIGHT if (ROOT / f"{name}.py").is_file()])
def test_what_the_command_line_loads_first_imports_no_torch(name: str) -> None:
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    heads: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            heads |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            heads.add(node.module or "")
    assert not {head.split(".")[0] for head in heads} & HEAVY
