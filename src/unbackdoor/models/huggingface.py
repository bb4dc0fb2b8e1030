"""Folders as the Hugging Face hub keeps them: ``config.json`` beside ``model.safetensors``.

The configuration says the architecture: of timm (``architecture``) or of transformers
(``architectures``, image classifiers alone). Code in the folder is never run and nothing is
fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unbackdoor.errors import ContentError, brief, printable
from unbackdoor.models import safetensors, statedict
from unbackdoor.models.optional import numbers, optional
from unbackdoor.models.stated import Stated, of_timm, of_transformers
from unbackdoor.runtime.child import MEMORY, SECONDS, Ended, tried
from unbackdoor.runtime.files import check_fetched, read_bytes, sha256_of

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = (("model", ".safetensors"), ("pytorch_model", ".bin"))
"""Names of files of weights, before and behind the name of a variant."""
PART = re.compile(r"-\d{5}-of-\d{5}")
"""In the name of a file that holds a part of the tensors."""
MOST_PARTS = 1000
TRANSFORMERS = "transformers:"
LARGEST_CONFIG = 4 << 20
TIED = 2
"""How many names of a network a tensor of the file may be behind."""
FOREIGN = {
    *("auto_map", "custom_pipelines", "quantization_config", "fusion_config"),
    *("configuration_files", "transformers_weights", "use_pretrained_backbone"),
}
"""Keys of a configuration that ask for code, other files, or weights from elsewhere."""
CHOSEN_HERE = ("attn_implementation", "experts_implementation")
"""Parts of keys that could name compiled code of the hub; the plain implementation is used
instead."""
LEADING = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
    *(
        "cache_dir",
        "scriptable",
        "exportable",
        "no_jit",
        "features_only",
        "num_classes",
        "in_chans",
    ),
}
"""Arguments of timm that lead to other files or other networks, or that the weights say."""
ADAPTERS = {"adapter_config.json"}


class Logits(nn.Module):
    """A classifier of transformers that answers with its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, classes)``."""
        return self.network(pixel_values=images).logits


@dataclass(frozen=True)
class Hub:
    """A folder of the hub that was checked.

    Args:
        folder: where it is.
        config: its configuration.
        files: of its weights, in their order.
        arch: name of its architecture.

    """

    folder: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    arch: str

    @property
    def stated(self) -> Stated:
        """What its files say of the network's input and classes."""
        if not self.arch.startswith(TRANSFORMERS):
            return of_timm(self.config)
        path = self.folder / PROCESSOR
        return of_transformers(self.config, _read(path) if path.is_file() else {})

    @property
    def model_args(self) -> dict[str, Any]:
        """Arguments with which timm makes the network.

        Raises:
            ContentError: one of them asks for more than layers.

        """
        given: object = self.config.get("model_args") or {}
        args = cast("dict[str, Any]", given) if isinstance(given, dict) else {"": given}
        foreign = [name for name, value in args.items() if name in LEADING or not _is_flat(value)]
        if foreign or "" in args:
            raise ContentError(
                f"MODEL: {self.folder / CONFIG} asks by model_args for more than layers "
                f"({printable(', '.join(sorted(foreign)))[:80]}), which is not followed; remove it."
            )
        return args

    @property
    def sha256(self) -> str:
        """A SHA-256 over those of the weights, and over what decides what they mean."""
        digests = b"".join(bytes.fromhex(sha256_of(path)) for path in self.files)
        beside = [self.folder / name for name in (CONFIG, PROCESSOR)]
        texts = b"".join(path.read_bytes() for path in beside if path.is_file())
        return hashlib.sha256(digests + texts).hexdigest()

    def state(self) -> dict[str, Tensor]:
        """Return all of its tensors.

        Raises:
            ContentError: a file cannot be read, or a tensor stands in two.

        """
        return _state(self.files)

    def beside(self) -> str:
        """Return what is to be said of weights in another format in the folder, or nothing.

        Raises:
            ContentError: they are others, or cannot be read; nobody knows which are deployed.

        """
        own = self.files[0].name
        kinds = (_weights(self.folder, *kind) for kind in WEIGHTS)
        others = next((found for found in kinds if found and found != self.files), ())
        if not others:
            return ""
        remedy = f"delete the one that you do not use, {others[0]} or {self.files[0]}"
        _check_links(self.folder, others)
        try:
            same = _same(self.state(), _state(others))
        except ContentError as error:
            raise ContentError(
                f"MODEL: beside {own} there is {others[0].name}, which could be the one that is "
                f"deployed and cannot be read ({brief(error)}); {remedy}."
            ) from error
        if not same:
            raise ContentError(
                f"MODEL: beside {own} there is {others[0].name} with other tensors, and one that "
                f"is not scanned could be the one that is deployed; {remedy}."
            )
        return f"{own} was read; {others[0].name} beside it holds the same tensors"


def _state(files: Sequence[Path]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in files:
        check_fetched(path, "MODEL")
        safe = path.suffix == ".safetensors"
        part = safetensors.read(path)[0] if safe else statedict.read(path)[0]
        if twice := state.keys() & part.keys():
            raise ContentError(
                f"MODEL: {path} has the tensor {printable(min(twice))[:80]}, which stands in "
                f"another file too; fetch the folder anew."
            )
        state |= part
    return state


def _same(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(
        torch.equal(tensor, other[name]) for name, tensor in state.items()
    )


def weights_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of weights of a folder, empty where it has none by a name of the hub.

    In this order: safetensors whole, in parts, or of one variant; then the same of torch.save.

    Raises:
        ContentError: it has several variants, or its list of parts cannot be used.

    """
    return next((found for kind in WEIGHTS if (found := _weights(folder, *kind))), ())


def _weights(folder: Path, stem: str, suffix: str) -> tuple[Path, ...]:
    """Return the files of weights of one format."""
    if (whole := folder / f"{stem}{suffix}").is_file():
        return (whole,)
    indices = sorted(folder.glob(f"{stem}{suffix}.index*.json"))
    wholes = [
        path for path in sorted(folder.glob(f"{stem}.*{suffix}")) if not PART.search(path.name)
    ]
    if len(indices) + len(wholes) > 1:
        names = ", ".join(path.name for path in (*wholes, *indices))
        raise ContentError(
            f"MODEL: {folder} has its weights several times ({names}), and one that is not "
            f"scanned could be the one that is deployed; keep the one that you use."
        )
    return _parts(indices[0]) if indices else tuple(wholes)


def _parts(index: Path) -> tuple[Path, ...]:
    """Return the files that a list of tensors names: files of the same folder alone."""
    listed = _read(index).get("weight_map")
    names = cast("dict[str, object]", listed) if isinstance(listed, dict) else {}
    files = sorted({str(name) for name in names.values()})
    for name in files:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise ContentError(
                f"MODEL: {index} names {printable(name)[:80]!r}, which is no file of its folder; "
                f"fetch the folder anew."
            )
    if not files or len(files) > MOST_PARTS:
        raise ContentError(
            f"MODEL: {index} names {len(files)} files; expected 1 to {MOST_PARTS}, fetch it anew."
        )
    return tuple(index.parent / name for name in files)


def open_folder(folder: Path) -> Hub:
    """Check a folder and return what is in it.

    Raises:
        ContentError: the folder lacks a file, one is a link out of it, or asks for code.

    """
    files = weights_in(folder)
    if not files or not (folder / CONFIG).is_file():
        lacks = CONFIG if files else "weights (model.safetensors or pytorch_model.bin)"
        raise ContentError(
            f"MODEL: the folder {folder} has no {lacks}; expected both as the Hugging Face hub "
            f"keeps them, or name the file of a model."
        )
    _check_links(folder, (folder / CONFIG, folder / PROCESSOR, *files))
    config = _read(folder / CONFIG)
    asked = {key for key in FOREIGN if config.get(key)}
    if asked := asked | {name for name in ADAPTERS if (folder / name).exists()}:
        raise ContentError(
            f"MODEL: {folder} asks for more than its weights ({', '.join(sorted(asked))}), such as "
            f"code of its own, which is never run; name code that you trust with --arch "
            f"FILE.py:FUNCTION and the file {files[0].name}."
        )
    if isinstance(name := config.get("architecture"), str):
        return Hub(folder, config, files, f"timm:{name}")
    names = config.get("architectures")
    name = cast("list[object]", names)[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or not name.endswith("ForImageClassification"):
        raise ContentError(
            f"MODEL: {folder / CONFIG} is of {name or 'no architecture'}; expected an image "
            f"classifier (…ForImageClassification, or a timm architecture)."
        )
    return Hub(folder, config, files, f"{TRANSFORMERS}{name}")


def _check_links(folder: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_symlink() and path.resolve().parent != folder.resolve():
            raise ContentError(
                f"MODEL: {path} is a link out of its folder; copy the folder with cp -rL."
            )


def read(hub: Hub) -> Logits:
    """Return the network of a folder of transformers, with its weights.

    The library itself lays the tensors on it, because it knows other names for some of them; it is
    given the tensors that were read here and opens no file. The network is first made in a process
    of its own, without memory for its weights, because a configuration can describe one that is
    never done.

    Raises:
        ArgumentError: the package is not installed.
        ContentError: the configuration describes no network, or not one of these weights.

    """
    library = optional("transformers", f"MODEL: {hub.arch}")
    state, where = hub.state(), hub.folder / CONFIG
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    maker = library.AutoModelForImageClassification

    def described() -> Any:
        # Pass the checked dictionary, not the file: from a file the library would go on to other
        # files.
        kind: Any = library.AutoConfig.for_model(hub.config.get("model_type"))
        return kind.from_dict(_plain(hub.config))

    def empty() -> Any:
        with torch.device("meta"):  # shapes alone
            return maker.from_config(described(), attn_implementation="eager")

    def count() -> int:
        network = empty()
        buffers = sum(tensor.numel() for tensor in network.buffers())
        return max(numbers(network.state_dict()), buffers)

    try:
        _check_size(where, tried(count), numbers(state))
        kind = cast("Any", type(empty()))
        network, report = kind.from_pretrained(
            None,
            config=described(),
            state_dict=state,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Ended:
        raise ContentError(
            f"MODEL: {where} describes a network that takes more than {SECONDS} s or "
            f"{MEMORY >> 20} MiB to be made, even without its weights; check its numbers of layers."
        ) from None
    except ContentError:
        raise
    except Exception as error:  # whatever a configuration makes a constructor raise
        raise ContentError(
            f"MODEL: {where} describes no network that transformers can make of its weights "
            f"({brief(error)}); check both."
        ) from error
    problems = [
        f"{problem.split('_')[0]}: {', '.join(sorted(map(str, keys)))[:200]}"
        for problem, keys in report.items()
        if problem in {"missing_keys", "unexpected_keys", "mismatched_keys"} and keys
    ]
    if problems:
        raise ContentError(
            f"MODEL: the tensors of {hub.folder} do not fit {hub.arch}: "
            f"{printable('; '.join(problems))}; check both."
        )
    return Logits(network)


def _check_size(where: Path, described: int, held: int) -> None:
    """Raise where a configuration describes a network that its weights cannot fill."""
    if described > TIED * held:
        raise ContentError(
            f"MODEL: {where} describes a network of {described:,} numbers, its weights have "
            f"{held:,}; check both."
        )


def _is_flat(value: object) -> bool:
    """Return whether a value is a number, a text, or a list of them and of such lists."""
    if isinstance(value, list):
        return all(map(_is_flat, cast("list[object]", value)))
    return value is None or isinstance(value, bool | int | float | str)


def files_of(folder: Path) -> list[Path]:
    """Return every file of a folder that could be its configuration or weights by its name."""
    found = [folder / CONFIG, folder / PROCESSOR]
    for stem, suffix in WEIGHTS:
        found += [folder / f"{stem}{suffix}", *sorted(folder.glob(f"{stem}[-.]*{suffix}*"))]
    return found


def _plain(value: Any) -> Any:
    """Return a configuration without what names how a layer is computed."""
    if isinstance(value, dict):
        return {
            key: _plain(inner)
            for key, inner in cast("dict[str, Any]", value).items()
            if not any(part in key for part in CHOSEN_HERE)
        }
    return [_plain(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    content = read_bytes(path, "MODEL", LARGEST_CONFIG)
    try:
        config: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"MODEL: {path} is not JSON ({brief(error)}); fetch it anew.") from error
    if not isinstance(config, dict):
        raise ContentError(f"MODEL: {path} is not an object; fetch it anew.")
    return cast("dict[str, Any]", config)
