"""Folders as the Hugging Face hub keeps them: ``config.json`` beside ``model.safetensors``.

The configuration says the architecture: of timm (``architecture``) or of transformers
(``architectures``, image classifiers alone). Code in the folder is never run and nothing is
fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from unbackdoor.errors import ArgumentError, ContentError, brief
from unbackdoor.files import read_bytes
from unbackdoor.models.architectures import build

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LARGEST_CONFIG = 4 << 20


class Logits(nn.Module):
    """A classifier of transformers that answers with its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, classes)``."""
        return self.network(pixel_values=images).logits


def open_folder(folder: Path) -> tuple[Path, str, dict[str, Any]]:
    """Return the file of weights of a folder, the name of its architecture, and its configuration.

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
    if "auto_map" in config:
        raise ContentError(
            f"MODEL: {folder / CONFIG} asks for code of its own (auto_map), which is never run; "
            f"name code that you trust with --arch FILE.py:FUNCTION and the file {WEIGHTS}."
        )
    if isinstance(name := config.get("architecture"), str):
        return folder / WEIGHTS, f"timm:{name}", config
    names = config.get("architectures")
    name = cast("list[object]", names)[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or not name.endswith("ForImageClassification"):
        raise ContentError(
            f"MODEL: {folder / CONFIG} is of {name or 'no architecture'}; expected an image "
            f"classifier (…ForImageClassification, or a timm architecture)."
        )
    return folder / WEIGHTS, f"transformers:{name}", config


def build_from(arch: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """Return the fresh network that a configuration describes.

    Raises:
        ArgumentError: a package that it needs is not installed.
        ContentError: it describes no network.

    """
    if arch.startswith("timm:"):
        return build(arch, int(config.get("num_classes") or 1000), state)
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except Exception as error:
        raise ArgumentError(
            f"MODEL: {arch} needs the package transformers, which cannot be imported "
            f"({brief(error)}); pip install 'unbackdoor[transformers]'."
        ) from error
    library = cast(Any, transformers)
    try:
        kind = library.AutoConfig.for_model(**{"model_type": "", **config})
        network = library.AutoModelForImageClassification.from_config(
            kind, trust_remote_code=False, attn_implementation="eager"
        )
    except Exception as error:  # whatever a configuration makes a constructor raise
        raise ContentError(
            f"MODEL: its {CONFIG} describes no network that transformers can make "
            f"({brief(error)}); check its version."
        ) from error
    return Logits(network)


def _read(path: Path) -> dict[str, Any]:
    content = read_bytes(path, "MODEL", LARGEST_CONFIG)
    try:
        config: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"MODEL: {path} is not JSON ({brief(error)}); fetch it anew.") from error
    if not isinstance(config, dict):
        raise ContentError(f"MODEL: {path} is not an object; fetch it anew.")
    return cast("dict[str, Any]", config)
