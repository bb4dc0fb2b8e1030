"""Files of one network as trainers, wrappers and people write them: each loads, and it is said."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from unbackdoor.errors import ContentError
from unbackdoor.models import load
from unbackdoor.models.architectures import build
from unbackdoor.models.keraslayers import LAYERS

SOURCE = """
from torch import nn


class Small(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn1 = nn.BatchNorm2d(6)
        self.features = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.features(self.bn1(self.conv1(x)).relu()).mean((2, 3)))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Small()

    def forward(self, x):
        return self.net(x)


def ten():
    return Small(10)
"""
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    torch.manual_seed(0)
    made: nn.Module = names["Small"]()
    made(torch.rand(8, 3, 9, 9))  # so that BatchNorm has seen something
    return made.eval()


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(SOURCE)
    return f"{tmp_path / 'net.py'}:Small"


def averaged(network: nn.Module) -> State:
    average = AveragedModel(network)
    average.update_parameters(network)
    return average.state_dict()


def compiled(network: nn.Module) -> State:
    return {key.replace("features.", "features._orig_mod."): x for key, x in of(network).items()}


def of(network: nn.Module) -> State:
    return network.state_dict()


def lightning(network: nn.Module) -> dict[str, Any]:
    state = {f"model.{key}": x for key, x in of(network).items()}
    beside = {
        "criterion.weight": torch.ones(4),
        "mean": torch.zeros(1, 3, 1, 1),
        "val_confusion.confmat": torch.zeros(4, 4, dtype=torch.int64),
    }
    return {"state_dict": {**state, **beside}, "epoch": 3, "hyper_parameters": {"lr": 0.1}}


KINDS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "as it is": (of, ""),
    "without counts": (
        lambda net: {k: x for k, x in of(net).items() if "num_batches" not in k},
        "num_batches_tracked is missing 2 times",
    ),
    "with counts in rows": (
        lambda net: {k: x.reshape(1) if "num_batches" in k else x for k, x in of(net).items()},
        "",
    ),
    "averaged": (averaged, "began with 'module.'.*n_averaged beside the network was left out"),
    "compiled inside": (compiled, r"is 'features\._orig_mod\.0\.weight' there"),
    "parallel inside": (
        lambda net: {k.replace("features.", "features.module."): x for k, x in of(net).items()},
        r"is 'features\.module\.0\.weight' there",
    ),
    "parallel and compiled": (
        lambda net: {f"module._orig_mod.{k}": x for k, x in of(net).items()},
        r"began with 'module\._orig_mod\.'",
    ),
    "trainer": (
        lambda net: {f"backbone.net.{k}": x for k, x in of(net).items()},
        "'backbone.net.'",
    ),
    "lightning": (lightning, "'model.'.*criterion.weight, mean and 1 more .* left out"),
    "tutorial": (
        lambda net: {"model_state_dict": of(net), "epoch": 1, "loss": 0.1, "classes": ["a", "b"]},
        "under 'model_state_dict'",
    ),
    "best": (
        lambda net: {
            "arch": "small",
            "best_prec1": torch.tensor(97.0),
            "state_dict": {f"module.{k}": x for k, x in of(net).items()},
            "optimizer": torch.optim.SGD(net.parameters(), 0.1).state_dict(),
        },
        "under 'state_dict'.*'module.'",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_loads_and_answers_as_the_original(
    kind: str, network: nn.Module, arch: str, tmp_path: Path
) -> None:
    make, said = KINDS[kind]
    torch.save(make(network), tmp_path / "m.pth.tar")
    loaded = load(str(tmp_path / "m.pth.tar"), arch)
    images = torch.rand(5, 3, 9, 9)
    assert torch.allclose(loaded.module(images), network(images), atol=1e-6)
    if said:
        assert re.search(said, loaded.notes[0], re.IGNORECASE), loaded.notes
    else:
        assert loaded.notes == ()


@pytest.mark.parametrize(
    "name", ["m.th", "m.tar", "m.ckpt", "m.model", "weights", "m.pt.best", "m.pkl", "m.PT", "m.h5"]
)
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_name_says_nothing(
    name: str, form: str, network: nn.Module, arch: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if form == "safetensors":
        safetensors.torch.save_file(of(network), path)
    else:
        torch.save(of(network), path, _use_new_zipfile_serialization=form == "zip")
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(load(str(path), arch).module(images), network(images))


def test_a_network_that_wraps_what_the_file_holds(
    network: nn.Module, arch: str, tmp_path: Path
) -> None:
    torch.save(of(network), tmp_path / "m.pt")
    loaded = load(str(tmp_path / "m.pt"), arch.replace("Small", "Wrapped"))
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(loaded.module(images), network(images))


@pytest.mark.parametrize("before", ["", "module."])
def test_a_network_that_was_pruned_answers_as_with_its_masks(
    network: nn.Module, arch: str, tmp_path: Path, before: str
) -> None:
    pruned = copy.deepcopy(network)
    prune.l1_unstructured(pruned.fc, "weight", 0.5)
    prune.l1_unstructured(pruned.conv1, "bias", 0.5)
    state = {before + key: tensor for key, tensor in of(pruned).items()}
    assert f"{before}fc.weight_orig" in state
    torch.save(state, tmp_path / "m.pt")
    loaded = load(str(tmp_path / "m.pt"), arch)
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(loaded.module(images), pruned(images))
    assert not torch.equal(loaded.module(images), network(images))
    assert "the masks of pruning were applied to" in loaded.notes[0].lower()
    both = state | {f"{before}fc.weight": torch.zeros(4, 8)}
    assert "surplus" in refused(both, arch, tmp_path)


def test_a_pruned_network_of_other_classes_has_its_own_number(tmp_path: Path) -> None:
    made = build("plain", 43)
    prune.l1_unstructured(made.get_submodule("classifier"), "weight", 0.3)
    torch.save(made.state_dict(), tmp_path / "m.pt")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load(str(tmp_path / "m.pt"), "plain").module(images), made.eval()(images))


def test_what_only_looks_like_a_mask_is_not_applied(
    network: nn.Module, arch: str, tmp_path: Path
) -> None:
    state = dict(of(network))
    state["fc.weight_orig"] = state.pop("fc.weight")
    half = {"fc.weight_mask": torch.full((4, 8), 0.5)}
    assert "fc.weight_orig is surplus" in refused(state | half, arch, tmp_path)


def refused(content: object, arch: str, tmp_path: Path) -> str:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ContentError) as caught:
        load(str(tmp_path / "m.pt"), arch)
    return str(caught.value)


def test_a_network_that_is_there_twice_is_refused(
    network: nn.Module, arch: str, tmp_path: Path
) -> None:
    twice = {f"{who}.{k}": x for who in ("model", "ema_model") for k, x in of(network).items()}
    assert "2 times (under 'model.' and 'ema_model.')" in refused(twice, arch, tmp_path)


def test_other_layers_beside_the_network_are_refused_and_the_remedy_works(
    network: nn.Module, arch: str, tmp_path: Path
) -> None:
    state = {f"model.{k}": x for k, x in of(network).items()} | {"teacher.w": torch.zeros(3, 3)}
    said = refused(state, arch, tmp_path)
    assert "other layers (teacher.w) beside the network under 'model.'" in said
    path = tmp_path / "alone.pt"
    command = said.rpartition("alone: ")[2].removesuffix(".")
    exec(command, {"torch": torch, "state": state, "FILE": path})
    assert load(str(path), arch).notes == ("Their names began with 'model.'.",)


def test_each_cause_of_a_misfit_has_its_own_remedy(
    network: nn.Module, arch: str, tmp_path: Path
) -> None:
    state = of(network)
    part = {key: x for key, x in state.items() if key.startswith("conv1")}
    assert refused(part, arch, tmp_path).endswith(
        "save the whole model.state_dict(), or check --arch."
    )
    said = refused(state, arch.replace("Small", "ten"), tmp_path)
    assert said.endswith("it has 4 classes and the network 10, make the network for 4.")
    spoilt = {**state, "fc.bias": torch.full((4,), torch.nan)}
    assert refused(spoilt, arch, tmp_path).endswith("save or fetch the weights anew.")
    said = refused(
        {**state, "extra.weight": torch.zeros(2, 2)} | {"a": torch.ones(3)}, arch, tmp_path
    )
    assert "extra.weight is surplus; a is surplus; check --arch" in said
    renamed = {f"x{key}": x for key, x in state.items()}
    said = refused(renamed, arch, tmp_path)
    assert said.index("surplus") < said.index("missing")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(400), "damaged .* save it anew"),
        ("w.h5", b"\x89HDF\r\n\x1a\n layer_names", "holds weights alone.*load_weights"),
        ("m.weights.h5", b"\x89HDF\r\n\x1a\n vars", "holds weights alone"),
        ("w.h5", b"\x89HDF\r\n\x1a\n layer_names model_config", "damaged .* save it anew"),
        ("m.keras", b"PK\x03\x04" + bytes(26) + b"metadata.json{}", "damaged .* save it anew"),
        ("m.keras", b"\x89HDF" + bytes(400), "damaged .* save it anew"),
        (
            "o.keras",
            b"PK\x03\x04" + bytes(26) + b'metadata.json{} {"module": null, "class_name": "Mine"}',
            r"classes of its own \(Mine\), so only the code that has them",
        ),
        ("m.tar.gz", b"\x1f\x8b" + bytes(400), r"gunzip .*m\.tar\.gz unpacks it"),
        ("my net.gz", b"\x1f\x8b" + bytes(400), r"gunzip '.*my net\.gz' unpacks it"),
        ("m.tar", bytes(257) + b"ustar" + bytes(100), r"tar -xf .*m\.tar unpacks it"),
        ("m.pt2", b"PK\x03\x04", "torch.onnx.export"),
        ("m.tflite", b"TFL3", "to ONNX"),
        (
            "m.json",
            b'{"format": "layers-model", "weightsManifest": []}',
            r"tensorflowjs_converter .* keras .*m\.json .*m\.h5",
        ),
        ("m.json", b'{"format": "graph-model", "weightsManifest": []}', "a graph of TensorFlow.js"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(
    name: str, content: bytes, words: str, arch: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ContentError, match=words):
        load(str(tmp_path / name), arch)


def test_a_shard_of_tensorflow_js_is_refused_with_the_network_that_it_is_of(
    arch: str, tmp_path: Path
) -> None:
    shard = tmp_path / "group1-shard1of1.bin"
    shard.write_bytes(bytes(400))
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(ContentError, match="not a plain state dict"):
        load(str(shard), arch)
    manifest = [{"paths": [shard.name], "weights": []}]
    whole = json.dumps({"format": "layers-model", "weightsManifest": manifest})
    (tmp_path / "model.json").write_text(whole)
    with pytest.raises(ContentError, match=r"network of TensorFlow\.js.*model\.json"):
        load(str(shard), arch)


@pytest.mark.parametrize("name", ["m.pt", "my net.safetensors", "m.onnx", "m.keras", "m.data"])
def test_a_pointer_of_git_lfs_is_said_to_be_one(name: str, tmp_path: Path) -> None:
    """It lies where a clone without git-lfs has the file, and where the raw file was downloaded."""
    path = tmp_path / name
    path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1a' * 32}\nsize 4653201\n"
    )
    if name == "m.data":
        path = tmp_path / "m.onnx"
        weight = helper.make_tensor("w", TensorProto.FLOAT, [2], bytes(8), raw=True)
        onnx.external_data_helper.set_external_data(weight, "m.data")
        weight.ClearField("raw_data")
        node = helper.make_node("Mul", ["x", "w"], ["y"])
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in ("x", "y")]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
        path.write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    with pytest.raises(ContentError, match="Git LFS") as caught:
        load(str(path))
    said = str(caught.value)
    assert f"{tmp_path / name} is a pointer of Git LFS" in said
    assert f"git -C {shlex.quote(str(tmp_path))} lfs pull" in said


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx"])
@pytest.mark.parametrize("head", ["\n\n<!DOCTYPE html>\n<html>", "\ufeff<HTML lang=en>"])
def test_a_web_page_in_place_of_a_network_is_said_to_be_one(
    name: str, head: str, tmp_path: Path
) -> None:
    """It is what a browser saves of the page that shows a file."""
    path = tmp_path / name
    path.write_text(f"{head}<head></head></html>", "utf-8")
    with pytest.raises(ContentError, match="is a web page and not the file itself"):
        load(str(path))


@pytest.mark.parametrize(("suffix", "named"), [(".keras", ""), (".h5", ""), (".h5", ".keras")])
def test_what_keras_writes_answers_as_there_and_so_does_what_it_exports_by_the_remedy(
    suffix: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("onnxscript")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    path = tmp_path / f"my $net{suffix}"
    body = [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()]
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), *body, layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    network.compile("adam", "mse")
    network.save(path)
    if named:
        path = path.rename(path.with_suffix(named))
    images = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        wanted = network(images.permute(0, 2, 3, 1))
        assert torch.allclose(load(str(path)).module(images), wanted, atol=1e-4)
    monkeypatch.delitem(LAYERS, "BatchNormalization")
    with pytest.raises(ContentError, match="not known: BatchNormalization") as caught:
        load(str(path))
    first, _, command = str(caught.value).partition("KERAS_BACKEND=torch ")
    if named:  # Keras opens no HDF5 file of this name
        copied = shlex.split(first.rpartition(" and ")[2].removesuffix(" && "))
        assert copied[0] == "cp"
        subprocess.run(copied, check=True)
    words = shlex.split(command.partition(" makes ")[0])
    assert words[:2] == ["python", "-c"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(words[2], {})
    with torch.no_grad():
        assert torch.allclose(
            load(str(path.with_suffix(".onnx"))).module(images), wanted, atol=1e-4
        )


def test_tensors_as_they_were_written_before_torch_0_4(
    network: nn.Module, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(tensor: Tensor, _: int) -> tuple[Any, ...]:
        place = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        return torch._utils._rebuild_tensor, (tensor._typed_storage(), *place)

    state = {key: x for key, x in of(network).items() if "num_batches" not in key}
    with monkeypatch.context() as patched:
        patched.setattr(Tensor, "__reduce_ex__", old)
        torch.save({"state_dict": state}, tmp_path / "m.th", _use_new_zipfile_serialization=False)
    assert b"_rebuild_tensor\n" in (tmp_path / "m.th").read_bytes()
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(load(str(tmp_path / "m.th"), arch).module(images), network(images))
