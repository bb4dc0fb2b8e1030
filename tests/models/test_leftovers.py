"""Known values beside tensors are taken out of a pickle; everything else in it stays as it was."""

from __future__ import annotations

import argparse
import pickle
from collections import Counter, defaultdict
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unbackdoor.errors import ContentError
from unbackdoor.models import build, leftovers, load, pickles
from unbackdoor.models.imports import imports

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
    """The value without what is taken out, in whose place texts may stand."""
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
    if want is None and isinstance(have, tuple):
        return all(isinstance(one, str) for one in have)
    return type(have) is type(want) and have == want


@given(VALUES)
def test_what_stays_is_what_was_there(value: Any) -> None:
    content = BytesIO(pickle.dumps(value, 2) + b"behind")
    plain, left = leftovers.without(content)
    assert content.read() == b"behind"
    assert not [name for name in imports(BytesIO(plain)) if "numpy" in name or "pathlib" in name]
    assert agrees(pickle.loads(plain), expected(value))
    assert bool(left) == (plain != pickle.dumps(value, 2))


@given(st.binary(max_size=200))
def test_what_is_no_pickle_is_handed_on_as_it_is(content: bytes) -> None:
    assert leftovers.without(BytesIO(content))[1] == Counter()


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


@pytest.mark.parametrize("beside", [np.eye(2), np.str_("x"), np.datetime64("2020-01-01"), {1, 2}])
def test_other_values_are_refused_by_name(beside: Any, tmp_path: Path) -> None:
    torch.save({"net": {"w": torch.zeros(2)}, "x": beside, "y": np.float64(1)}, tmp_path / "m.pt")
    with pytest.raises(ContentError, match=r"wants to import .*(numpy|set)"):
        load(str(tmp_path / "m.pt"), "resnet8")


def test_tensors_among_settings_are_tensors_beside_the_network(tmp_path: Path) -> None:
    settings = argparse.Namespace(other=torch.zeros(3))
    torch.save({"net": {"w": torch.zeros(2)}, "args": settings}, tmp_path / "m.pt")
    with pytest.raises(ContentError, match="tensors under 'args'"):
        load(str(tmp_path / "m.pt"), "resnet8")


def test_what_is_taken_out_is_never_named_to_torch() -> None:
    assert not leftovers.PARTS & pickles.NAMED
