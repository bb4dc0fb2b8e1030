"""Several models at once: which there are in a folder, and one exit code for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unbackdoor.errors import ContentError
from unbackdoor.results import RepairResult, Scanned, ScanResult, verdict

CLEAN, BACKDOORED, UNUSABLE, INCONCLUSIVE = 0, 1, 2, 3
CODES = {"clean": CLEAN, "backdoored": BACKDOORED, "inconclusive": INCONCLUSIVE}
WORST_FIRST = (BACKDOORED, UNUSABLE, INCONCLUSIVE)

WEIGHTS = "model.safetensors"
"""What the Hugging Face hub calls the weights beside a config.json."""

FailOn = Literal["backdoored", "inconclusive"]

NO_MODELS = {
    ".bmp", ".cfg", ".css", ".csv", ".gif", ".html", ".ipynb", ".jpeg", ".jpg", ".js", ".json",
    ".jsonl", ".lock", ".log", ".md", ".pdf", ".png", ".ppm", ".py", ".rst", ".sarif", ".sh",
    ".svg", ".toml", ".tsv", ".txt", ".webp", ".xml", ".yaml", ".yml",
}  # fmt: skip
"""Suffixes of what lies beside models; a file with any other is scanned, or said not to be."""
GRAPH_DATA = (".data", "_data")
"""Behind the name of an ONNX graph: the tensors that exporters write beside it."""
NAMES = {"changelog", "dockerfile", "licence", "license", "makefile", "notice", "readme"}
"""The same for names without a suffix."""


def is_model(folder: Path) -> bool:
    """Return whether a folder holds a model of its own: a configuration with weights beside it."""
    return (folder / "config.json").is_file() and (folder / WEIGHTS).is_file()


def models_in(folder: Path) -> list[str]:
    """Return every model in a folder and its folders, in order; what is hidden is left alone.

    A file that might be a model is listed even if nothing here can read it, and so is a link to a
    folder, which is not followed, and a folder that cannot be looked into: what was passed over
    would count as clean.

    Raises:
        ContentError: there is none.

    """
    found: list[str] = []
    unseen: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=unseen.append):
        inside = Path(where)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [inside / name for name in folders if (inside / name).is_symlink()]
        graphs = {name for name in files if name.endswith(".onnx")}
        data = {f"{name}{ending}" for name in graphs for ending in GRAPH_DATA}
        paths += [inside / name for name in files if name not in data and _may_be_model(Path(name))]
        if is_model(inside):
            paths = [inside, *(path for path in paths if path.name != WEIGHTS)]
        found += map(str, paths)
    found += [str(error.filename) for error in unseen]
    if not found:
        raise ContentError(f"MODEL: there is no file in {folder} that could be a model.")
    return sorted(found)


def _may_be_model(name: Path) -> bool:
    if name.name.startswith(".") or name.suffix.lower() in NO_MODELS:
        return False
    return bool(name.suffix) or name.name.lower() not in NAMES


def exit_code(outcomes: Sequence[Scanned | RepairResult], fail_on: FailOn | None = None) -> int:
    """Return the worst of all: the first of 1, 2, 3 and 0 that occurs.

    Args:
        outcomes: of the models.
        fail_on: the least verdict that fails; every verdict has its code when left out.

    """
    codes = {_code(outcome, fail_on) for outcome in outcomes}
    return next((code for code in WORST_FIRST if code in codes), CLEAN)


def _code(outcome: Scanned | RepairResult, fail_on: FailOn | None) -> int:
    if isinstance(outcome, RepairResult):  # 1 is a backdoor that a scan was asked for
        return CLEAN if verdict(outcome) == "clean" else INCONCLUSIVE
    if not isinstance(outcome, ScanResult):
        return outcome.exit_code if outcome.exit_code in WORST_FIRST else UNUSABLE
    if fail_on == "backdoored" and outcome.verdict == "inconclusive":
        return CLEAN
    return CODES[outcome.verdict]
