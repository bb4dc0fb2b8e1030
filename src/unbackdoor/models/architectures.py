"""From what a user writes after ``--arch`` to a fresh network.

Only the user may say which code is trusted: a file of Python is executed because it was named on
the command line, never because a checkpoint names it.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unbackdoor.errors import ArgumentError, ContentError, brief, printable, quoted
from unbackdoor.models import onnx
from unbackdoor.models.builtin import ARCHITECTURES
from unbackdoor.models.fitting import of_name
from unbackdoor.models.optional import numbers, optional
from unbackdoor.runtime.child import MEMORY, SECONDS, Ended, tried

MOST_CLASSES = 100_000
SHOWN = 8
KINDS = f"one of {', '.join(ARCHITECTURES)}, timm:NAME, FILE.onnx or FILE.py:FUNCTION"


def check_architecture(arch: str) -> None:
    """Raise unless ``arch`` names an architecture; nothing is executed or made yet.

    Args:
        arch: as :func:`build` takes it.

    Raises:
        ArgumentError: no such architecture or package, or no such file, or it cannot be read.

    """
    if arch.startswith("timm:"):
        _timm_library(arch.removeprefix("timm:"))
    elif (file := file_of(arch)) is not None:
        try:
            found = file.is_file()
            if found:
                file.open("rb").close()
        except (OSError, ValueError) as error:
            raise _unreadable(file, error) from error
        if not found:
            raise ArgumentError(f"--arch: there is no file {file}; check the path.")
    elif arch.endswith(".py"):
        raise ArgumentError(
            f"--arch: expected {KINDS}, came a file; name the function or class in it that makes "
            f"the network, such as {arch}:Net."
        )
    elif arch not in ARCHITECTURES:
        raise ArgumentError(f"--arch: unknown architecture {arch!r}; name {KINDS}.")


def file_of(arch: str) -> Path | None:
    """Return the file that an architecture is read from, None where it is known by its name."""
    if arch.endswith(".onnx"):
        return Path(arch)
    file, separator, _ = arch.rpartition(":")
    return Path(file) if separator and file.endswith(".py") else None


def _unreadable(file: Path, error: OSError | ValueError) -> ArgumentError:
    reason = getattr(error, "strerror", None) or error
    return ArgumentError(f"--arch: {file} cannot be read ({reason}); check its permissions.")


def build(
    arch: str,
    classes: int,
    state: Mapping[str, Tensor] | None = None,
    more: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a fresh network.

    Args:
        arch: a built-in name; ``timm:NAME``; ``FILE.onnx``, whose graph it becomes; or
            ``FILE.py:FUNCTION`` for a function without arguments that returns the module, or for
            the module itself (the user trusts that file, it is executed, and may import what lies
            beside it).
        classes: of a built-in or timm network.
        state: what will be loaded into it: a built-in or timm network takes the number of classes
            from its last layer. A timm network that is larger than it comes without memory.
        more: arguments of a timm network, checked; it is first made in a process of its own.

    Raises:
        ArgumentError: no such architecture.
        ContentError: the user's function fails or returns something else.

    """
    check_architecture(arch)
    if arch in ARCHITECTURES:
        return ARCHITECTURES[arch](_size(state, "classifier.weight", 0) or classes)
    if arch.startswith("timm:"):
        return _timm(arch.removeprefix("timm:"), classes, state, more or {})
    file, _, function = arch.rpartition(":")
    if not arch.endswith(".onnx"):
        return _call(Path(file), function)
    try:
        return onnx.read(Path(arch))[0]
    except OSError as error:
        raise _unreadable(Path(arch), error) from error


def _size(state: Mapping[str, Tensor] | None, key: str, axis: int) -> int | None:
    """Return the size of a tensor's axis, None where it is missing, empty or absurd."""
    tensor = of_name(state, key) if state is not None else None
    if tensor is None or tensor.ndim < 2 or not tensor.numel():
        return None
    if tensor.shape[axis] > MOST_CLASSES:
        return None
    return tensor.shape[axis]


def _timm_library(name: str) -> Any:
    """Return the package, which has to have a model of that name."""
    library = optional("timm", f"--arch: timm:{name}")
    if not library.is_model(name):  # a name with a colon would be fetched from a hub
        known: list[str] = library.list_models()
        close = difflib.get_close_matches(name, known, 4)
        meant = f"did you mean {', '.join(close)}?" if close else "timm.list_models() names all."
        raise ArgumentError(f"--arch: timm has no model {name!r}; {meant}")
    return library


def _timm(
    name: str, classes: int, state: Mapping[str, Tensor] | None, more: Mapping[str, Any]
) -> nn.Module:
    library = _timm_library(name)
    try:
        described: dict[str, Any] = library.get_pretrained_cfg(name).to_dict()
        head, stem = described.get("classifier"), described.get("first_conv")
        wanted: dict[str, Any] = {
            **more,
            "num_classes": _size(state, f"{head}.weight", 0) or classes,
        }
        if channels := _size(state, f"{stem}.weight", 1):
            wanted["in_chans"] = channels

        def made() -> nn.Module:
            with torch.device("meta"):
                return library.create_model(name, pretrained=False, **wanted)

        if more:
            tried(lambda: len(made().state_dict()))
        empty = made()
        if state is not None and numbers(empty.state_dict()) > numbers(state):
            return empty  # does not fit, and its shapes are enough to say so
        return library.create_model(name, pretrained=False, **wanted)
    except Ended:
        raise ContentError(
            f"--arch: timm takes more than {SECONDS} s or {MEMORY >> 20} MiB to make {name} with "
            f"the model_args of its folder; check them."
        ) from None
    except Exception as error:  # whatever a constructor raises for a tag or for such sizes
        raise ContentError(
            f"--arch: timm cannot make {name} for these weights ({brief(error)}); check --arch."
        ) from error


def _call(file: Path, function: str) -> nn.Module:
    """Return the network that a name in a file stands for: a function, a class, or itself."""
    specification = importlib.util.spec_from_file_location(f"unbackdoor_arch_{file.stem}", file)
    assert specification is not None
    assert specification.loader is not None
    namespace = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = namespace  # dataclasses look their module up
    sys.path.insert(0, str(file.parent.resolve()))  # as where Python runs a file
    try:
        specification.loader.exec_module(namespace)
    except ModuleNotFoundError as error:
        raise ContentError(
            f"--arch: {file} failed to run ({brief(error)}); install that package, or put the file "
            f"beside it."
        ) from error
    except (Exception, SystemExit) as error:
        raise ContentError(
            f"--arch: {file} failed to run ({brief(error)}); it has to run by itself: python "
            f"{quoted(file)}."
        ) from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
    maker: object = getattr(namespace, function, None)
    if isinstance(maker, nn.Module):
        return _settled(maker, f"{function} in {file}")
    if not callable(maker):
        known = [
            name
            for name, value in vars(namespace).items()
            if getattr(value, "__module__", None) == namespace.__name__ and callable(value)
        ]
        there = f"there are {', '.join(known[:SHOWN])}" if known else "it has none"
        raise ArgumentError(f"--arch: {file} has no function {function!r}; {printable(there)}.")
    try:
        module: object = maker()
    except (Exception, SystemExit) as error:
        raise ContentError(
            f"--arch: {function}() in {file} failed ({brief(error)}); name a function without "
            f"arguments, such as 'def network(): return {printable(function)}(10)' in that file."
        ) from error
    if not isinstance(module, nn.Module):
        raise ContentError(
            f"--arch: {function}() in {file} returned {type(module).__name__}; expected a "
            f"torch.nn.Module, so return the network alone."
        )
    return _settled(module, f"{function}() in {file}")


def _settled(module: nn.Module, what: str) -> nn.Module:
    """Return a network whose layers all have their sizes.

    Raises:
        ContentError: some wait for the first images.

    """
    if any(map(is_lazy, [*module.parameters(), *module.buffers()])):
        raise ContentError(
            f"--arch: {what} has lazy layers, which get their sizes from the first images; call "
            f"the network on one picture there, such as network(torch.zeros(1, 3, 32, 32)), before "
            f"it is returned."
        )
    return module
