"""Models of timm and folders of the Hugging Face hub, where their packages are installed."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from unbackdoor.app.discovery import models_in
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import load, save
from unbackdoor.models.optional import optional


def package(name: str) -> Any:
    try:
        return optional(name, "This test")
    except ArgumentError as error:
        pytest.skip(str(error))


def test_a_state_dict_of_timm(tmp_path: Path) -> None:
    network = package("timm").create_model("resnet10t", num_classes=5).eval()
    path = tmp_path / "m.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    loaded = load(str(path), "timm:resnet10t")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.module(images), network(images))
    with pytest.raises(ArgumentError, match=r"did you mean .*resnet10t"):
        load(str(path), "timm:resnet10")
    with pytest.raises(ArgumentError, match="no model 'hf-hub:"):
        load(str(path), "timm:hf-hub:timm/resnet10t")


def test_a_folder_of_timm(tmp_path: Path) -> None:
    network = package("timm").create_model("resnet10t", num_classes=5).eval()
    config = {"architecture": "resnet10t", "num_classes": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_model(network, str(tmp_path / "model.safetensors"))
    loaded = load(str(tmp_path))
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.module(images), network(images))
    assert loaded.arch == "timm:resnet10t"


def test_a_giant_network_for_a_small_file_is_never_made(tmp_path: Path) -> None:
    package("timm")
    giant = {"architecture": "vit_gigantic_patch14_224"}  # 1.8 thousand million weights
    (tmp_path / "config.json").write_text(json.dumps(giant))
    weights = {"head.weight": torch.zeros(2, 3), "patch_embed.proj.weight": torch.zeros(2, 1, 1, 1)}
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ContentError, match="cls_token is missing"):
        load(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19  # KiB


@pytest.mark.parametrize(
    ("giant", "sentence"),
    [
        ({"hidden_size": 30_000}, "numbers"),
        ({"num_hidden_layers": 10**9}, "even without its weights"),
    ],
)
def test_a_giant_configuration_for_a_small_file_is_never_made(
    giant: dict[str, int], sentence: str, tmp_path: Path
) -> None:
    library = package("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = library.ViTConfig(
        **sizes, intermediate_size=64, image_size=32, patch_size=8, num_labels=4
    )
    library.ViTForImageClassification(config).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | giant))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ContentError, match=sentence):
        load(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19  # KiB


def test_a_folder_of_transformers_and_the_way_back(tmp_path: Path) -> None:
    library = package("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = library.ViTConfig(
        **sizes, intermediate_size=64, image_size=32, patch_size=8, num_labels=4
    )
    network = library.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(loaded.module(images), network(images).logits, atol=1e-6)
    # The configuration decides too, and names no code of elsewhere.
    path, text = tmp_path / "config.json", (tmp_path / "config.json").read_text()
    changed = {"attn_implementation": "evil/kernel", "hidden_act": "relu"}
    path.write_text(json.dumps(json.loads(text) | changed))
    other = load(str(tmp_path))
    assert other.sha256 != loaded.sha256
    assert not torch.allclose(other.module(images), network(images).logits, atol=1e-6)
    path.write_text(text)
    with torch.no_grad():
        for parameter in loaded.module.parameters():
            parameter.mul_(1.1)
    save(loaded.module, tmp_path / "model.safetensors", {})
    again = load(str(tmp_path)).module
    assert torch.equal(again(images), loaded.module(images))
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del state["classifier.bias"]
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ContentError, match=r"missing: classifier\.bias"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    "asked",
    [
        {"auto_map": {"AutoModel": "evil.Evil"}},
        {"configuration_files": ["config.4.0.0.json"]},
        {"transformers_weights": "other.safetensors"},
        {"use_pretrained_backbone": True},
    ],
)
def test_a_configuration_that_leads_elsewhere_is_refused(
    asked: dict[str, object], tmp_path: Path
) -> None:
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit", **asked}
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ContentError, match=next(iter(asked))):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "package"),
    [
        ({"architecture": "resnet10t"}, "timm"),
        ({"architectures": ["ViTForImageClassification"]}, "transformers"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    config: dict[str, object], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ArgumentError, match=rf"pip install 'unbackdoor\[{package}\]'"):
        load(str(tmp_path))


def vit(library: Any) -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = library.ViTConfig(
        **sizes, intermediate_size=64, image_size=32, patch_size=8, num_labels=4
    )
    return library.ViTForImageClassification(config).eval()


@pytest.mark.parametrize("form", ["parts", "variant", "bin", "bin in parts"])
def test_weights_in_other_files_of_a_folder(form: str, tmp_path: Path) -> None:
    network = vit(package("transformers"))
    network.config.architectures = ["ViTForImageClassification"]
    network.config.save_pretrained(tmp_path)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    halves = [dict(list(state.items())[half::2]) for half in (0, 1)]
    if form == "parts":
        network.save_pretrained(tmp_path, max_shard_size="40KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
    elif form == "variant":
        network.save_pretrained(tmp_path, variant="fp16")
    elif form == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
        listed = {key: name for name, half in zip(names, halves, strict=True) for key in half}
        for name, half in zip(names, halves, strict=True):
            torch.save(half, tmp_path / name)
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": listed}))
    assert models_in(tmp_path) == [str(tmp_path)]
    images = torch.rand(2, 3, 32, 32)
    loaded = load(str(tmp_path))
    assert torch.allclose(loaded.module(images), network(images).logits, atol=1e-6)


def folder(tmp_path: Path, **config: object) -> Path:
    """A folder of timm with its weights as torch.save writes them."""
    more: Any = config.get("model_args", {})
    network = package("timm").create_model("resnet10t", num_classes=5, **more).eval()
    text = json.dumps({"architecture": "resnet10t", "num_classes": 5, **config})
    (tmp_path / "config.json").write_text(text)
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    return tmp_path


def test_a_folder_that_was_cloned_without_git_lfs_is_said_to_be_so(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha")
    with pytest.raises(ContentError, match=r"pytorch_model\.bin is a pointer of Git LFS .* pull"):
        load(str(path))


def test_a_folder_of_timm_is_believed(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        model_args={"stem_width": 16, "avg_down": True},
        label_names=list("abcde"),
        pretrained_cfg={"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64]},
    )
    loaded = load(str(path))
    assert loaded.stated.classes == tuple("abcde")
    assert (loaded.stated.mean, loaded.stated.size) == ((0.5,) * 3, 64)
    assert loaded.module(torch.rand(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    "asked",
    [{"pretrained": True}, {"checkpoint_path": "/etc/passwd"}, {"block": {"file": "x"}}],
)
def test_arguments_of_timm_that_lead_elsewhere_are_refused(
    asked: dict[str, object], tmp_path: Path
) -> None:
    path = folder(tmp_path)
    (path / "config.json").write_text(
        json.dumps({"architecture": "resnet10t", "model_args": asked})
    )
    with pytest.raises(ContentError, match="more than layers"):
        load(str(path))


@pytest.mark.parametrize("named", ["../out.safetensors", "/etc/passwd", "missing.safetensors"])
def test_a_list_of_parts_names_files_of_its_folder_alone(named: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t"}))
    index = {"weight_map": {"a": named}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ContentError, match="no file of its folder"):
        load(str(tmp_path))


def test_of_several_variants_none_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t"}))
    for name in ("model.fp16.safetensors", "model.fp32.safetensors"):
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ContentError, match="several times"):
        load(str(tmp_path))


def test_of_two_formats_of_the_same_weights_it_is_said_which_was_read(tmp_path: Path) -> None:
    path = folder(tmp_path)
    state = torch.load(path / "pytorch_model.bin", weights_only=True)
    safetensors.torch.save_file(state, path / "model.safetensors")
    assert models_in(path) == [str(path)]
    (note,) = load(str(path)).notes
    assert note.startswith("Model.safetensors was read; pytorch_model.bin beside it")
    assert "the same tensors" in note


def test_other_weights_beside_are_a_model_that_would_not_be_scanned(tmp_path: Path) -> None:
    path = folder(tmp_path)
    state = torch.load(path / "pytorch_model.bin", weights_only=True)
    other = {**state, "fc.bias": state["fc.bias"] + 1}
    safetensors.torch.save_file(other, path / "model.safetensors")
    with pytest.raises(ContentError, match=r"with other tensors.*delete the one") as refused:
        load(str(path))
    assert str(path / "model.safetensors") in str(refused.value)
    (path / "model.safetensors").unlink()  # the remedy
    bias: Any = load(str(path)).module.get_parameter("fc.bias")
    assert torch.equal(bias, state["fc.bias"])


def test_weights_beside_that_are_a_program_are_not_executed(tmp_path: Path) -> None:
    path = folder(tmp_path)
    state = torch.load(path / "pytorch_model.bin", weights_only=True)
    safetensors.torch.save_file(state, path / "model.safetensors")
    (path / "pytorch_model.bin").write_bytes(b"\x80\x02cos\ngetcwd\n)R.")
    with pytest.raises(ContentError, match=r"wants to import os\.getcwd"):
        load(str(path))
    (path / "pytorch_model.bin").unlink()
    (path / "pytorch_model.bin").symlink_to(Path(__file__))
    with pytest.raises(ContentError, match="link out of its folder"):
        load(str(path))
