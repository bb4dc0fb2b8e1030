"""Find, model and remove backdoors in image classifiers that somebody else trained.

>>> import unbackdoor
>>> sorted(name for name in dir(unbackdoor) if not name.startswith("_"))
['RepairResult', 'ScanResult', 'mesa', 'repair', 'scan']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unbackdoor import mesa
    from unbackdoor.api import repair, scan
    from unbackdoor.results import RepairResult, ScanResult

__all__ = ["RepairResult", "ScanResult", "mesa", "repair", "scan"]

_HOME = {
    "scan": "unbackdoor.api",
    "repair": "unbackdoor.api",
    "ScanResult": "unbackdoor.results",
    "RepairResult": "unbackdoor.results",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays fast."""
    if name == "mesa":
        return importlib.import_module("unbackdoor.mesa")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'unbackdoor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
