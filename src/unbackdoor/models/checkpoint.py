"""Checkpoints are data: tensors in, tensors out; nothing in a file is ever executed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unbackdoor.errors import ArgumentError, few, printable
from unbackdoor.models import contents, fitting, huggingface, keras, onnx, safetensors, statedict
from unbackdoor.models.architectures import KINDS, build
from unbackdoor.models.builtin import ARCHITECTURES
from unbackdoor.models.graph import Graph
from unbackdoor.models.stated import UNSAID, Stated
from unbackdoor.runtime.files import sha256_of, written_aside

SHIPPED = Path(__file__).parent / "shipped"
SUFFIXES = (*contents.SUFFIXES, ".onnx")
"""Of the files that are written."""
SHOWN = 40
"""Tensors of a file that are shown to someone who has to write the network of them."""


@dataclass(frozen=True)
class Loaded:
    """A classifier read from a file.

    Args:
        module: maps images in [0, 1] to logits; on the CPU, in evaluation mode.
        name: how the user wrote it.
        sha256: of the file with the weights; of an ONNX graph with data in files beside it, over
            the graph's SHA-256 and those data (:class:`~unbackdoor.models.onnxtensors.Beside`); of
            a folder, over the SHA-256 of its weights and its configuration.
        arch: the architecture's name.
        facts: what the file says of itself (its provenance), empty where it says nothing.
        notes: what was understood about the file, a sentence each.
        suffix: of the file with the weights: the format to write it back in.
        stated: what lies beside the weights says of its input and classes.

    """

    module: nn.Module
    name: str
    sha256: str
    arch: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()
    suffix: str = ".safetensors"
    stated: Stated = UNSAID


def load(spec: str, arch: str | None = None) -> Loaded:
    """Read a classifier.

    Args:
        spec: ``shipped:NAME``; the path of a ``.safetensors`` file, of a state dict or a whole
            network of ``torch.save`` (by any name), or of an ``.onnx`` graph; or a folder of the
            Hugging Face hub, with ``config.json`` and weights.
        arch: see :func:`~unbackdoor.models.architectures.build`; may be left out where the file
            says it.

    Raises:
        ArgumentError: no such file, shipped model, architecture or package, or the file cannot be
            read.
        ContentError: the file is no checkpoint, or its tensors do not fit the architecture.

    """
    try:
        return _load(spec, arch)
    except OSError as error:
        raise _unreadable(spec, "MODEL", error) from error


def check_readable(spec: str, argument: str = "MODEL") -> None:
    """Raise unless there is a file or folder to read a model from; what is in it comes later.

    Args:
        spec: as :func:`load` takes it.
        argument: that named it.

    Raises:
        ArgumentError: no such file, folder or shipped model, or it cannot be read.

    """
    path = _locate(spec, argument)
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as error:
        raise _unreadable(spec, argument, error) from error


def _unreadable(spec: str, argument: str, error: OSError) -> ArgumentError:
    return ArgumentError(
        f"{argument}: {spec} cannot be read ({error.strerror or error}); check the path and its "
        f"permissions."
    )


def _load(spec: str, arch: str | None) -> Loaded:
    path, stated = _locate(spec), UNSAID
    if path.is_dir():
        hub = huggingface.open_folder(path)
        if arch is None:
            stated = hub.stated
        if arch is None and hub.arch.startswith(huggingface.TRANSFORMERS):
            module = huggingface.read(hub).eval()
            notes = _sentence(hub.beside())
            return Loaded(module, spec, hub.sha256, hub.arch, notes=notes, stated=stated)
        said, sha256, facts, note = hub.arch, hub.sha256, dict[str, Any](), hub.beside()
        state, more = hub.state(), hub.model_args if arch is None else {}
        suffix = hub.files[0].suffix
    elif path.suffix == ".onnx":
        if arch is not None:
            raise ArgumentError(f"--arch: {spec} holds its own graph; leave --arch out.")
        graph, facts = onnx.read(path)
        return Loaded(graph.eval(), spec, graph.source.sha256, "onnx", facts, (), path.suffix)
    elif (kind := contents.kind_of(path)) == "keras":
        graph, facts = keras.read(path)
        if arch is not None:
            raise ArgumentError(f"--arch: {spec} holds its own network; leave --arch out.")
        return Loaded(graph.eval(), spec, graph.source.sha256, "keras", facts, (), ".onnx")
    else:
        state, facts, note = _read(path, kind)
        said, sha256, more, suffix = None, sha256_of(path), {}, path.suffix
    name = arch or said or _claimed(facts, spec, note, state)
    module = build(name, 10, fitting.unmasked(state), more)
    found = fitting.named(state, module.state_dict(), f"MODEL: {spec}")
    fitting.fill(module, found.state, spec, name)
    notes = _sentence(note, *found.notes)
    return Loaded(module.eval(), spec, sha256, name, facts, notes, suffix, stated)


def _sentence(*notes: str) -> tuple[str, ...]:
    """Return what was understood about a file as one sentence, none where it is nothing."""
    text = "; ".join(filter(None, notes))
    return (f"{text[0].upper()}{text[1:]}.",) if text else ()


def save(module: nn.Module, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; the suffix decides the format.

    Args:
        module: what to write; for ``.onnx`` one that was read from such a file.
        path: ``.safetensors`` or ``.onnx`` (with ``facts`` in it), or a state dict.
        facts: provenance, JSON values; ``arch`` lets :func:`load` do without an argument.

    Raises:
        ArgumentError: the suffix is of no format that this module can be written in.

    """
    check_suffix(path, module)
    with written_aside(path) as aside:
        if path.suffix == ".safetensors":
            aside.write_bytes(encode(module, facts))
        elif isinstance(module, Graph) and path.suffix == ".onnx":
            onnx.write(module, aside, facts)
        else:
            torch.save(_state_of(module), aside)


def encode(module: nn.Module, facts: Mapping[str, Any]) -> bytes:
    """Return what :func:`save` writes to a ``.safetensors`` file."""
    return safetensors.encode(_state_of(module), facts)


def decode(content: bytes, arch: str) -> nn.Module:
    """Return the classifier of an encoded file; see :func:`load`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        path.write_bytes(content)
        return load(str(path), arch).module


def _state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the tensors, because safetensors refuses those that share memory."""
    bare = module.network if isinstance(module, huggingface.Logits) else module
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in bare.state_dict().items()
    }


def check_suffix(path: Path, module: nn.Module | None = None) -> None:
    """Raise unless :func:`save` knows the suffix of ``path``, and can write ``module`` so.

    Raises:
        ArgumentError: it does not, or cannot.

    """
    if path.suffix not in SUFFIXES:
        raise ArgumentError(
            f"-o: expected a name that ends in {', '.join(SUFFIXES[:-1])} or .onnx, came "
            f"{path.name!r}."
        )
    if path.suffix == ".onnx" and module is not None and not isinstance(module, Graph):
        raise ArgumentError(
            f"-o: {path.name!r} would need a graph, and the model came without one; name a file "
            f"that ends in .safetensors, and export that with torch.onnx.export."
        )


def shipped() -> dict[str, dict[str, Any]]:
    """Return the models that travel with the package: name → provenance."""
    return {
        path.stem: _read(path, "safetensors")[1] for path in sorted(SHIPPED.glob("*.safetensors"))
    }


def _locate(spec: str, argument: str = "MODEL") -> Path:
    if spec.startswith("shipped:"):
        known = {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}
        if (name := spec.removeprefix("shipped:")) not in known:
            raise ArgumentError(
                f"{argument}: no shipped model {name!r}; there are {', '.join(known) or 'none'}."
            )
        return known[name]
    path = Path(spec)
    try:
        found = path.is_file() or path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        found = False
    if not found:
        raise ArgumentError(f"{argument}: there is no file or folder {spec}; check the path.")
    return path


def _claimed(facts: Mapping[str, Any], spec: str, note: str, state: Mapping[str, Tensor]) -> str:
    """Return the built-in architecture that a checkpoint names.

    A file that it names is code, and only the user may say which code is trusted. Where there is
    none, its tensors are shown, because of a whole network nothing else shows them safely.
    """
    name = facts.get("arch")
    if isinstance(name, str) and name in ARCHITECTURES:
        return name
    says = f"names {name!r}, which is not built in" if name else "does not say its architecture"
    says += f" ({note})" if note else ""
    raise ArgumentError(f"--arch: {spec} {says}; name {KINDS}, for the tensors {_shapes(state)}.")


def _shapes(state: Mapping[str, Tensor]) -> str:
    """Return the first tensors of a file in words, in its order, and how many there are more."""
    told = [f"{printable(name)[:80]} {_shape(tensor)}" for name, tensor in state.items()]
    return few(told, SHOWN)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "(one number)"


def _read(path: Path, kind: contents.Kind) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Return tensors, provenance, and what they were wrapped in."""
    if kind == "safetensors":
        return *safetensors.read(path), ""
    state, note = statedict.read(path)
    return state, {}, note
