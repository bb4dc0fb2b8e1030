"""Pickles of networks that torch and a reader without its classes could take for two networks.

Each says 6 to torch in some way and 1 to who looks less closely. It is refused, or read as torch
reads it.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unbackdoor.errors import ContentError
from unbackdoor.models import statedict

CLEAN, BAD = "0", "1"
LINEAR = b"ctorch.nn.modules.linear\nLinear\n)\x81"
SEQUENTIAL = b"ctorch.nn.modules.container\nSequential\n)\x81"
STEP = b"ctorch.optim.lr_scheduler\nStepLR\n)\x81"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key: str) -> bytes:
    """Four numbers, two by two."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + (text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K\x04tQ")
        + b"K\0(K\x02K\x02t(K\x02K\x01t\x89ccollections\nOrderedDict\n)RtR"
    )


def table(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def attributes(
    parameters: bytes = b"}", buffers: bytes = b"}", modules: bytes = b"}", **more: bytes
) -> bytes:
    return table(_parameters=parameters, _buffers=buffers, _modules=modules, **more)


def linear(key: str = CLEAN, **more: bytes) -> bytes:
    return LINEAR + attributes(table(weight=tensor(key)), **more) + b"b"


def of_parts(part: bytes, more: bytes = b"") -> bytes:
    return SEQUENTIAL + attributes(modules=table(**{"0": part})) + b"b" + more


def named_by(key: bytes) -> bytes:
    """A layer whose parameters stand a second time under a key that equals their name."""
    twice = attributes(table(weight=tensor(CLEAN)))[:-1] + key + table(weight=tensor(BAD)) + b"u"
    return LINEAR + twice + b"b"


ALIKE = {
    "a key that a call makes": named_by(b"cnumpy\nstr_\n(" + text("_parameters") + b"tR"),
    "a key of a class of its own": named_by(b"cnumpy\nstr_\n(" + text("_parameters") + b"t\x81"),
    "a storage of two kinds": LINEAR
    + table(
        x=tensor(CLEAN).replace(b"FloatStorage", b"IntStorage"),
        _parameters=table(weight=tensor(CLEAN)),
        _buffers=b"}",
        _modules=b"}",
    )
    + b"b",
    "a layer of torch in a plain list that keeps its tensors elsewhere": linear(
        layers=b"](" + LINEAR + table(_modules=b"}", weight=tensor(BAD)) + b"be"
    ),
    "a parameter with a state": table(
        weight=b"ctorch._utils\n_rebuild_parameter_with_state\n("
        + (tensor(CLEAN) + b"\x89ccollections\nOrderedDict\n)R" + table(data=tensor(BAD)) + b"tR")
    ),
    "attributes that change afterwards": (
        LINEAR
        + (attributes(table(weight=tensor(CLEAN))) + b"q\x01b")
        + (b"(h\x01" + text("_parameters") + table(weight=tensor(BAD)) + b"s1")
    ),
    "a part that is set": of_parts(linear(), text("0") + linear(BAD) + b"s"),
    "a part that is appended": of_parts(linear(), linear(BAD) + b"a"),
    "a name that hides a parameter": linear(weight=tensor(BAD)),
    "a function in place of forward": linear(forward=b"ctorch\nneg\n"),
    "a parameter that counts as passing": SEQUENTIAL
    + attributes(
        table(**{"0.weight": tensor(BAD)}),
        modules=table(
            **{
                "0": linear(
                    _non_persistent_buffers_set=b"cbuiltins\nset\n](" + text("weight") + b"e\x85R"
                )
            }
        ),
    )
    + b"b",
    "a dictionary of pairs": b"ccollections\nOrderedDict\n" + table(ab=tensor(BAD)) + b"\x85R",
    "an optimizer that is none": table(
        net=table(w=tensor(CLEAN)),
        model=b"ctorch.optim.optimizer\nOrderedDict\n)\x81" + text("w") + tensor(BAD) + b"s",
    ),
    "a dictionary that was asked for": table(
        net=linear() + b"q\x01",
        sched=STEP
        + table(last=b"cbuiltins\ngetattr\nh\x01" + text("_parameters") + b"\x86R" + table() + b"0")
        + b"b",
    ),
    "layers in a plain list": linear(layers=b"](" + linear(BAD) + b"e"),
    "an object at the top": b"cnets\nNet\n)\x81" + table(weight=tensor(CLEAN)) + b"b",
    "a part of a storage": table(net=linear(), at=STEP + table(x=b"N") + b"b").replace(
        b"K\x04tQ", b"K\x04(" + text("v") + b"K\x04K\x04ttQ"
    ),
}


@pytest.mark.parametrize("what", ALIKE)
def test_it_is_refused_or_read_as_torch_reads_it(what: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", b"\x80\x02" + ALIKE[what] + b".")
        for key, value in ((CLEAN, 1.0), (BAD, 6.0)):
            file.writestr(f"m/data/{key}", struct.pack("<4f", *[value] * 4))
        file.writestr("m/version", "3\n")
    try:
        state, _ = statedict.read(path)
    except ContentError:
        return
    assert all(bool((one == 6).all()) for one in state.values())


KEYS: dict[str, Callable[[list[str]], list[str]]] = {
    "twice": lambda keys: [*keys, "".join(list(keys[0]))],
    "another": lambda keys: [*keys[:-1], "a"],
}


@pytest.mark.parametrize("what", KEYS)
def test_storages_of_the_older_format_have_one_name_each(what: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    keys = torch.nn.Linear(2, 2).state_dict().keys()
    assert statedict.read(path)[0].keys() == keys
    at = content.rindex(b"\x80\x02]q")
    end = content.index(b"e.", at) + 2

    names = KEYS[what](pickle.loads(content[at:end]))
    path.write_bytes(content[:at] + pickle.dumps(names, 2) + content[end:] + bytes(64))
    with pytest.raises(ContentError, match="names its storages"):
        statedict.read(path)
