"""Folders as the Hugging Face hub keeps them: ``config.json`` beside ``model.safetensors``.

The configuration says the architecture: of timm (``architecture``) or of transformers
(``architectures``, image classifiers alone). Code in the folder is never run and nothing is
fetched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unbackdoor.errors import ContentError, brief, printable
from unbackdoor.models import safetensors
from unbackdoor.models.optional import numbers, optional
from unbackdoor.runtime.files import read_bytes, sha256_of

CONFIG, WEIGHTS = "config.json", "model.safetensors"
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
ADAPTERS = {"adapter_config.json"}


class Logits(nn.Module):
    """A classifier of transformers that answers with its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, classes)``."""
        return self.network(pixel_values=images).logits


def open_folder(folder: Path) -> tuple[Path, str]:
    """Return the file of weights of a folder, and the name of its architecture.

    Raises:
        ContentError: the folder lacks a file, one is a link out of it, or asks for code.

    """
    for name in (CONFIG, WEIGHTS):
        path = folder / name
        if not path.is_file():
            raise ContentError(
                f"MODEL: the folder {folder} has no {name}; expected {CONFIG} and {WEIGHTS} as the "
                f"Hugging Face hub keeps them, or name the file of a model."
            )
        if path.resolve().parent != folder.resolve():
            raise ContentError(
                f"MODEL: {path} is a link out of its folder; copy the folder with cp -rL."
            )
    config = _read(folder / CONFIG)
    asked = {key for key in FOREIGN if config.get(key)}
    if asked := asked | {name for name in ADAPTERS if (folder / name).exists()}:
        raise ContentError(
            f"MODEL: {folder} asks for more than its weights ({', '.join(sorted(asked))}), such as "
            f"code of its own, which is never run; name code that you trust with --arch "
            f"FILE.py:FUNCTION and the file {WEIGHTS}."
        )
    if isinstance(name := config.get("architecture"), str):
        return folder / WEIGHTS, f"timm:{name}"
    names = config.get("architectures")
    name = cast("list[object]", names)[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or not name.endswith("ForImageClassification"):
        raise ContentError(
            f"MODEL: {folder / CONFIG} is of {name or 'no architecture'}; expected an image "
            f"classifier (…ForImageClassification, or a timm architecture)."
        )
    return folder / WEIGHTS, f"{TRANSFORMERS}{name}"


def read(folder: Path, arch: str) -> Logits:
    """Return the network of a folder of transformers, with its weights.

    The library itself reads them, because it knows other names for some of them; it is kept to the
    one file of safetensors, whose header was checked before.

    Raises:
        ArgumentError: the package is not installed.
        ContentError: the configuration describes no network, or not one of these weights.

    """
    library = optional("transformers", f"MODEL: {arch}")
    state = safetensors.read(folder / WEIGHTS)[0]
    config = _read(folder / CONFIG)
    _check_depth(folder, config, len(state))
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    local = {"local_files_only": True, "trust_remote_code": False}
    maker = library.AutoModelForImageClassification
    try:
        # Pass the checked dictionary, not the file: from a file the library would go on to other
        # files.
        kind: Any = library.AutoConfig.for_model(config.get("model_type"))
        described: Any = kind.from_dict(_plain(config))
        with torch.device("meta"):  # shapes alone
            empty: nn.Module = maker.from_config(described, attn_implementation="eager")
        _check_size(folder, numbers(empty.state_dict()), numbers(state))
        network, report = maker.from_pretrained(
            folder.resolve(),
            config=described,
            **local,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except ContentError:
        raise
    except Exception as error:  # whatever a configuration makes a constructor raise
        raise ContentError(
            f"MODEL: {folder / CONFIG} describes no network that transformers can make of "
            f"{WEIGHTS} ({brief(error)}); check both."
        ) from error
    problems = [
        f"{problem.split('_')[0]}: {', '.join(sorted(map(str, keys)))[:200]}"
        for problem, keys in report.items()
        if problem in {"missing_keys", "unexpected_keys", "mismatched_keys"} and keys
    ]
    if problems:
        raise ContentError(
            f"MODEL: the tensors of {folder / WEIGHTS} do not fit {arch}: "
            f"{printable('; '.join(problems))}; check both."
        )
    return Logits(network)


def sha256(folder: Path) -> str:
    """Return a SHA-256 over that of the weights and the configuration, which decide together."""
    digest = bytes.fromhex(sha256_of(folder / WEIGHTS))
    return hashlib.sha256(digest + (folder / CONFIG).read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """Return a configuration without what names how a layer is computed."""
    if isinstance(value, dict):
        return {
            key: _plain(inner)
            for key, inner in cast("dict[str, Any]", value).items()
            if not any(part in key for part in CHOSEN_HERE)
        }
    return [_plain(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def _check_size(folder: Path, described: int, held: int) -> None:
    """Raise where a configuration describes a network that its weights cannot fill."""
    if described > TIED * held:
        raise ContentError(
            f"MODEL: {folder / CONFIG} describes a network of {described:,} numbers, {WEIGHTS} has "
            f"{held:,}; check both."
        )


def _check_depth(folder: Path, config: dict[str, Any], tensors: int) -> None:
    """Raise where a configuration asks for more layers than there are tensors.

    Even without memory for its weights such a network would be made for ever.
    """

    def deep(value: object, key: str) -> bool:
        if isinstance(value, dict):
            return any(
                deep(inner, name) for name, inner in cast("dict[str, object]", value).items()
            )
        if isinstance(value, list):
            return any(deep(inner, key) for inner in cast("list[object]", value))
        named = any(part in key for part in ("layer", "depth", "block", "stage"))
        return named and isinstance(value, int) and value > tensors

    if deep(config, ""):
        raise ContentError(
            f"MODEL: {folder / CONFIG} asks for more layers than {WEIGHTS} has tensors "
            f"({tensors}); check both."
        )


def _read(path: Path) -> dict[str, Any]:
    content = read_bytes(path, "MODEL", LARGEST_CONFIG)
    try:
        config: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"MODEL: {path} is not JSON ({brief(error)}); fetch it anew.") from error
    if not isinstance(config, dict):
        raise ContentError(f"MODEL: {path} is not an object; fetch it anew.")
    return cast("dict[str, Any]", config)
