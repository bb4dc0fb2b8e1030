"""Optional packages that bring architectures, and the torchvision which they import.

The torchvision of the package index registers its operators from a library that is built for one
torch; beside another build of the same torch (for CPU alone) that library does not load, and the
import fails because two operators are unknown. No classifier calls them: once they are declared,
without any code behind them, the import succeeds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError, brief
from unbackdoor.models.fitting import COUNTED

DETECTION = ("nms", "qnms")
_declared: list[torch.library.Library] = []  # an operator lives as long as its library does


def optional(name: str, wanted_by: str) -> Any:
    """Return the package ``name``, imported.

    Args:
        name: of the package, and of the extra that installs it.
        wanted_by: what needs it, at the beginning of a sentence.

    Raises:
        ArgumentError: it cannot be imported.

    """
    _mend_torchvision()
    try:
        return importlib.import_module(name)
    except Exception as error:  # packages with broken dependencies raise anything
        raise ArgumentError(
            f"{wanted_by} needs the package {name}, which cannot be imported ({brief(error)}); "
            f"pip install 'unbackdoor[{name}]'."
        ) from error


def numbers(state: Mapping[str, Tensor]) -> int:
    """Return how many numbers tensors hold; a network is held to its file before it is made.

    Counts of batches are left aside: no answer depends on them, and files may lack them.
    """
    return sum(tensor.numel() for name, tensor in state.items() if not name.endswith(COUNTED))


def _mend_torchvision() -> None:
    """Declare the operators that torchvision lacks, where it is installed and lacks them."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError:  # operator torchvision::nms does not exist
        for module in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in DETECTION:
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _declared.append(library)
