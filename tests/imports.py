"""The house as its imports show it: which unit stands on which, drawn and checked.

``python tests/imports.py`` (or ``make imports``) prints the floors from the top down with the units
that each takes from, and what breaks the rules: an arrow that runs back up, a circle, too many
modules at the root. The architecture test reads the same facts.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent / "src" / "unbackdoor"
FLOORS = {
    "errors": "what can go wrong, and settings that check themselves",
    "rng": "named streams of random numbers",
    "runtime": "files, journals, snapshots, progress, the processor",
    "mesa": "F in, a distribution out; knows no images",
    "triggers": "how θ changes a picture; a file for each family",
    "data": "clean images with labels",
    "models": "networks of others, loaded safely, made ready, written back",
    "metrics": "accuracy and attack success",
    "training": "the one training loop",
    "detectors": "model, images, spaces → evidence",
    "verdict": "evidence → clean, backdoored or inconclusive",
    "results": "what a command returns, and its file",
    "attack": "backdoors of one's own, to measure with",
    "preflight": "whether a scan would mean anything",
    "scanning": "detector → judge → result",
    "repairing": "unlearning what was found; rivals",
    "report": "results → tables, pages, SARIF",
    "subject": "a model with its images, prepared once",
    "api": "the same from Python",
    "bench": "what the documents state, measured",
    "app": "what people type",
    "__init__": "the public names",
    "__main__": "python -m unbackdoor",
}
"""From the ground up: a unit takes from those before it and from no other."""
ALONE = {"mesa": {"errors", "rng"}, "report": {"errors", "runtime", "results"}}
"""Units that take from these alone."""
STRANGERS = ("triggers", "data", "models")
"""Do not know each other."""
MOST_AT_ROOT = 10


@dataclass(frozen=True)
class House:
    """The modules of a package and what each takes from which.

    Args:
        root: folder of the package.

    """

    root: Path = ROOT

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Every module by its dotted name inside the package."""
        found: dict[str, Path] = {}
        for path in sorted(self.root.rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
            found[name] = path
        return found

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """For each module the modules of the package that it imports, wherever in the file."""
        return {name: set(self._taken(path)) - {name} for name, path in self.modules.items()}

    def _taken(self, path: Path) -> list[str]:
        package = self.root.name
        taken: list[str] = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                parts = name.split(".")
                if parts[0] != package:
                    continue
                inside = parts[1:]
                while inside and ".".join(inside) not in self.modules:
                    inside = inside[:-1]
                if inside:
                    taken.append(".".join(inside))
        return taken

    @staticmethod
    def unit(module: str) -> str:
        """Return the room at the root that a module lies in."""
        return module.split(".")[0]

    @cached_property
    def rooms(self) -> dict[str, set[str]]:
        """For each unit the other units that it takes from."""
        rooms: dict[str, set[str]] = {self.unit(name): set() for name in self.modules}
        for name, taken in self.arrows.items():
            rooms[self.unit(name)] |= {self.unit(one) for one in taken} - {self.unit(name)}
        return rooms

    @property
    def at_root(self) -> list[str]:
        """Modules, not folders, at the root."""
        return sorted(path.stem for path in self.root.glob("*.py"))

    def wrong(self) -> list[str]:
        """Return what breaks the rules, a sentence each."""
        order = list(FLOORS)
        said: list[str] = []
        for unit in sorted(set(self.rooms) ^ set(order)):
            said.append(f"{unit} has no floor, or is not there")
        for unit, taken in self.rooms.items():
            for other in sorted(taken):
                if unit in order and other in order and order.index(other) > order.index(unit):
                    said.append(f"{unit} takes from {other}, which stands above it")
            if unit in ALONE and taken - ALONE[unit]:
                said.append(f"{unit} takes from {', '.join(sorted(taken - ALONE[unit]))}")
            if unit in STRANGERS and taken & set(STRANGERS):
                said.append(f"{unit} knows {', '.join(sorted(taken & set(STRANGERS)))}")
        said += [f"a circle: {' → '.join(circle)}" for circle in self.circles()]
        if len(self.at_root) > MOST_AT_ROOT:
            said.append(f"{len(self.at_root)} modules at the root: {', '.join(self.at_root)}")
        return said

    def circles(self) -> list[list[str]]:
        """Return circles of modules that import each other, one for each group."""
        found: list[list[str]] = []
        done: set[str] = set()

        def walk(name: str, path: list[str]) -> None:
            if name in path:
                found.append([*path[path.index(name) :], name])
            elif name not in done:
                for other in sorted(self.arrows[name]):
                    if not name.startswith(f"{other}."):  # a package may name what is in it
                        walk(other, [*path, name])
                done.add(name)

        for name in self.modules:
            walk(name, [])
        return found

    def drawing(self) -> str:
        """Return the floors from the top down, each with what it takes from."""
        lines: list[str] = []
        for unit, purpose in reversed(FLOORS.items()):
            inside = [name for name in self.modules if self.unit(name) == unit]
            length = sum(len(self.modules[name].read_text().splitlines()) for name in inside)
            taken = [other for other in FLOORS if other in self.rooms.get(unit, set())]
            lines.append(f"{unit:<10} {len(inside):>3} files {length:>6,} lines  {purpose}")
            lines.append(f"{'':<10} ← {', '.join(taken) or 'nothing'}")
        arrows = sum(len(taken) for taken in self.rooms.values())
        lines.append(
            f"{len(self.rooms)} units, {arrows} arrows between them, {len(self.circles())} "
            f"circles, {len(self.at_root)} modules at the root"
        )
        return "\n".join(lines)


if __name__ == "__main__":
    house = House()
    print(house.drawing())
    print("\n".join(house.wrong()) or "nothing breaks the rules")
    sys.exit(bool(house.wrong()))
