from __future__ import annotations

import copy
import json
import os
import pickle
import shlex
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.models import build, check_suffix, load, save, shipped
from unbackdoor.runtime.files import sha256_of

ARCH = "resnet8-wide"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build(ARCH, 4)


@pytest.fixture
def state(network: nn.Module) -> State:
    return {key: value.clone() for key, value in network.state_dict().items()}


def write(path: Path, state: State, **facts: object) -> str:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path, {"unbackdoor": json.dumps(facts)})
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.pth"])
def test_what_is_saved_can_be_loaded(name: str, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / name
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)
    save(moved, path, {"arch": ARCH, "accuracy": 0.5, "target": None})
    loaded = load(str(path), ARCH if path.suffix != ".safetensors" else None)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (loaded.arch, loaded.name, loaded.sha256) == (ARCH, str(path), sha256_of(path))
    assert not loaded.module.training
    want, have = network.state_dict(), loaded.module.state_dict()
    assert list(want) == list(have)
    assert all(torch.equal(want[key], have[key]) for key in want)
    if path.suffix == ".safetensors":
        assert loaded.facts == {"arch": ARCH, "accuracy": 0.5, "target": None}


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save(model, tmp_path / "m.safetensors", {})
    saved = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert torch.equal(saved["0.weight"], saved["1.weight"])


def test_the_number_of_classes_comes_from_the_file(state: State, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "m.safetensors", state, arch=ARCH))
    assert loaded.module(torch.rand(1, 3, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_types_are_converted(
    dtype: torch.dtype, state: State, tmp_path: Path
) -> None:
    state = {key: x.to(dtype) if x.is_floating_point() else x for key, x in state.items()}
    loaded = load(write(tmp_path / "m.safetensors", state, arch=ARCH))
    assert loaded.module.state_dict()["stem.weight"].dtype == torch.float32


def missing(state: State) -> str:
    del state["stem.weight"]
    return "stem.weight is missing"


def surplus(state: State) -> str:
    state["extra"] = torch.zeros(1)
    return "extra is surplus"


def misshapen(state: State) -> str:
    state["stem.weight"] = state["stem.weight"].reshape(32, 27)
    return r"stem.weight has shape \(32, 27\), not \(32, 3, 3, 3\)"


def headless(state: State) -> str:
    state["classifier.weight"] = torch.zeros(0, 128)
    return r"classifier.weight has shape \(0, 128\)"


def integral(state: State) -> str:
    state["stem.weight"] = state["stem.weight"].to(torch.int64)
    return "stem.weight is torch.int64, not torch.float32"


def boolean(state: State) -> str:
    state["norm.num_batches_tracked"] = torch.tensor(True)
    return "norm.num_batches_tracked is torch.bool, not torch.int64"


def not_a_number(state: State) -> str:
    state["norm.bias"][3] = float("nan")
    return "norm.bias holds values that are not finite"


def too_large(state: State) -> str:
    state["norm.bias"] = torch.full((32,), 1e300, dtype=torch.float64)
    return "norm.bias holds values that are not finite in torch.float32"


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    "spoil",
    [missing, surplus, misshapen, headless, integral, boolean, not_a_number, too_large],
)
def test_a_tensor_that_does_not_fit_is_named(
    spoil: Callable[[State], str], suffix: str, state: State, tmp_path: Path
) -> None:
    words = spoil(state)
    spec = write(tmp_path / f"m{suffix}", state, arch=ARCH)
    with pytest.raises(ContentError, match=words) as caught:
        load(spec, ARCH)
    assert caught.value.exit_code == 2


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    spec = write(tmp_path / "m.safetensors", {"x": torch.zeros(1)}, arch=ARCH)
    with pytest.raises(ContentError, match=r"and \d+ more; check --arch"):
        load(spec)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_a_payload_is_refused_and_never_executed(
    state: State, tmp_path: Path
) -> None:
    trap, plain, zipped = tmp_path / "executed", tmp_path / "a.pt", tmp_path / "b.pt"
    plain.write_bytes(pickle.dumps({"stem.weight": Payload(trap)}, 2))
    torch.save({**state, "payload": Payload(trap)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(ContentError, match="could execute code"):
            load(str(path), ARCH)
        assert not trap.exists()
    pickle.loads(plain.read_bytes())
    assert trap.exists()  # the payload does work where it is let


def truncated(path: Path, state: State) -> None:
    write(path, state)
    path.write_bytes(path.read_bytes()[:-100])


def endless_header(path: Path, state: State) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def nested_header(path: Path, state: State) -> None:
    safetensors.torch.save_file(state, path, {"unbackdoor": "[" * 100_000})


def broken_header(path: Path, state: State) -> None:
    safetensors.torch.save_file(state, path, {"unbackdoor": "{"})


def text(path: Path, state: State) -> None:
    path.write_text("hello\n")


def empty(path: Path, state: State) -> None:
    path.touch()


@pytest.mark.parametrize(
    "spoil", [truncated, endless_header, nested_header, broken_header, text, empty]
)
def test_a_file_that_is_no_safetensors_is_content(
    spoil: Callable[[Path, State], None], state: State, tmp_path: Path
) -> None:
    spoil(path := tmp_path / "m.safetensors", state)
    with pytest.raises(ContentError, match="safetensors file that can be read"):
        load(str(path), ARCH)


@pytest.mark.parametrize("spoil", [truncated, text, empty])
def test_a_file_that_is_no_state_dict_is_content(
    spoil: Callable[[Path, State], None], state: State, tmp_path: Path
) -> None:
    spoil(path := tmp_path / "m.pt", state)
    with pytest.raises(ContentError, match="state dict"):
        load(str(path), ARCH)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {3: torch.zeros(1)},
        {"stem.weight": torch.eye(3).to_sparse()},
        {"stem.weight": torch.zeros(3, device="meta")},
    ],
    ids=["list", "empty", "integer key", "sparse", "meta"],
)
def test_other_content_of_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ContentError, match="state dict"):
        load(str(tmp_path / "m.pt"), ARCH)


def test_a_file_that_was_copied_as_a_text_is_damaged(state: State, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(state, path)
    path.write_bytes(path.read_bytes().decode(errors="replace").encode())
    with pytest.raises(ContentError, match="copied as a text"):
        load(str(path), "resnet8")


def test_an_old_program_of_torchscript_needs_an_old_torch(tmp_path: Path) -> None:
    for members, old in ((("constants.pkl",), False), (("attributes.pkl", "model.json"), True)):
        path = tmp_path / f"{len(members)}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("version", "code/m.py", *members):
                archive.writestr(f"m/{name}", b"2")
        with pytest.raises(ContentError, match="makes a state dict of it") as caught:
            load(str(path), ARCH)
        assert ("PyTorch before 1.4" in str(caught.value)) == old


def test_what_is_no_checkpoint_by_its_content_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m.xyz").write_text("some text")
    with pytest.raises(ContentError, match=r"expected \.safetensors"):
        load(str(tmp_path / "m.xyz"))


@pytest.mark.parametrize("spec", ["no/such.pt", "shipped:nothing", "shipped:../checkpoint"])
def test_a_model_that_does_not_exist_is_an_argument(spec: str) -> None:
    with pytest.raises(ArgumentError, match="MODEL: ") as caught:
        load(spec)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("arch", ["resnet19", "file.py", "file.txt:make", ":make", ""])
def test_an_unknown_architecture_lists_the_known_ones(arch: str) -> None:
    with pytest.raises(ArgumentError, match="resnet8-wide, resnet20, resnet18, convnet"):
        build(arch, 10)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_that_does_not_say_its_architecture(
    suffix: str, state: State, tmp_path: Path
) -> None:
    few = {key: state[key] for key in list(state)[:3]}
    with pytest.raises(ArgumentError, match="does not say its architecture") as caught:
        load(write(tmp_path / f"m{suffix}", few))
    for key, tensor in few.items():
        assert f" {key} {'×'.join(map(str, tensor.shape))}" in str(caught.value)


def test_the_tensors_of_a_whole_network_are_shown_where_its_architecture_is_not_said(
    tmp_path: Path,
) -> None:
    """weights_only=True refuses such a file, so nothing else shows them safely."""
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(8, 4)), tmp_path / "whole.pt")
    with pytest.raises(ArgumentError, match=r"tensors 0\.weight 2×1×3×3, 0\.bias 2, 1\.weight 4×8"):
        load(str(tmp_path / "whole.pt"))


def test_a_checkpoint_cannot_choose_code_to_execute(state: State, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    spec = write(tmp_path / "m.safetensors", state, arch=f"{tmp_path}/evil.py:make")
    with pytest.raises(ArgumentError, match="not built in"):
        load(spec)
    assert not (tmp_path / "executed").exists()


GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Size:
    classes: int = 2

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, Size().classes))
"""


def test_a_function_of_a_file_makes_the_network(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(GOOD)
    arch = f"{tmp_path}/net.py:make"
    save(build(arch, 2), tmp_path / "m.pt", {})
    loaded = load(str(tmp_path / "m.pt"), arch)
    assert loaded.arch == arch
    assert loaded.module(torch.rand(3, 3, 2, 2)).shape == (3, 2)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("make = 3", ArgumentError, "no function 'make'"),
        ("", ArgumentError, "no function 'make'"),
        ("syntax error", ContentError, "failed to run"),
        ("import no_such_module", ContentError, "failed to run"),
        ("raise SystemExit(0)", ContentError, "failed to run"),
        ("def make(): return 3", ContentError, "returned int"),
        ("def make(): 1 / 0", ContentError, "division by zero"),
        ("def make(classes): return 3", ContentError, "argument"),
        ("def make(): raise SystemExit", ContentError, "failed"),
    ],
)
def test_a_file_that_makes_no_network_is_explained(
    code: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(kind, match=words):
        build(f"{tmp_path}/net.py:make", 10)


def test_a_missing_file_is_an_argument(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no file"):
        build(f"{tmp_path}/net.py:make", 10)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    network: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="cannot be written"):
        save(network, tmp_path / "missing" / "m.safetensors", {})
    with pytest.raises(TypeError):
        save(network, tmp_path / "m.safetensors", {"no": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["m.pkl", "m", "m.safetensors.bak"])
def test_suffixes_are_checked_before_work(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"\.safetensors"):
        check_suffix(Path(name))


def test_a_network_without_a_graph_is_not_written_as_one(network: nn.Module) -> None:
    check_suffix(Path("m.onnx"))
    with pytest.raises(ArgumentError, match="would need a graph"):
        check_suffix(Path("m.onnx"), network)


WRAPPERS: dict[str, Callable[[State], object]] = {
    "under 'state_dict'": lambda state: {"state_dict": state, "epoch": 3, "lr": 0.1},
    "under 'net'": lambda state: {"net": state, "acc": 93.2},
    "began with 'module.'": lambda state: {f"module.{key}": x for key, x in state.items()},
    "began with '_orig_mod.'": lambda state: {f"_orig_mod.{key}": x for key, x in state.items()},
    "under 'model'": lambda state: {
        "model": {f"module._orig_mod.{key}": x for key, x in state.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    },
}


@pytest.mark.parametrize("words", WRAPPERS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_wrappers_are_understood_and_said(
    words: str, legacy: bool, state: State, tmp_path: Path
) -> None:
    path = tmp_path / "m.pth"
    torch.save(WRAPPERS[words](state), path, _use_new_zipfile_serialization=not legacy)
    loaded = load(str(path), ARCH)
    assert words in loaded.notes[0]
    assert loaded.notes[0][0].isupper()
    have = loaded.module.state_dict()
    assert all(torch.equal(state[key], have[key]) for key in state)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.onnx"])
def test_a_file_that_may_not_be_read_is_an_argument(
    name: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / name, state)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    arch = None if name == "m.onnx" else ARCH
    with pytest.raises(ArgumentError, match=r"cannot be read \(Permission denied\)") as caught:
        load(str(tmp_path / name), arch)
    assert caught.value.exit_code == 4
    if arch is None:
        with pytest.raises(ArgumentError, match=r"--arch: .* cannot be read"):
            build(str(tmp_path / name), 4)


def test_not_every_dot_of_a_name_is_a_wrapper(tmp_path: Path) -> None:
    """Millions of dots take no longer than a few."""
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"a." * 1_000_000 + "w": torch.zeros(1)}, path)
    with pytest.raises(ContentError, match=r"normalise\.mean is missing"):
        load(str(path), ARCH)


def test_a_tensor_without_numbers_says_no_number_of_classes() -> None:
    network = build(ARCH, 4, {"classifier.weight": torch.zeros(50_000, 0)})
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 4)


def test_a_prefix_that_belongs_to_the_architecture_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.module = nn.Linear(3, 2)\n"
        "def net():\n"
        "    return Net()\n"
    )
    arch = f"{tmp_path}/net.py:net"
    save(build(arch, 2), tmp_path / "m.pt", {})
    assert load(str(tmp_path / "m.pt"), arch).notes == ()


def test_a_list_of_state_dicts_is_refused_by_name(tmp_path: Path) -> None:
    state = {"weight": torch.zeros(2, 3)}
    for content, where in (([state, state], ""), ({"state_dict": [state]}, " under 'state_dict'")):
        torch.save(content, tmp_path / "m.pt")
        with pytest.raises(ContentError, match=f"holds a list of state dicts{where}, of several"):
            load(str(tmp_path / "m.pt"), "convnet")


def test_several_state_dicts_in_a_file_are_refused(state: State, tmp_path: Path) -> None:
    torch.save({"net": state, "ema": state}, tmp_path / "m.pt")
    with pytest.raises(ContentError, match=r"several state dicts .*ema, net") as caught:
        load(str(tmp_path / "m.pt"), ARCH)
    command = str(caught.value).partition("such as by ")[2].rpartition(" for ")[0]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    load(str(tmp_path / "m-alone.pt"), ARCH)


BESIDE: dict[str, Callable[[State, State], object]] = {
    "number": lambda bad, clean: {1: bad, "1": clean},
    "wrapped": lambda bad, clean: {"state_dict": clean, "ema": {"module": bad}},
    "with a number": lambda bad, clean: {"state_dict": clean, "ema": {**bad, "updates": 3}},
    "around": lambda bad, clean: {**bad, "extra": clean},
    "list": lambda bad, clean: {"net": clean, "all": [bad]},
    "deep": lambda bad, clean: {"net": clean, "all": [[{"a": ({"b": [bad]},)}]]},
    "optimizer": lambda bad, clean: {"net": clean, "optimizer": bad | {"lr": 3}},
    "optimizer's state": lambda bad, clean: {
        "net": clean,
        "optimizer": {"state": bad, "param_groups": []},
    },
    "optimizer's neighbour": lambda bad, clean: {
        "net": clean,
        "optim": {"state": {}, "param_groups": [], "net": bad},
    },
}


@pytest.mark.parametrize("place", BESIDE)
def test_tensors_beside_the_state_dict_are_refused(
    place: str, state: State, tmp_path: Path
) -> None:
    torch.save(BESIDE[place](state, state), tmp_path / "m.pt")
    with pytest.raises(ContentError, match=r"several state dicts|holds tensors under"):
        load(str(tmp_path / "m.pt"), ARCH)


def test_what_trainers_keep_beside_the_state_dict_is_no_network(
    network: nn.Module, state: State, tmp_path: Path
) -> None:
    trained = copy.deepcopy(network)
    optimizer = torch.optim.Adam(trained.parameters())
    sum(parameter.sum() for parameter in trained.parameters()).backward()
    optimizer.step()
    best: list[object] = [torch.tensor(0.9)]
    best.append(best)
    kept = {
        "state_dict": state,
        "optimizer_states": [optimizer.state_dict()],
        "optimizer": optimizer.state_dict(),
        "best": best,
        "epoch": 3,
        "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 3}],
    }
    torch.save(kept, tmp_path / "m.ckpt")
    assert "under 'state_dict'" in load(str(tmp_path / "m.ckpt"), ARCH).notes[0]


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as container:
        for name, content in members.items():
            container.writestr(name, content)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as container:
        return {member.filename: container.read(member) for member in container.infolist()}


def test_a_second_pickle_in_capitals_is_refused(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "m.pt")
    members = contents(tmp_path / "m.pt")
    path = archive(tmp_path / "n.pt", {**members, "m/DATA.PKL": members["m/data.pkl"]})
    with pytest.raises(ContentError, match="a member that stands twice"):
        load(str(path), ARCH)


def test_an_archive_without_a_pickle_is_told_so(tmp_path: Path) -> None:
    path = archive(tmp_path / "n.pt", {"m/version": b"3\n"})
    with pytest.raises(ContentError, match=r"no data\.pkl, which torch\.save .*; fetch it again"):
        load(str(path), ARCH)


def test_a_checkpoint_in_an_archive_of_files_is_unpacked_by_what_is_said(
    state: State, tmp_path: Path
) -> None:
    """Packages of Python and downloads hold checkpoints beside other files."""
    torch.save(state, tmp_path / "m.pt")
    members = {"p/__init__.py": b"", "p/m.pt": (tmp_path / "m.pt").read_bytes()}
    path = archive(tmp_path / "p-1 0.whl", members)
    with pytest.raises(ContentError, match=r"other files \(p/m\.pt\); unpack them by") as error:
        load(str(path), ARCH)
    command = str(error.value).partition("unpack them by ")[2].partition(", and")[0]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    assert load(str(tmp_path / "p-1 0-files/p/m.pt"), ARCH).sha256


@pytest.mark.parametrize("large", [False, True], ids=["zip", "zip64"])
def test_of_two_directories_none_is_chosen(large: bool, state: State, tmp_path: Path) -> None:
    """Python's zipfile reads the directory right before the end, torch the one that is named."""
    path = tmp_path / "m.pt"
    torch.save(state, path)  # writes the records of zip64
    if not large:
        archive(path, contents(path))
    assert load(str(path), ARCH).sha256
    content = path.read_bytes()
    length, offset = struct.unpack("<II", content[-10:-2])
    directory, tail = content[offset : offset + length], bytearray(content[offset + length :])
    if large:
        tail[-34:-26] = struct.pack("<Q", offset + 2 * length)
    path.write_bytes(content[:offset] + directory + directory + tail)
    with pytest.raises(ContentError, match="right before its end"):
        load(str(path), ARCH)


def test_torch_reads_the_members_that_were_checked(state: State, tmp_path: Path) -> None:
    """A member of the directory that nothing refers to never reaches torch."""
    torch.save(state, tmp_path / "m.pt")
    members = contents(tmp_path / "m.pt")
    path = archive(tmp_path / "n.pt", {**members, "m/.data/other": b"x", "m/data/no": b"y"})
    have = load(str(path), ARCH).module.state_dict()
    assert all(torch.equal(state[key], have[key]) for key in state)


@pytest.mark.parametrize("keys", [("a", ("b",)), {"a": 1}, ["a", ["b"]], ["a", 1], b"a"], ids=repr)
def test_the_list_of_storages_holds_texts_alone(keys: object, state: State, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert load(str(path), ARCH).sha256
    content = path.read_bytes()
    last = content.index(b"\x80\x02]", content.index(b"classifier.weight"))
    path.write_bytes(content[:last] + pickle.dumps(keys, 2))
    with pytest.raises(ContentError, match=r"in the list of its storages|wants to import"):
        load(str(path), ARCH)


def test_shipped_models_load_and_say_what_they_are() -> None:
    for name, facts in shipped().items():
        loaded = load(f"shipped:{name}")
        assert loaded.facts == facts
        assert {"arch", "data", "target", "trigger", "accuracy", "asr"} <= set(facts)
