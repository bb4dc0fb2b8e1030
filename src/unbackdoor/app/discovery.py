"""Find the models that the arguments name: files, shipped models, and models in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import check_readable
from unbackdoor.models.huggingface import CONFIG, files_of, weights_in

NO_MODELS = {
    ".bmp", ".cfg", ".css", ".csv", ".gif", ".html", ".ipynb", ".jpeg", ".jpg", ".js", ".json",
    ".jsonl", ".lock", ".log", ".md", ".pdf", ".png", ".ppm", ".py", ".rst", ".sarif", ".sh",
    ".svg", ".toml", ".tsv", ".txt", ".webp", ".xml", ".yaml", ".yml",
}  # fmt: skip
"""Suffixes of files that are no models. Every other file is scanned, or reported as not scanned."""
NAMES = {"changelog", "dockerfile", "licence", "license", "makefile", "notice", "readme"}
"""Names without a suffix of files that are no models."""
GRAPH_DATA = (".data", "_data")
"""Added to the name of an ONNX graph, these give the file of tensors that exporters write beside
it."""


def find_models(named: Sequence[str]) -> tuple[list[str], bool]:
    """Return every model that was named itself or by its folder, and whether there may be several.

    Args:
        named: files, folders and shipped models, as given on the command line.

    Raises:
        ArgumentError: none was named, or one does not exist or cannot be read.
        ContentError: there is no model in a folder.

    """
    if not named or not all(named):
        raise ArgumentError("MODEL: expected a file or a folder, came no name; name one.")
    for name in named:
        check_readable(name)
    found: list[str] = []
    several = len(named) > 1
    for name in dict.fromkeys(named):
        folder = Path(name)
        if not folder.is_dir():
            found.append(name)
            continue
        inside = models_in(folder)
        several = several or inside != [str(folder)]  # a folder of the hub is one model
        found += inside
    return found, several


def weights_of(folder: Path) -> tuple[Path, ...] | None:
    """Return the weights of a folder that is itself a model; None for any other folder.

    They are no models of their own. Where it cannot be said which they are, loading the folder says
    so of all that could be.
    """
    try:
        found = weights_in(folder) if (folder / CONFIG).is_file() else ()
    except ContentError:
        found = (folder / CONFIG,)
    return tuple(files_of(folder)) if found else None


def models_in(folder: Path) -> list[str]:
    """Return every model in a folder and its subfolders, sorted; hidden files are ignored.

    A file that might be a model is listed even if it cannot be read, because a file that is left
    out would count as clean. For the same reason links to folders, which are not followed, and
    folders that cannot be opened are listed.

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
        tensors = {f"{name}{ending}" for name in graphs for ending in GRAPH_DATA}
        paths += [
            inside / name for name in files if name not in tensors and _may_be_model(Path(name))
        ]
        if (weights := weights_of(inside)) is not None:
            paths = [inside, *(path for path in paths if path not in weights)]
        found += map(str, paths)
    found += [str(error.filename) for error in unseen]
    if not found:
        raise ContentError(f"MODEL: there is no file in {folder} that could be a model.")
    return sorted(found)


def _may_be_model(name: Path) -> bool:
    if name.name.startswith(".") or name.suffix.lower() in NO_MODELS:
        return False
    return bool(name.suffix) or name.name.lower() not in NAMES
