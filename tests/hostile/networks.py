"""Networks that hide an import, claim what was never written, or grow with batch and modules."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from onnx import TensorProto

from corpus import Corpus, hostile
from graphs import head, node
from headers import entry
from pickled import text
from places import hub


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


IO, OPEN = short("io"), short("open")
DECOY = short("argparse") + short("Namespace")
HIDDEN = {
    "in_a_memo": IO + b"\x940" + OPEN + b"\x940" + DECOY + b"h\x00h\x01",
    "in_a_memo_by_text": b"Vio\np7\n0Vopen\np8\n0" + DECOY + b"00g7\ng8\n",
    "in_a_memo_by_long_numbers": IO + b"r\x70\x11\x01\x000" + OPEN + DECOY + b"00j\x70\x11\x01\x00",
    "in_a_memo_that_is_overwritten": DECOY + b"q\1q\1" + IO + b"q\x010" + OPEN + b"q\x02h\1h\2",
    "below_a_mark": IO + OPEN + b"(" + DECOY + b"1",
    "below_a_tuple": IO + OPEN + DECOY + b"\x860",
    "twice_on_the_stack": DECOY + IO + b"2\x9400h\x00" + OPEN,
    "made_by_a_call": b"cbuiltins\nstr\n" + IO + b"\x85R" + OPEN,
    "kept_nowhere": DECOY + b"h\x05h\x06",
    "in_bytes": b"C\x02ioC\x04open",
    "behind_a_dot": short("torch._utils") + short("_rebuild_tensor_v2.__globals__.get"),
}


def hides(name: str, words: bytes) -> Callable[[Corpus, str], list[str]]:
    def make(c: Corpus, name: str) -> list[str]:
        call = b"(" + text(str(c.canary)) + text("w") + b"tR."
        return c.zipped(name, b"\x80\x04" + words + b"\x93" + call)

    make.__name__ = f"pickle_hides_its_import_{name}"
    return make


for way, words in HIDDEN.items():
    hostile(hides(way, words))


@hostile
def tensors_of_a_file_with_holes(c: Corpus, name: str) -> list[str]:
    arguments = c.tensors(name, {"a": entry([1 << 31], 0, 1 << 33)})
    with Path(arguments[1]).open("r+b") as file:
        file.truncate(Path(arguments[1]).stat().st_size + (1 << 33))
    return arguments


@hostile
def pickle_of_a_file_with_holes(c: Corpus, name: str) -> list[str]:
    arguments = c.pickled(name, b"\x80\x02")
    with Path(arguments[1]).open("r+b") as file:
        file.truncate(1 << 40)
    return arguments


@hostile
def onnx_of_a_file_with_holes(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.onnx"
    with path.open("wb") as file:
        file.truncate((1 << 31) - 1)
    return c.scan(path, arch=None)


def data_in(c: Corpus, name: str, location: str, size: int) -> list[str]:
    value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size])
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value=location)
    return c.graph(name, [node("Add", "x", "w", to="z"), *head("z")], {"w": value})


@hostile
def onnx_data_with_holes(c: Corpus, name: str) -> list[str]:
    with (c.folder / "holes.bin").open("wb") as file:
        file.truncate(1 << 33)
    return data_in(c, name, "holes.bin", 1 << 31)


@hostile
def onnx_data_down_and_up(c: Corpus, name: str) -> list[str]:
    (c.folder / "down").mkdir()
    return data_in(c, name, "down/../../../../../../../etc/passwd", 64)


@hostile
def onnx_data_in_a_folder_that_is_a_link(c: Corpus, name: str) -> list[str]:
    (c.folder / "etc").symlink_to("/etc")
    return data_in(c, name, "etc/passwd", 64)


def flat() -> tuple[list[Any], dict[str, Any]]:
    nodes = [node("Flatten", "x", to="f"), node("Gemm", "f", "w", to="g", transB=1)]
    return nodes, {"w": np.eye(2, 192, dtype=np.float32)}


@hostile
def onnx_fills_memory_by_the_batch(c: Corpus, name: str) -> list[str]:
    nodes, weights = flat()
    nodes += [node("Tile", "f", "n", to="t"), node("ReduceMean", "t", to="q", axes=[1])]
    weights["n"] = np.array([1, 200_000])
    return c.graph(name, [*nodes, node("Add", "g", "q")], weights)


@hostile
def onnx_fills_memory_by_channels(c: Corpus, name: str) -> list[str]:
    nodes = [node("Conv", "x", "k", to="c"), node("Relu", "c", to="r"), *head("r")]
    return c.graph(name, nodes, {"k": np.zeros((200_000, 3, 1, 1), np.float32)})


@hostile
def onnx_fills_memory_for_a_gradient(c: Corpus, name: str) -> list[str]:
    nodes, weights = flat()
    nodes += [node("Tile", "f", "n", to="t0")]
    nodes += [node("Relu", f"t{level}", to=f"t{level + 1}") for level in range(1000)]
    nodes += [node("ReduceMean", "t1000", to="q", axes=[1]), node("Add", "g", "q")]
    weights["n"] = np.array([1, 10_000])
    return c.graph(name, nodes, weights)


@hostile
def onnx_fills_memory_by_the_square_of_the_batch(c: Corpus, name: str) -> list[str]:
    nodes = [
        node("Flatten", "x", to="f"),
        node("Transpose", "f", to="t", perm=[1, 0]),
        node("MatMul", "f", "t", to="s"),
        *(node("MatMul", "s", "s", to="s2"), node("MatMul", "s2", "f", to="v")),
        node("Gemm", "v", "w", transB=1),
    ]
    return c.graph(name, nodes, {"w": np.eye(2, 192, dtype=np.float32)})


@hostile
def onnx_joins_one_value_200000_times(c: Corpus, name: str) -> list[str]:
    nodes, weights = flat()
    nodes += [node("Concat", *["g"] * 200_000, to="c", axis=1)]
    return c.graph(name, [*nodes, node("ReduceMean", "c", axes=[1], keepdims=0)], weights)


@hostile
def onnx_of_channels_behind(c: Corpus, name: str) -> list[str]:
    """Channels last, with sides that no picture has."""
    return c.graph(name, head(), {}, shape=("n", 1 << 19, 1 << 19, 3))


VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 8,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "image_size": 16,
    "patch_size": 8,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "of_a_hundred_million_classes": {**VIT, "num_labels": 10**8},
    "of_pictures_of_a_terapixel": {**VIT, "image_size": 10**7},
    "of_lists_that_multiply": {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "embedding_size": 1,
        "hidden_sizes": [1] * 1000,
        "depths": [1000] * 1000,
        "layer_type": "basic",
    },
    "of_a_depth_that_is_no_integer": {
        "model_type": "efficientnet",
        "architectures": ["EfficientNetForImageClassification"],
        "depth_coefficient": 1e9,
        "width_coefficient": 0.01,
    },
    "of_timm_with_a_million_layers": {
        "architecture": "resnet10t",
        "model_args": {"layers": [10**6] * 4},
    },
    "of_timm_with_large_pictures": {
        "architecture": "vit_tiny_patch16_224",
        "model_args": {"img_size": 10**6, "patch_size": 1},
    },
    "of_timm_that_names_a_file": {
        "architecture": "resnet10t",
        "model_args": {"pretrained": True, "checkpoint_path": "/etc/passwd"},
    },
    "of_timm_that_names_an_address": {
        "architecture": "resnet10t",
        "model_args": {"pretrained_cfg": {"url": "http://127.0.0.1:9/x"}},
    },
}


def folder_of(name: str, config: dict[str, Any]) -> Callable[[Corpus, str], list[str]]:
    def make(c: Corpus, name: str) -> list[str]:
        return c.scan(hub(c, name, config), arch=None)

    make.__name__ = f"hub_folder_{name}"
    return make


for what, config in CONFIGS.items():
    hostile(folder_of(what, config))


@hostile
def hub_folder_with_a_nested_processor(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, VIT)
    (folder / "preprocessor_config.json").write_text("[" * 500_000)
    return c.scan(folder, arch=None)


@hostile
def hub_folder_whose_parts_lead_out(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architecture": "resnet10t"})
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../../../../../etc/passwd"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return c.scan(folder, arch=None)


@hostile
def hub_folder_whose_parts_are_devices(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architecture": "resnet10t"})
    (folder / "model.safetensors").unlink()
    part = "model-00001-of-00001.safetensors"
    (folder / part).symlink_to("/dev/zero")
    index = {"weight_map": {"a": part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_tensor_in_two_parts(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architecture": "resnet10t"})
    (folder / "model.safetensors").unlink()
    parts = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    for part in parts:
        safetensors.torch.save_file({"a": torch.zeros(1)}, folder / part)
    index = {"weight_map": dict(zip("ab", parts, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return c.scan(folder, arch=None)


@hostile
def hub_folder_with_a_pickle_for_weights(c: Corpus, name: str) -> list[str]:
    folder = hub(c, name, {"architecture": "resnet10t"})
    (folder / "model.safetensors").unlink()
    content = b"\x80\x02cio\nopen\n(" + text(str(c.canary)) + text("w") + b"tR."
    (folder / "pytorch_model.bin").write_bytes(content)
    return c.scan(folder, arch=None)


@hostile
def network_twice_in_a_file(c: Corpus, name: str) -> list[str]:
    path = c.folder / f"{name}.safetensors"
    state = {"classifier.weight": torch.zeros(2, 4), "stem.weight": torch.zeros(3)}
    twice = {f"{who}.{key}": x.clone() for who in ("model", "real") for key, x in state.items()}
    safetensors.torch.save_file(twice, path)
    return c.scan(path)


@hostile
def tensors_under_the_name_of_a_pickle(c: Corpus, name: str) -> list[str]:
    """Its first bytes are those of a pickle, and of safetensors too."""
    path = c.folder / f"{name}.pt"
    path.write_bytes(struct.pack("<Q", 0x0280) + b"{}" + b" " * 0x27E + b"cio\nopen\n.")
    return c.scan(path)
