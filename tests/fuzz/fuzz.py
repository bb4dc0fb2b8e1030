"""``python tests/fuzz/fuzz.py --count 20000``: mutants of checkpoints, data, settings and results.

Hypothesis draws each: what is mutated, and how. A third stay structurally valid (a container that
can be read, with tensors renamed, reshaped or spoilt); in the others bytes are changed, cut,
doubled or mixed. Each is opened as the tool opens it. What comes is a value or an error of the tool
with one printable sentence, nothing else, and nothing is left half-written. One in a hundred goes
through the command line as well.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import ctypes
import io
import json
import re
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "report"))

from synthetic import repair, scan, unscanned
from unbackdoor import data, models, preflight, results
from unbackdoor.app.cli import main
from unbackdoor.app.inputs import read_labels
from unbackdoor.errors import ContentError, UnbackdoorError
from unbackdoor.models import huggingface
from unbackdoor.report.page import write_page, write_pages
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.results import ScanResult

THROUGH_THE_COMMAND = 100
MEMORY = 1 << 30
ARENAS = -8
NETWORK = """
from torch.nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, Sequential
def net():
    return Sequential(
        Conv2d(3, 4, 3), BatchNorm2d(4), AdaptiveAvgPool2d(1), Flatten(), Linear(4, 2)
    )
"""
KINDS = (torch.float64, torch.int32, torch.bool, torch.bfloat16)
WORDS = (b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"\x80" * 9)
SCALARS = st.none() | st.booleans() | st.integers(-3, 1 << 40) | st.floats() | st.text(max_size=20)
OPTIONS: dict[str, Any] = {
    "seed": 7,
    "quiet": True,
    "scan": {
        "data": "cifar10-sample",
        "budget": "quick",
        "fail-on": "backdoored",
        "std": [0.25, 0.5, 0.5],
        "size": 32,
        "threads": 1,
    },
    "repair": {"reference": "shipped:clean"},
}
State = dict[str, Tensor]


@dataclass
class Seeds:
    """The valid files that mutants come from, and the folder that they are written to."""

    folder: Path
    seen: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    hubs: int = 0
    made: int = 0
    commands: int = 0
    slowest: float = 0.0

    def __post_init__(self) -> None:
        (self.folder / "net.py").write_text(NETWORK)
        self.arch = f"{self.folder / 'net.py'}:net"
        self.state: State = models.build(self.arch, 2).state_dict()
        self.pictures = self.folder / "pictures"
        draw = np.random.default_rng(0)
        for label in "ab":
            (self.pictures / label).mkdir(parents=True)
            for index in range(3):
                pixels = draw.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(self.pictures / label / f"{index}.png")
        self.split = data.load(str(self.pictures))
        found = (scan(count=8), repair(), [scan("clean", count=8), unscanned()])
        self.results = [json.loads(results.encode(one)) for one in found]


def as_safetensors(state: State) -> bytes:
    return safetensors.torch.save(state, {"unbackdoor": '{"arch": "resnet20"}'})


def as_zip(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def as_row(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def as_graph(state: State) -> bytes:
    """The same network, as far as ``state`` still is one."""
    names = {"0": "conv", "1": "bn", "4": "fc"}
    weights = [
        numpy_helper.from_array(value.numpy(), f"{names.get(key[0], key[0])}{key[1:]}")
        for key, value in state.items()
        if value.dtype != torch.bfloat16
    ]
    bn = [f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *bn], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def as_toml(value: Any) -> str:
    """Return TOML of JSON's values, tables last; what TOML does not have is left out."""
    tables = {key: one for key, one in value.items() if isinstance(one, dict)}
    lines = [
        f"{json.dumps(key)} = {json.dumps(one)}"
        for key, one in value.items()
        if key not in tables and one is not None
    ]
    for key, table in tables.items():
        lines += [f"[{json.dumps(key)}]", as_toml(table)]
    return "\n".join(lines)


BESIDE: dict[str, Any] = {
    "best": np.float64(0.9),
    "args": argparse.Namespace(lr=np.float32(0.1), out=Path("runs")),
    "device": torch.device("cpu"),
}
CHECKPOINTS: dict[str, Callable[[State], bytes]] = {
    ".safetensors": as_safetensors,
    ".pt": as_zip,
    ".pth": lambda state: as_zip({"state_dict": state, "epoch": 3, **BESIDE}),
    ".bin": as_row,
    ".ckpt": lambda state: as_row(
        {"net": {f"module.{key}": x for key, x in state.items()}, **BESIDE}
    ),
    ".onnx": as_graph,
}


PICTURES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".avif": "AVIF",
    "": "PNG",
}
MODES = {
    ".bmp": ["RGB", "L", "1"],
    ".ppm": ["RGB", "L", "1", "I"],
    ".png": ["RGB", "L", "RGBA", "P", "I;16"],
    ".tif": ["RGB", "L", "RGBA", "CMYK", "F", "I;16"],
}
ORIENTATION = 0x0112
OTHER_KINDS = ("labels", "result", "settings", "hub")
VIT: dict[str, Any] = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 8,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "image_size": 16,
    "patch_size": 8,
    "id2label": {"0": "a", "1": "b"},
    "label2id": {"a": 0, "b": 1},
}
TIMM: dict[str, Any] = {
    "architecture": "test_resnet",
    "num_classes": 2,
    "label_names": ["a", "b"],
    "model_args": {"stem_width": 16, "avg_down": True},
    "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64]},
}
HUB: dict[str, list[dict[str, Any]]] = {
    "config.json": [VIT, TIMM],
    "preprocessor_config.json": [
        {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 16},
        {"do_rescale": True, "rescale_factor": 1 / 255, "size": {"height": 16, "width": 16}},
    ],
    "model.safetensors.index.json": [
        {"metadata": {"total_size": 4}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    ],
}
"""Files of a folder of the hub."""
MADE = 100
"""Of so many folders of the hub whose files were understood, one network is made."""


@dataclass(frozen=True)
class Table:
    """Pictures with labels, before they are written to one file or another."""

    pixels: Any
    labels: Any
    names: tuple[str, ...]
    paths: tuple[str, ...]


PLAIN = Table(
    np.arange(6 * 8 * 8 * 3, dtype=np.uint8).reshape(6, 8, 8, 3),
    np.arange(6) % 2,
    ("x", "y"),
    tuple(f"pictures/{'ab'[at % 2]}/{at % 3}.png" for at in range(6)),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Arrays of any type and shape, labels and paths of any kind."""
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=5)))
    kind = draw(st.sampled_from(["u1", "f4", "i8", "?", "U3", "S2", "c8", "M8[s]", "u2"]))
    odd = np.zeros(shape, "f8").astype(kind) if kind[0] in "UScM" else np.ones(shape, kind)
    labels = draw(st.lists(SCALARS, min_size=6, max_size=6))
    return Table(
        draw(st.sampled_from([PLAIN.pixels, PLAIN.pixels / 255, PLAIN.pixels - 99.5, odd])),
        draw(st.sampled_from([PLAIN.labels, odd, np.eye(2)[PLAIN.labels], np.array(labels, str)])),
        (draw(st.sampled_from(["x", "images", "a\u202e"])), draw(st.sampled_from(["y", "labels"]))),
        tuple(draw(st.lists(st.text(max_size=8), min_size=6, max_size=6))),
    )


def as_npz(table: Table, seeds: Seeds) -> bytes:
    out = io.BytesIO()
    first, second = table.names
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in ((first, table.pixels), (second, table.labels)):
            archive.writestr(f"{name}.npy", as_npy(array))
    return out.getvalue()


def as_npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def as_csv(table: Table, seeds: Seeds) -> bytes:
    out = io.StringIO()
    rows = zip(table.paths, np.resize(table.labels, 6), strict=True)
    csv.writer(out).writerows([("path", "label"), *rows])
    return out.getvalue().encode("utf-8", "replace")


def as_tar(table: Table, seeds: Seeds) -> bytes:
    out = io.BytesIO()
    picture = (seeds.pictures / "a" / "0.png").read_bytes()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, label in zip(table.paths, np.resize(table.labels, 6), strict=True):
            stem = name.removesuffix(".png")
            for suffix, content in ((".png", picture), (".cls", str(label).encode())):
                entry = tarfile.TarInfo((stem + suffix).replace("\0", ""))
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


FILES: dict[str, Callable[[Table, Seeds], bytes]] = {
    ".npz": as_npz,
    ".csv": as_csv,
    ".tar": as_tar,
    ".npy": lambda table, seeds: as_npy(table.pixels),
    ".parquet": lambda table, seeds: b"PAR1" + as_tar(table, seeds),
    ".pt": lambda table, seeds: as_zip((torch.zeros(2), torch.zeros(2))),
}


def spoilt_tensor(draw: st.DrawFn, value: Tensor) -> Tensor:
    how = draw(st.integers(0, 6))
    if how == 0:
        return value.reshape(-1)
    if how == 1:
        return value.reshape(-1)[:0]
    if how == 2:
        return value.to(draw(st.sampled_from(KINDS)))
    if how == 3 and value.is_floating_point():
        return torch.full_like(value, draw(st.sampled_from([torch.nan, torch.inf, 1e30, 0.0])))
    if how == 4:
        return value.unsqueeze(0).repeat(2, *[1] * value.ndim)
    return value.clone()


@st.composite
def valid_states(draw: st.DrawFn, state: State) -> State:
    """Tensors renamed, dropped, added or spoilt; their container will be right."""
    changed = dict(state)
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(changed) or ["none"]))
        how = draw(st.integers(0, 3))
        if key == "none" or how == 0:
            changed[draw(st.text(max_size=12)) or "x"] = torch.zeros(2)
        elif how == 1:
            del changed[key]
        elif how == 2:
            changed[draw(st.text(min_size=1, max_size=12))] = changed.pop(key)
        else:
            changed[key] = spoilt_tensor(draw, changed[key])
    return changed


@st.composite
def mutants(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes changed, cut, doubled, mixed or made up."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        size = len(changed)
        at = draw(st.integers(0, max(size - 1, 0)))
        length = draw(st.integers(0, 64))
        how = draw(st.integers(0, 6))
        if how == 0 and size:
            changed[at] ^= draw(st.integers(1, 255))
        elif how == 1:
            del changed[at:]
        elif how == 2:
            del changed[at : at + length]
        elif how == 3:
            changed[at:at] = draw(st.binary(max_size=32))
        elif how == 4:
            changed[at:at] = changed[at : at + length] * draw(st.integers(1, 8))
        elif how == 5 and size:
            to = draw(st.integers(0, size - 1))
            changed[to : to + length] = changed[at : at + length]
        else:
            word = draw(st.sampled_from(WORDS))
            changed[at : at + len(word)] = word
    return bytes(changed)


def keys_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return sorted(value)
    return list(range(len(value))) if isinstance(value, list) else []


@st.composite
def valid_values(draw: st.DrawFn, value: Any) -> Any:
    """JSON of the same kind with some of it replaced, dropped or doubled."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = changed
        for _ in range(draw(st.integers(0, 5))):
            inner = at[draw(st.sampled_from(keys_of(at)))]
            if not keys_of(inner):
                break
            at = inner
        if not (keys := keys_of(at)):
            continue
        key = draw(st.sampled_from(keys))
        at[key] = draw(SCALARS | st.lists(SCALARS, max_size=3) | st.just({}))
        if isinstance(at, dict) and draw(st.booleans()):
            at[draw(st.text(max_size=8))] = at.pop(key)
    return changed


@dataclass(frozen=True)
class Mutant:
    kind: str
    suffix: str
    content: bytes
    valid: bool
    label: str = "a"


@st.composite
def examples(draw: st.DrawFn, seeds: Seeds) -> Mutant:
    """Four in ten of them checkpoints; the others in equal parts of each kind."""
    kind = draw(st.sampled_from(["checkpoint"] * 4 + ["picture", "file", *OTHER_KINDS]))
    valid = draw(st.sampled_from([True, True, False]))
    if kind == "checkpoint":
        suffix = draw(st.sampled_from(sorted(CHECKPOINTS)))
        state = draw(valid_states(seeds.state)) if valid else seeds.state
        content = CHECKPOINTS[suffix](state)
    elif kind == "picture":
        suffix = draw(st.sampled_from(sorted(PICTURES)))
        size = (draw(st.integers(1, 20)), draw(st.integers(1, 20))) if valid else (8, 8)
        out = io.BytesIO()
        picture = Image.new(draw(st.sampled_from(MODES.get(suffix, ["RGB", "L"]))), size)
        exif = Image.Exif()
        exif[ORIENTATION] = draw(st.integers(0, 9))
        said = {"exif": exif.tobytes()} if suffix not in {".bmp", ".ppm", ".gif"} else {}
        picture.save(out, PICTURES[suffix], **said)
        content = out.getvalue()
    elif kind == "file":
        suffix = draw(st.sampled_from(sorted(FILES)))
        content = FILES[suffix](draw(tables()) if valid else PLAIN, seeds)
    elif kind == "settings":
        suffix = ".toml"
        content = as_toml(draw(valid_values(OPTIONS)) if valid else OPTIONS).encode()
    elif kind == "hub":
        suffix = draw(st.sampled_from(sorted(HUB)))
        base = draw(st.sampled_from(HUB[suffix]))
        content = json.dumps(draw(valid_values(base)) if valid else base).encode()
    else:
        suffix = ".json"
        base = {"a": 0, "b": 1} if kind == "labels" else draw(st.sampled_from(seeds.results))
        content = json.dumps(draw(valid_values(base)) if valid else base).encode()
    if not valid:
        content = draw(mutants(content))
    label = draw(st.sampled_from(["a", "b", "c", "ünï\u202ecode", "[bold]", "\x1b[31m"]))
    return Mutant(kind, suffix, content, valid, label)


def open_checkpoint(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    loaded = models.load(str(path), None if mutant.suffix == ".onnx" else seeds.arch)
    cleared = preflight.adapt(loaded.module, seeds.split)
    preflight.check(cleared.network, cleared.images)
    models.save(loaded.module, seeds.folder / f"out{mutant.suffix}", {})


def open_picture(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    folder = seeds.folder / "mutated"
    shutil.copytree(seeds.pictures, folder)
    (folder / mutant.label).mkdir(exist_ok=True)
    path.rename(folder / mutant.label / path.name)
    data.load(str(folder), 8 if len(mutant.content) % 2 else None)


def open_file(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    data.load(str(path), 8 if len(mutant.content) % 2 else None)


def open_labels(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    seeds.split.relabelled(read_labels(path), 4)


def as_hub(seeds: Seeds, path: Path, mutant: Mutant) -> Path:
    """A folder of the hub of which one file is the mutant."""
    folder = seeds.folder / "mutated"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps(HUB[name][0]))
    part = "-00001-of-00001" if "index" in mutant.suffix else ""
    weights = folder / f"model{part}.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(20_000)}, weights)
    shutil.copy(path, folder / mutant.suffix)
    return folder


def open_hub(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    """Read and check everything; only some networks are made, which takes a process for each."""
    folder = as_hub(seeds, path, mutant)
    hub = huggingface.open_folder(folder)
    assert len(hub.model_args) >= 0
    hub.stated.indices(seeds.split.defend.classes)
    hub.state()
    hub.beside()
    seeds.hubs += 1
    if seeds.hubs % MADE == 0:
        seeds.made += 1
        models.load(str(folder))


def open_result(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    result = results.read_any(path)
    if isinstance(result, list):
        write_pages(result, seeds.folder / "out")
        encode_sarif(result)
        return
    write_page(result, seeds.folder / "out.html")
    if isinstance(result, ScanResult):
        encode_sarif([result])


def open_settings(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    """Type the command; it ends at a missing model, if the settings let it get there."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["scan", "missing.pt", "--config", str(path)])
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
    assert code in {2, 4}, (code, said.getvalue())
    assert not re.search("Traceback|internal error", said.getvalue()), said.getvalue()
    if "missing.pt" not in said.getvalue():
        raise ContentError("the settings were refused.")


OPEN = {
    "checkpoint": open_checkpoint,
    "picture": open_picture,
    "file": open_file,
    "labels": open_labels,
    "result": open_result,
    "settings": open_settings,
    "hub": open_hub,
}


def command(seeds: Seeds, path: Path, mutant: Mutant) -> list[str]:
    images = str(seeds.pictures)
    if mutant.kind == "result":
        several = mutant.content.lstrip().startswith(b"[")
        return ["report", str(path), "-o", str(seeds.folder / ("out" if several else "out.html"))]
    if mutant.kind == "settings":
        return ["scan", "missing.pt", "--config", str(path)]
    if mutant.kind == "labels":
        return ["scan", "shipped:clean", "--data", images, "--labels", str(path)]
    if mutant.kind == "hub":
        return ["scan", str(as_hub(seeds, path, mutant)), "--data", images]
    if mutant.kind in {"picture", "file"}:
        images = str(path.parent if mutant.kind == "picture" else path)
        return ["scan", "shipped:clean", "--data", images]
    arch = [] if mutant.suffix == ".onnx" else ["--arch", seeds.arch]
    return ["scan", str(path), *arch, "--data", images]


def survives(seeds: Seeds, mutant: Mutant) -> None:
    """Open a mutant and raise unless what comes is a value or a sentence, and nothing is left."""
    path = seeds.folder / f"mutant{mutant.suffix}"
    path.write_bytes(mutant.content)
    number = seeds.drawn
    seeds.drawn += 1
    began = time.process_time()
    try:
        if number % THROUGH_THE_COMMAND == THROUGH_THE_COMMAND - 1:
            through_the_command(seeds, path, mutant)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            OPEN[mutant.kind](seeds, path, mutant)
        outcome = "opened"
    except UnbackdoorError as refused:
        outcome = "refused" if str(refused).endswith(".") else "refused without a sentence"
    finally:
        left = {entry.name for entry in seeds.folder.iterdir() if entry.name.startswith(".")}
        shutil.rmtree(seeds.folder / "out", ignore_errors=True)
        for entry in seeds.folder.glob("out?*"):
            entry.unlink()
        path.unlink(missing_ok=True)
        shutil.rmtree(seeds.folder / "mutated", ignore_errors=True)
    seeds.slowest = max(seeds.slowest, time.process_time() - began)
    assert not left, f"half-written: {left}"
    assert outcome != "refused without a sentence"
    seeds.seen[f"{mutant.kind} {outcome}"] += 1
    seeds.seen["structurally valid" if mutant.valid else "bytes changed"] += 1


def through_the_command(seeds: Seeds, path: Path, mutant: Mutant) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(command(seeds, path, mutant))
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # the command asks for it, and Hypothesis needs denormals
    assert code in {0, 1, 2, 3, 4}, code
    assert "Traceback" not in said.getvalue()
    assert "internal error" not in said.getvalue(), said.getvalue()
    assert (code in {0, 1}) or re.search("unbackdoor: |╭─|---", said.getvalue()), (
        code,
        said.getvalue(),
        mutant.kind,
        mutant.content[:300],
    )
    seeds.commands += 1


def fuzz(count: int, seeds: Seeds, number: int = 0) -> None:
    """Draw ``count`` mutants, others for another ``number``, and open each."""
    patient = settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    seed(number)(patient(given(examples(seeds))(lambda mutant: survives(seeds, mutant))))()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ctypes.CDLL("libc.so.6").mallopt(ARENAS, 1)  # else each thread maps 64 MiB that it never uses
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        seeds = Seeds(Path(folder))
        began = time.perf_counter()
        fuzz(asked.count, seeds, asked.seed)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        for what, times in sorted(seeds.seen.items()):
            print(f"{times:7,} {what}")
        print(f"{seeds.commands:7,} through the command")
        print(f"{seeds.made:7,} networks of the hub")
        print(f"{time.perf_counter() - began:.0f} s, {seeds.slowest:.1f} s at most, {peak} MiB")
