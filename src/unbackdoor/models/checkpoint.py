"""Checkpoints are data: tensors in, tensors out; nothing in a file is ever executed."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from unbackdoor.errors import ArgumentError, ContentError, brief
from unbackdoor.files import sha256_of, written_aside
from unbackdoor.models.resnet import ARCHITECTURES

SHIPPED = Path(__file__).parent / "shipped"
HEADER = "unbackdoor"
LISTED = 4
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Loaded:
    """A classifier read from a file.

    Args:
        module: maps images in [0, 1] to logits; on the CPU, in evaluation mode.
        name: how the user wrote it.
        sha256: of the file.
        arch: the architecture's name.
        facts: what the file says of itself (its provenance), empty where it says nothing.

    """

    module: nn.Module
    name: str
    sha256: str
    arch: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load(spec: str, arch: str | None = None) -> Loaded:
    """Read a classifier.

    Args:
        spec: ``shipped:NAME``, or the path of a ``.safetensors`` file or of a ``.pt``/``.pth``
            state dict (opened with ``weights_only``).
        arch: a built-in name, or ``FILE.py:FUNCTION`` for a function without arguments that
            returns the module (the user trusts that file, it is executed); may be left out where
            the checkpoint names a built-in architecture itself.

    Raises:
        ArgumentError: no such file, shipped model or architecture.
        ContentError: the file is no checkpoint, or its tensors do not fit the architecture.

    """
    path = _locate(spec)
    state, facts = _read(path)
    name = arch or _claimed(facts, spec)
    module = _build(name, state)
    _fill(module, state, spec, name)
    return Loaded(module.eval(), spec, sha256_of(path), name, facts)


def build(arch: str, classes: int) -> nn.Module:
    """Return a fresh network of a built-in architecture or of ``FILE.py:FUNCTION``.

    Raises:
        ArgumentError: no such architecture.
        ContentError: the user's function fails or returns something else.

    """
    if arch in ARCHITECTURES:
        return ARCHITECTURES[arch](classes)
    file, separator, function = arch.rpartition(":")
    if separator and file.endswith(".py"):
        return _call(Path(file), function)
    raise ArgumentError(
        f"--arch: unknown architecture {arch!r}; name one of {', '.join(ARCHITECTURES)}, or "
        f"FILE.py:FUNCTION."
    )


def save(module: nn.Module, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; the suffix decides the format.

    Args:
        module: what to write.
        path: ``.safetensors`` (with ``facts`` in its header) or ``.pt``/``.pth`` (a state dict).
        facts: provenance, JSON values; ``arch`` lets :func:`load` do without an argument.

    """
    with written_aside(path) as aside:
        if path.suffix == ".safetensors":
            aside.write_bytes(encode(module, facts))
        else:
            torch.save(_state_of(module), aside)


def encode(module: nn.Module, facts: Mapping[str, Any]) -> bytes:
    """Return what :func:`save` writes to a ``.safetensors`` file."""
    return safetensors.torch.save(_state_of(module), {HEADER: json.dumps(dict(facts))})


def decode(content: bytes, arch: str) -> nn.Module:
    """Return the classifier of an encoded file; see :func:`load`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        path.write_bytes(content)
        return load(str(path), arch).module


def _state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the tensors, because safetensors refuses those that share memory."""
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in module.state_dict().items()
    }


def check_suffix(path: Path) -> None:
    """Raise unless :func:`save` knows the suffix of ``path``."""
    if path.suffix not in {".safetensors", ".pt", ".pth"}:
        raise ArgumentError(
            f"-o: expected a name that ends in .safetensors, .pt or .pth, came {path.name!r}."
        )


def shipped() -> dict[str, dict[str, Any]]:
    """Return the models that travel with the package: name → provenance."""
    return {path.stem: _read(path)[1] for path in sorted(SHIPPED.glob("*.safetensors"))}


def _locate(spec: str) -> Path:
    if spec.startswith("shipped:"):
        known = {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}
        if (name := spec.removeprefix("shipped:")) not in known:
            raise ArgumentError(
                f"MODEL: no shipped model {name!r}; there are {', '.join(known) or 'none'}."
            )
        return known[name]
    path = Path(spec)
    if not path.is_file():
        raise ArgumentError(f"MODEL: there is no file {spec}; check the path.")
    return path


def _claimed(facts: Mapping[str, Any], spec: str) -> str:
    """Return the built-in architecture that a checkpoint names.

    A file that it names is code, and only the user may say which code is trusted.
    """
    name = facts.get("arch")
    if isinstance(name, str) and name in ARCHITECTURES:
        return name
    says = f"names {name!r}, which is not built in" if name else "does not say its architecture"
    raise ArgumentError(
        f"--arch: {spec} {says}; name one of {', '.join(ARCHITECTURES)}, or FILE.py:FUNCTION."
    )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in {".pt", ".pth"}:
        return _read_state_dict(path), {}
    raise ContentError(
        f"MODEL: {path} is not a checkpoint this tool reads; expected .safetensors, .pt or .pth."
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with cast(Any, safetensors).safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            facts: object = json.loads(metadata.get(HEADER, "{}"))
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ContentError(
            f"MODEL: {path} is not a safetensors file that can be read ({brief(error)})."
        ) from error
    return state, cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file makes it raise
        raise ContentError(
            f"MODEL: {path} is not a plain state dict and was not opened further, because that "
            f"could execute code in it ({brief(error)}); save model.state_dict() instead."
        ) from error
    state = cast("dict[object, object]", content) if isinstance(content, dict) else {}
    if not state or not all(
        isinstance(key, str) and isinstance(value, Tensor) and _is_plain(value)
        for key, value in state.items()
    ):
        raise ContentError(
            f"MODEL: {path} does not hold a state dict (names → dense tensors); save "
            f"model.state_dict() instead."
        )
    return cast("dict[str, Tensor]", state)


def _build(arch: str, state: Mapping[str, Tensor]) -> nn.Module:
    head = state.get("classifier.weight")
    sane = head is not None and head.ndim == 2 and 0 < len(head) <= MOST_CLASSES
    return build(arch, len(head) if head is not None and sane else 10)


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_nested
    )


def _call(file: Path, function: str) -> nn.Module:
    if not file.is_file():
        raise ArgumentError(f"--arch: there is no file {file}; check the path.")
    specification = importlib.util.spec_from_file_location(f"unbackdoor_arch_{file.stem}", file)
    assert specification is not None
    assert specification.loader is not None
    namespace = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = namespace  # dataclasses look their module up
    try:
        specification.loader.exec_module(namespace)
    except (Exception, SystemExit) as error:
        raise ContentError(f"--arch: {file} failed to run ({brief(error)}).") from error
    maker = cast("Callable[[], object] | None", getattr(namespace, function, None))
    if not callable(maker):
        raise ArgumentError(f"--arch: {file} has no function {function!r}.")
    try:
        module = maker()
    except (Exception, SystemExit) as error:
        raise ContentError(f"--arch: {function}() in {file} failed ({brief(error)}).") from error
    if not isinstance(module, nn.Module):
        raise ContentError(
            f"--arch: {function}() in {file} returned {type(module).__name__}; expected a "
            f"torch.nn.Module."
        )
    return module


def _fill(module: nn.Module, state: Mapping[str, Tensor], spec: str, arch: str) -> None:
    """Copy ``state`` into ``module``; every tensor must be there, with its shape and kind."""
    wanted = module.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in state]
    problems += [f"{key} is surplus" for key in state if key not in wanted]
    for key in [key for key in wanted if key in state]:
        want, have = wanted[key], state[key]
        if want.shape != have.shape:
            problems.append(f"{key} has shape {tuple(have.shape)}, not {tuple(want.shape)}")
        elif have.dtype != want.dtype and not (
            have.is_floating_point() and want.is_floating_point()
        ):
            problems.append(f"{key} is {have.dtype}, not {want.dtype}")
        elif not bool(have.to(want.dtype).isfinite().all()):
            problems.append(f"{key} holds values that are not finite in {want.dtype}")
    if problems:
        more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise ContentError(
            f"MODEL: the tensors of {spec} do not fit {arch}: {'; '.join(problems[:LISTED])}"
            f"{more}; check --arch."
        )
    module.load_state_dict(dict(state))
