"""Networks of Keras: each layer against the same in PyTorch, both formats, and hostile files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unbackdoor.app.cli import main
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import Graph, load, save
from unbackdoor.rng import stream

h5py = pytest.importorskip("h5py")
Layer = tuple[str, dict[str, Any], dict[str, np.ndarray]]


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return torch.randn(shape, generator=stream(seed)).numpy() / 3


def written(
    path: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], **attributes: Any
) -> str:
    """Write HDF5 as Keras 2 does."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for name, value in attributes.items():
            file.attrs[name] = value
        group = file.create_group("model_weights")
        names: dict[str, list[str]] = {}
        for name, array in arrays.items():
            group.create_dataset(name, data=array)
            layer, _, own = name.partition("/")
            names.setdefault(layer, []).append(own)
        group.attrs["layer_names"] = [layer.encode() for layer in names]
        for layer, own in names.items():
            group[layer].attrs["weight_names"] = [name.encode() for name in own]
    return str(path)


def sequential(
    layers: Sequence[Layer], shape: Sequence[int] = (8, 8, 3)
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the configuration of layers in a row, and the arrays of an HDF5 file."""
    entries: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, *shape]}}
    ]
    arrays: dict[str, np.ndarray] = {}
    for at, (kind, config, own) in enumerate(layers):
        name = f"layer_{at}"
        config = {"name": name, "use_bias": "bias" in own, **config}
        entries.append({"class_name": kind, "config": config})
        arrays |= {f"{name}/{name}_1/{key}:0": array for key, array in own.items()}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": entries}}, arrays


WINDOW = {"strides": [1, 1], "padding": "valid", "dilation_rate": [1, 1]}
KERNEL, DEEP = drawn(3, 3, 3, 4), drawn(3, 3, 3, 2)
NORM = {
    "gamma": drawn(3),
    "beta": drawn(3, seed=1),
    "moving_mean": drawn(3, seed=2),
    "moving_variance": drawn(3, seed=3) ** 2,
}


def conv(x: Tensor, kernel: np.ndarray, **more: Any) -> Tensor:
    return functional.conv2d(x, torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), **more)


def deep(x: Tensor) -> Tensor:
    weight = torch.from_numpy(DEEP.transpose(2, 3, 0, 1).reshape(6, 1, 3, 3).copy())
    return functional.conv2d(x, weight, groups=3)


def flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1)


def normed(x: Tensor) -> Tensor:
    mean, variance, gamma, beta = (
        torch.from_numpy(NORM[name]).reshape(-1, 1, 1)
        for name in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    return (x - mean) / (variance + 1e-3).sqrt() * gamma + beta


KINDS: list[tuple[Layer, Callable[[Tensor], Tensor]]] = [
    (("Conv2D", {**WINDOW, "activation": "relu"}, {"kernel": KERNEL, "bias": drawn(4)}),
     lambda x: conv(x, KERNEL, bias=torch.from_numpy(drawn(4))).relu()),
    (("Conv2D", {**WINDOW, "padding": "same", "strides": 2}, {"kernel": KERNEL}),
     lambda x: conv(functional.pad(x, (0, 1, 0, 1)), KERNEL, stride=2)),
    (("Conv2D", {**WINDOW, "dilation_rate": 2}, {"kernel": KERNEL}),
     lambda x: conv(x, KERNEL, dilation=2)),
    (("DepthwiseConv2D", WINDOW, {"depthwise_kernel": DEEP}), deep),
    (("SeparableConv2D", WINDOW,
      {"depthwise_kernel": DEEP, "pointwise_kernel": drawn(1, 1, 6, 5), "bias": drawn(5)}),
     lambda x: conv(deep(x), drawn(1, 1, 6, 5), bias=torch.from_numpy(drawn(5)))),
    (("BatchNormalization", {"axis": [3], "epsilon": 1e-3}, NORM), normed),
    (("MaxPooling2D", {"pool_size": 2, "strides": None, "padding": "valid"}, {}),
     lambda x: functional.max_pool2d(x, 2)),
    (("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, {}),
     lambda x: functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-9), 3, 2)),
    (("AveragePooling2D", {"pool_size": [3, 3], "strides": [1, 1], "padding": "same"}, {}),
     lambda x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
    (("ZeroPadding2D", {"padding": [[0, 1], [2, 0]]}, {}),
     lambda x: functional.pad(x, (2, 0, 0, 1))),
    (("Rescaling", {"scale": 255.0, "offset": [-1.0, 0.0, 1.0]}, {}),
     lambda x: 255 * x + torch.tensor([-1.0, 0, 1]).reshape(3, 1, 1)),
    (("GlobalMaxPooling2D", {"keepdims": True}, {}), lambda x: x.amax((2, 3), keepdim=True)),
    (("GlobalAveragePooling2D", {"keepdims": True}, {}), lambda x: x.mean((2, 3), keepdim=True)),
    (("ReLU", {"max_value": 0.5}, {}), lambda x: x.clamp(0, 0.5)),
    (("ReLU", {"max_value": None, "negative_slope": 0.25, "threshold": 0.0}, {}),
     lambda x: functional.leaky_relu(x, 0.25)),
    (("LeakyReLU", {"alpha": 0.3}, {}), lambda x: functional.leaky_relu(x, 0.3)),
    (("ELU", {"alpha": 1.0}, {}), functional.elu),
    (("Softmax", {"axis": -1}, {}), lambda x: x.softmax(1)),
    (("Reshape", {"target_shape": [4, 16, 3]}, {}),
     lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4, 16, 3).permute(0, 3, 1, 2)),
    (("Dropout", {"rate": 0.5}, {}), lambda x: x),
    *(
        (("Activation", {"activation": name}, {}), function)
        for name, function in {
            "linear": lambda x: x,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "swish": functional.silu,
            "relu6": functional.relu6,
            "selu": functional.selu,
            "softmax": lambda x: x.softmax(1),
            "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
            "gelu": functional.gelu,
            "softplus": functional.softplus,
            "softsign": functional.softsign,
            "elu": functional.elu,
            "relu": functional.relu,
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "wanted"), KINDS)
def test_each_layer_computes_what_it_does_in_keras(
    layer: Layer, wanted: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    images = torch.rand(3, 3, 8, 8, generator=stream(4)) - 0.3
    before = flat(wanted(images))
    kernel, bias = drawn(before.shape[1], 3, seed=7), drawn(3, seed=8)
    path = written(
        tmp_path / "net.h5",
        *sequential([layer, ("Flatten", {}, {}), ("Dense", {}, {"kernel": kernel, "bias": bias})]),
    )
    loaded = load(path)
    assert (loaded.arch, loaded.suffix) == ("keras", ".onnx")
    with torch.no_grad():
        answered = loaded.module(images)
    assert torch.allclose(
        answered, before @ torch.from_numpy(kernel) + torch.from_numpy(bias), atol=1e-3
    )


def branches(inbound: Callable[[str], Any], ends: Callable[[str], Any]) -> dict[str, Any]:
    """Two convolutions of one layer's weights, joined; and a network in the network."""
    inner = {
        "class_name": "Sequential",
        "name": "inner",
        "config": {
            "name": "inner",
            "layers": [
                {
                    "class_name": "Dense",
                    "config": {"name": "dense", "batch_input_shape": [None, 4]},
                }
            ],
        },
        "inbound_nodes": [inbound("pool")],
    }
    layers = [
        ("InputLayer", {"batch_input_shape": [None, 8, 8, 3]}, "in", []),
        ("Conv2D", {**WINDOW, "padding": "same", "use_bias": False}, "conv", ["in"]),
        ("BatchNormalization", {"scale": False, "center": False}, "norm", ["in"]),
        ("Concatenate", {"axis": -1}, "both", ["conv", "norm"]),
        ("Conv2D", {**WINDOW, "use_bias": False}, "last", ["both"]),
        ("Add", {}, "sum", ["last", "last"]),
        ("GlobalAveragePooling2D", {}, "pool", ["sum"]),
    ]
    entries = [
        {
            "class_name": kind,
            "name": name,
            "config": {"name": name, **config},
            "inbound_nodes": [inbound(*taken)] if taken else [],
        }
        for kind, config, name, taken in layers
    ]
    own = {"layers": [*entries, inner], "input_layers": ends("in"), "output_layers": ends("inner")}
    return {"class_name": "Functional", "config": own}


def as_keras_2(*names: str) -> list[Any]:
    return [[name, 0, 0, {}] for name in names]


def as_keras_3(*names: str) -> dict[str, Any]:
    tensors = [
        {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        for name in names
    ]
    return {"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {}}


ARRAYS = {
    "conv": drawn(3, 3, 3, 4),
    "mean": drawn(3, seed=5),
    "variance": drawn(3, seed=6) ** 2,
    "last": drawn(3, 3, 7, 4, seed=7),
    "dense": drawn(4, 2, seed=8),
    "bias": drawn(2, seed=9),
}


KEPT = [
    ("conv", "conv2d/vars/0", "conv/conv/kernel:0"),
    ("mean", "batch_normalization/vars/0", "norm/norm/moving_mean:0"),
    ("variance", "batch_normalization/vars/1", "norm/norm/moving_variance:0"),
    ("last", "conv2d_1/vars/0", "last/last/kernel:0"),
    ("dense", "sequential/layers/dense/vars/0", "inner/dense/kernel:0"),
    ("bias", "sequential/layers/dense/vars/1", "inner/dense/bias:0"),
]
"""The arrays of the branches, where a zip archive has them, and where HDF5 does."""


def of_branches(x: Tensor) -> Tensor:
    mean, variance = (
        torch.from_numpy(ARRAYS[name]).reshape(-1, 1, 1) for name in ("mean", "variance")
    )
    both = torch.cat([conv(x, ARRAYS["conv"], padding=1), (x - mean) / (variance + 1e-3).sqrt()], 1)
    pooled = (2 * conv(both, ARRAYS["last"])).mean((2, 3))
    return pooled @ torch.from_numpy(ARRAYS["dense"]) + torch.from_numpy(ARRAYS["bias"])


def zipped(path: Path, config: Mapping[str, Any]) -> str:
    """Write a zip archive as Keras 3 does."""
    kept = {f"layers/{place}": ARRAYS[name] for name, place, _ in KEPT}
    kept["optimizer/vars/0"] = np.zeros(3, np.int64)
    numbers = path.with_suffix(".numbers")
    with h5py.File(numbers, "w") as file:
        for name, array in kept.items():
            file.create_dataset(name, data=array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.write(numbers, "model.weights.h5")
    return str(path)


def in_hdf5(path: Path, config: Mapping[str, Any]) -> str:
    return written(path, config, {place: ARRAYS[name] for name, _, place in KEPT})


@pytest.mark.parametrize("write", [zipped, in_hdf5])
@pytest.mark.parametrize(
    "config",
    [
        branches(as_keras_2, lambda name: [[name, 0, 0]]),
        branches(as_keras_3, lambda name: [name, 0, 0]),
    ],
)
def test_branches_and_networks_in_networks_of_both_formats(
    write: Callable[[Path, Mapping[str, Any]], str], config: dict[str, Any], tmp_path: Path
) -> None:
    images = torch.rand(3, 3, 8, 8, generator=stream(4))
    loaded = load(write(tmp_path / "net.any", config))
    with torch.no_grad():
        assert torch.allclose(loaded.module(images), of_branches(images), atol=1e-5)
    assert isinstance(loaded.module, Graph)
    out = tmp_path / "again.onnx"
    save(loaded.module, out, {})
    with torch.no_grad():
        assert torch.equal(load(str(out)).module(images), loaded.module(images))


ROW = ("Dense", {}, {"kernel": drawn(192, 2)})


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([("Mine", {}, {}), ("Flatten", {}, {}), ROW], r"layers that are not known: Mine\)"),
        ([("Dense", {}, {"kernel": drawn(3, 2)})], "a dense layer over more than one axis"),
        ([("Flatten", {}, {}), ("Dense", {}, {})], r"layer_1 with \[\] for \['kernel'\]"),
        ([("Flatten", {}, {}), ("Dense", {"use_bias": True}, ROW[2])], "for .*'bias'"),
        ([("Flatten", {}, {}), ("Dense", {"units": 3}, ROW[2])], "a kernel of shape"),
        ([("Conv2D", {**WINDOW, "kernel_size": [5, 5]}, {"kernel": KERNEL})], "a kernel of shape"),
        ([("BatchNormalization", {}, {"gamma": NORM["gamma"]})], "for .*'moving_mean'"),
        ([("Flatten", {}, {}), ("Dense", {}, {**ROW[2], "more": drawn(2)})], "'more'"),
        ([("Dropout", {}, {"lora": drawn(2)}), ("Flatten", {}, {}), ROW], "'lora'"),
        ([("Rescaling", {"scale": [[1.0], [2.0]], "offset": 0.0}, {})], "of 2 axes"),
        ([("Conv2D", WINDOW, {"kernel": KERNEL})], "an output of 3 axes"),
        ([("Conv2D", {**WINDOW, "data_format": "channels_first"}, {"kernel": KERNEL})], "first"),
        ([("Activation", {"activation": "mine"}, {}), ("Flatten", {}, {}), ROW], "'mine'"),
        ([("Conv2D", WINDOW, {"kernel": drawn(3)}), ("Flatten", {}, {}), ROW], "Keras writes it"),
    ],
)
def test_what_is_not_known_is_refused_with_what_to_do(
    layers: list[Layer], words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "net.h5", *sequential(layers))
    with pytest.raises(ContentError, match=words) as caught:
        load(path)
    assert "KERAS_BACKEND=torch python -c" in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_keras_gets_a_file_by_the_name_that_it_knows(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"net{suffix}", *sequential([("Mine", {}, {})]))
    with pytest.raises(ContentError, match=r'load_model\(".*net[a-z0-9.]*\.h5", compile') as caught:
        load(path)
    assert (f"cp {path} {path}.h5 && " in str(caught.value)) == (suffix == ".keras")


def test_a_file_that_was_cut_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = written(tmp_path / "net.h5", *sequential([("Flatten", {}, {}), ROW]))
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) - 400])
    with pytest.raises(ContentError, match=r"damaged .* fetch or save it anew"):
        load(path)


def test_arrays_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    config, arrays = sequential([("Flatten", {}, {}), ROW])
    path = written(tmp_path / "net.h5", config, {})
    (name,) = arrays
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["kernel"] = arrays[name]

    def linked(group: Any) -> None:
        group[name] = h5py.ExternalLink(str(other), "kernel")

    def outside(group: Any) -> None:
        file = [(str(other), 0, 4 * arrays[name].size)]
        group.create_dataset(name, arrays[name].shape, "f4", external=file)

    def virtual(group: Any) -> None:
        layout = h5py.VirtualLayout(arrays[name].shape, "f4")
        layout[:] = h5py.VirtualSource(str(other), "kernel", shape=arrays[name].shape)
        group.create_virtual_dataset(name, layout)

    def packed(group: Any) -> None:
        group.create_dataset(name, data=np.zeros((192, 2), "f4"), compression="gzip")

    def endless(group: Any) -> None:
        group.create_dataset(name, (1 << 20, 1 << 20), "f4")

    for make in (linked, outside, virtual, packed, endless):
        written(Path(path), config, {})
        with h5py.File(path, "a") as file:
            make(file["model_weights"])
        with pytest.raises(ContentError, match=r"is a link|no plain array in the file itself"):
            load(path)


def refused(path: str, words: str) -> None:
    with pytest.raises(ContentError, match=words):
        load(path)


def test_what_keras_would_read_in_another_way_is_refused(tmp_path: Path) -> None:
    """Keras goes by the lists of names, and by a file's first bytes."""
    layers: list[Layer] = [
        ("Flatten", {}, {}),
        ("Dense", {}, {"kernel": drawn(192, 192)}),
        ("Dense", {}, {"kernel": drawn(192, 192, seed=1)}),
    ]
    config, arrays = sequential(layers)
    path = written(tmp_path / "net.h5", config, arrays)
    load(path)
    with h5py.File(path, "a") as file:
        file["model_weights"].attrs["layer_names"] = [b"layer_2", b"layer_1"]
    refused(path, "arrays in another order than its layers")
    path = written(tmp_path / "net.h5", config, arrays)
    with h5py.File(path, "a") as file:
        group = file["model_weights/layer_1"]
        group.create_dataset("evil", data=arrays["layer_1/layer_1_1/kernel:0"])
        group.attrs["weight_names"] = [b"evil"]
    refused(path, "other arrays than it lists")
    path = written(tmp_path / "net.h5", config, arrays, backend="theano")
    refused(path, "the backend 'theano'")
    path = written(tmp_path / "net.h5", config, arrays)
    with h5py.File(path, "a") as file:
        file["model_weights/kind"] = np.dtype("f4")
    refused(path, "'kind' is no array")
    path = written(tmp_path / "net.h5", config, arrays)
    whole = zipped(tmp_path / "net.keras", branches(as_keras_2, lambda name: [[name, 0, 0]]))
    Path(path).write_bytes(Path(path).read_bytes() + Path(whole).read_bytes())
    refused(path, "a zip archive behind it")
    with zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}", zipfile.ZIP_STORED)
        archive.writestr("config.json", " " * 1000)
    refused(str(tmp_path / "packed.keras"), "is compressed")
    row = sequential([("Dense", {}, {"kernel": drawn(192, 2)})], [192])
    refused(written(tmp_path / "net.h5", *row), "pictures that come as a row of 192")


def joined(call: Any, **more: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a network whose last layers are called so."""
    first = {
        "class_name": "InputLayer",
        "config": {"name": "in", "batch_shape": [None, 8, 8, 3]},
        "inbound_nodes": [],
    }
    both = {"class_name": "Add", "config": {"name": "add"}, "inbound_nodes": [call], **more}
    flat_one = {
        "class_name": "Flatten",
        "config": {"name": "flat"},
        "inbound_nodes": [as_keras_2("add")],
    }
    own = {
        "layers": [first, both, flat_one],
        "input_layers": [["in", 0, 0]],
        "output_layers": [["flat", 0, 0]],
    }
    return {"class_name": "Functional", "config": own}, {}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (joined({"args": [as_keras_3("in")["args"][0], 2.0]}), "given a number"),
        (joined({**as_keras_3("in"), "kwargs": {"training": True}}), "a call with training"),
        (joined([["in", 0, 0, {"training": True}]]), "a call with training"),
        (joined([["in", 0, 1, {}]]), "several outputs"),
        (joined(as_keras_2("in"), module="mine"), "a class of its own, mine"),
        (joined(as_keras_2("in"), module="keras.layers", registered_name="mine>Add"), "mine>Add"),
    ],
)
def test_calls_that_say_more_than_what_is_known_are_refused(
    network: tuple[dict[str, Any], dict[str, np.ndarray]], words: str, tmp_path: Path
) -> None:
    load(written(tmp_path / "net.h5", *joined(as_keras_2("in"), module="keras.layers")))
    refused(written(tmp_path / "net.h5", *network), words)


def test_calls_that_double_without_an_end_are_refused(tmp_path: Path) -> None:
    doubled = [
        {
            "class_name": "Dropout",
            "config": {"name": f"drop_{at}"},
            "inbound_nodes": [as_keras_2(*[f"drop_{at - 1}" if at else "in"] * 2)],
        }
        for at in range(40)
    ]
    config, arrays = joined(as_keras_2("drop_39"))
    config["config"]["layers"][1:1] = doubled
    refused(written(tmp_path / "net.h5", config, arrays), "not as Keras writes it")


def test_a_network_without_an_end_is_refused(tmp_path: Path) -> None:
    text = '{"class_name": "Sequential", "config": {"layers": [' * 3000 + "]}}" * 3000
    for content in (text[:60_000], "[]", "null", '{"class_name": "Sequential"}', "{}"):
        with h5py.File(tmp_path / "net.h5", "w") as file:
            file.attrs["model_config"] = content
        with pytest.raises(ContentError, match="cannot be read as a network of Keras here"):
            load(str(tmp_path / "net.h5"))


def test_the_packages_are_named_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "net.h5", *sequential([("Flatten", {}, {}), ROW]))
    with pytest.raises(ArgumentError, match=r"--arch: .* leave --arch out"):
        load(path, "resnet8")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ArgumentError, match=r"pip install 'unbackdoor\[keras\]'"):
        load(path)


def test_a_network_of_keras_is_scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It answers by the colour that is lightest."""
    images = torch.rand(90, 3, 8, 8, generator=stream(1)).numpy() / 2
    labels = np.arange(90) % 3
    images[np.arange(90), labels] += 0.4
    np.savez(tmp_path / "data.npz", images=images.transpose(0, 2, 3, 1), labels=labels)
    kernel = np.tile(np.eye(3, dtype=np.float32), (64, 1))
    layers: list[Layer] = [
        ("Flatten", {}, {}),
        ("Dense", {"activation": "softmax"}, {"kernel": kernel}),
    ]
    path = written(tmp_path / "net.h5", *sequential(layers))
    typed = ["scan", path, "--data", str(tmp_path / "data.npz"), "--space", "patch:1", "-f", "json"]
    code = main([*typed, "--bag", "none", "--quiet"])
    result = json.loads(capsys.readouterr().out)
    assert (code, result["verdict"], result["model"]["arch"]) == (0, "clean", "keras")
    assert result["model"]["accuracy"] == 1
