"""Whole networks and what stands beside tensors are reduced to tensors; all else stays."""

from __future__ import annotations

import argparse
import enum
import os
import pickle
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import build, load
from unbackdoor.models.pickles import strict
from unbackdoor.models.pickles.imports import imports
from unbackdoor.models.pickles.reduced import STRICT, reduced

NUMBERS = st.sampled_from(
    [np.float64(0.9), np.float32(2), np.int64(3), np.bool_(True), np.complex64(1j), np.uint8(200)]
)
OTHERS = st.builds(PurePosixPath, st.text(max_size=3)) | st.just(PureWindowsPath("c:/f8"))
PLAIN = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
WORDS = st.sampled_from(["f8", "<", "latin1", "i8", "x", "ü"])
VALUES = st.recursive(
    PLAIN | WORDS | st.text(max_size=3) | NUMBERS | OTHERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(WORDS, inner, max_size=4)
    ),
)
BESIDE: dict[str, Any] = {
    "numbers of numpy": {"best": np.float64(0.9), "all": [np.float32(1), np.int64(2)] * 3},
    "settings": argparse.Namespace(lr=0.1, arch="f8", best=np.float64(1), out=Path("a/b")),
    "lists by name": defaultdict(list, loss=[1.0, np.float64(2)]),
    "a device and a type": (torch.device("cuda:0"), torch.float16, torch.device("cpu")),
    "a path": Path("runs") / "f8",
}


def expected(value: Any) -> Any:
    """The value without what is left out."""
    if isinstance(value, list):
        return [expected(one) for one in value]
    if isinstance(value, dict):
        return {key: expected(one) for key, one in value.items()}
    if type(value) is tuple:
        return tuple(expected(one) for one in value)
    return None if isinstance(value, np.generic | PurePosixPath | PureWindowsPath) else value


def agrees(have: Any, want: Any) -> bool:
    if isinstance(want, list | tuple):
        return len(have) == len(want) and all(map(agrees, have, want))
    if isinstance(want, dict):
        return have.keys() == want.keys() and all(agrees(have[key], want[key]) for key in want)
    if want is None and isinstance(have, dict):
        return not have or {"c:/f8"} >= set(have[0])
    return type(have) is type(want) and have == want


@given(VALUES)
def test_what_stays_is_what_was_there(value: Any) -> None:
    content = BytesIO(pickle.dumps(value, 2) + b"behind")
    made = reduced(content, "it")
    plain, left = made.content, made.left
    assert content.read() == b"behind"
    assert not [name for name in imports(BytesIO(plain)) if "numpy" in name or "pathlib" in name]
    assert agrees(pickle.loads(plain), expected(value))
    assert bool(left) == (plain != pickle.dumps(value, 2))


@given(st.binary(max_size=200))
def test_what_is_no_pickle_is_handed_on_as_it_is(content: bytes) -> None:
    assert reduced(BytesIO(content), "it").left == Counter()


@pytest.mark.parametrize("container", [True, False])
@pytest.mark.parametrize("what", BESIDE)
def test_a_network_with_such_values_beside_it_loads(
    what: str, container: bool, tmp_path: Path
) -> None:
    network = build("resnet8", 4).eval()
    content = {"best": BESIDE[what], "state_dict": network.state_dict(), "again": BESIDE[what]}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=container)
    loaded = load(str(tmp_path / "m.pth"), "resnet8")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.module(images), network(images))
    assert "beside the tensors were left out" in loaded.notes[0]


@pytest.mark.parametrize(
    "beside", [np.eye(2), np.str_("x"), np.datetime64("2020-01-01"), Fraction(1), os.getcwd]
)
def test_other_values_are_refused_by_name(beside: Any, tmp_path: Path) -> None:
    torch.save({"net": {"w": torch.zeros(2)}, "x": beside, "y": np.float64(1)}, tmp_path / "m.pt")
    with pytest.raises(ContentError, match=r"wants to import .*(numpy|fractions|getcwd)"):
        load(str(tmp_path / "m.pt"), "resnet8")


def test_tensors_among_settings_are_tensors_beside_the_network(tmp_path: Path) -> None:
    settings = argparse.Namespace(other=torch.zeros(3))
    torch.save({"net": {"w": torch.zeros(2)}, "args": settings}, tmp_path / "m.pt")
    with pytest.raises(ContentError, match="tensors under 'args'"):
        load(str(tmp_path / "m.pt"), "resnet8")


def test_a_pickle_that_is_written_has_no_names_but_those_of_a_state_dict() -> None:
    assert STRICT.keys() == strict.NAMED
    for path, value in STRICT.items():
        named = pickle.dumps(value, 2)
        assert imports(BytesIO(named)) == [path]


class Mode(enum.Enum):
    NEAREST = "nearest"


class Scaled(nn.Module):
    """A step of preparing pictures, which is no part of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.mode, self.by = Mode.NEAREST, torch.tensor([0.2])


class Parts(nn.Module):
    """A network with everything that may stand in one beside layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.tail = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.tied = self.stem
        self.nothing = None
        self.register_parameter("none", None)
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]))
        self.register_buffer("index", torch.arange(6).view(2, 3), persistent=False)
        self.act, self.kind, self.sizes = torch.relu, nn.BatchNorm2d, {1, 2}
        self.settings = argparse.Namespace(lr=np.float64(0.1))
        self.again = [self.stem, self.tail[0].weight]
        self.stem.register_forward_hook(seen)

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.stem(images - self.mean.view(3, 1, 1))).mean((2, 3))


def seen(*_: object) -> None:
    """Stands for a hook that somebody left in a network."""


SAVED: dict[str, Callable[[nn.Module], object]] = {
    "alone": lambda network: network,
    "in parallel": nn.DataParallel,
    "in a list of parts": nn.ModuleList,
    "with its training": lambda network: {
        "net": network,
        "optimizer": torch.optim.SGD(network.parameters(), 0.1),
        "loss": nn.CrossEntropyLoss(),
        "epoch": 3,
    },
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("container", [True, False])
@pytest.mark.parametrize("how", [name for name in SAVED if name != "in a list of parts"])
def test_a_whole_network_is_read_and_answers_as_it_did(
    how: str, container: bool, protocol: int, tmp_path: Path
) -> None:
    if protocol == 4 and not container:
        pytest.skip("no release of torch has written such files")
    network = Parts().eval()
    content = SAVED[how](network)
    path = tmp_path / "m.pth"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=container)
    loaded = load(str(path), f"{__file__}:Parts")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.module(images), network(images))
    assert "of class " in loaded.notes[0]
    assert "torch.nn.modules.loss" not in loaded.notes[0].partition("beside")[0]


exec("class Typed(Parts): pass")  # as in a notebook: nobody finds the source of such a class


def test_the_older_format_holds_classes_without_their_source(tmp_path: Path) -> None:
    network = globals()["Typed"]().eval()
    path = tmp_path / "m.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the source is not found
        torch.save(network, path, _use_new_zipfile_serialization=False)
    loaded = load(str(path), f"{__file__}:Parts")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.module(images), network(images))


def test_it_has_the_tensors_of_its_state_dict_and_no_others(tmp_path: Path) -> None:
    network = Parts()
    torch.save(network, tmp_path / "whole.pt")
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    arch = f"{__file__}:Parts"
    whole, plain = (load(str(tmp_path / name), arch).module for name in ("whole.pt", "plain.pt"))
    have, want = whole.state_dict(), plain.state_dict()
    assert have.keys() == want.keys()
    assert all(torch.equal(have[key], want[key]) for key in want)


def test_who_does_not_name_the_network_is_told_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "m.pt")
    with pytest.raises(ArgumentError, match=r"--arch: .*of class torch\.nn\..*\.Linear"):
        load(str(tmp_path / "m.pt"))


def saved(tmp_path: Path, change: Callable[[nn.Module], None]) -> str:
    network = Parts()
    change(network)
    torch.save(network, tmp_path / "m.pt")
    return str(tmp_path / "m.pt")


def test_tensors_that_no_state_dict_has_are_left_out_and_named(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda network: setattr(network, "features", torch.rand(2, 3)))
    (note,) = load(path, f"{__file__}:Parts").notes
    assert "tensors that are in no state dict were left out (features)" in note


def test_a_whole_network_with_quantised_parts_is_refused_for_these(tmp_path: Path) -> None:
    """And not for what a whole network names too that is read."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    network.register_buffer("scaled", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    torch.save(network, tmp_path / "m.pt")
    with pytest.raises(ContentError, match="holds quantised tensors or layers"):
        load(str(tmp_path / "m.pt"), "resnet8")

    class Caller:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch executed",)

    torch.save((network, Caller()), tmp_path / "m.pt")
    with pytest.raises(ContentError, match=r"wants to import .*system.* could execute code"):
        load(str(tmp_path / "m.pt"), "resnet8")


def test_layers_that_are_not_registered_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda network: setattr(network, "layers", [nn.Linear(2, 2)]))
    with pytest.raises(ContentError, match=r"not registered, .*'layers'.*ModuleList"):
        load(path, f"{__file__}:Parts")


def test_what_prepares_pictures_is_no_layer_of_the_network(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda network: setattr(network, "preparation", [Scaled()]))
    (note,) = load(path, f"{__file__}:Parts").notes
    assert "tensors that are in no state dict were left out (preparation.by)" in note


def test_layers_of_torch_that_are_not_registered_are_no_values(tmp_path: Path) -> None:
    """Wherever they keep their tensors."""
    for hidden in ({"weight": torch.ones(2, 2)}, {"_parameters": {"weight": torch.ones(2, 2)}}):
        layer = nn.Linear(2, 2)
        layer.__dict__ = {"_modules": {}, "_parameters": {}, **hidden}
        path = saved(tmp_path, lambda network, layer=layer: setattr(network, "extra", [layer]))
        with pytest.raises(ContentError, match=r"not registered, .*'extra"):
            load(path, f"{__file__}:Parts")


class Method:
    """What is called with a text to make a layer."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return Method, (self.kind,)


def test_a_layer_that_only_a_call_would_make_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda network: network._modules.update(more=Method("conv")))  # pyright: ignore
    with pytest.raises(ContentError, match="cannot be followed to an end"):
        load(path, f"{__file__}:Parts")


def itself(network: nn.Module) -> None:
    network._modules["inner"] = network


def doubled(network: nn.Module) -> None:
    for number in range(64):
        outer = nn.Module()
        outer._modules.update(a=network._modules[f"x{number}"] if number else nn.Linear(1, 1))
        outer._modules.update(b=outer._modules["a"])
        network._modules[f"x{number + 1}"] = outer


@pytest.mark.parametrize("change", [itself, doubled])
def test_parts_without_end_are_refused(change: Callable[[nn.Module], None], tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="cannot be followed to an end"):
        load(saved(tmp_path, change), f"{__file__}:Parts")


class Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        Calls(os.system, "true"),
        Calls(eval, "1"),
        Calls(torch.load, "x"),
        Calls(build, "resnet8"),
    ],
)
def test_a_network_that_calls_what_is_not_known_is_refused(call: Calls, tmp_path: Path) -> None:
    path = saved(tmp_path, lambda network: setattr(network, "size", call))
    with pytest.raises(ContentError, match="wants to import"):
        load(path, f"{__file__}:Parts")
