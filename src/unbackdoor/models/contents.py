"""What a file is by its first bytes, because its name is whatever somebody called it."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from shlex import quote
from typing import Literal

from unbackdoor.errors import ContentError, listed, printable
from unbackdoor.runtime.files import check_fetched

Kind = Literal["safetensors", "state dict", "keras"]
READ = (
    "expected .safetensors, a state dict of torch.save, .onnx, a network of Keras (.h5, .keras) or "
    "a folder of the Hugging Face hub"
)
SUFFIXES: dict[str, Kind] = {
    ".safetensors": "safetensors",
    ".pt": "state dict",
    ".pth": "state dict",
    ".bin": "state dict",
    ".ckpt": "state dict",
}
"""What a file is meant to be by its suffix, where its content does not say it."""
KERAS = (
    "import keras; m = keras.models.load_model({file}, compile=False); "
    'm(keras.ops.zeros((1, *m.input_shape[1:]))); m.export({onnx}, format="onnx")'
)
KERAS_WEIGHTS = (
    "it holds weights alone, so only the code that builds the network can open it: build the "
    "network there, call its load_weights and its export(…, format='onnx')"
)
KERAS_CLASSES = (
    "its network has classes of its own ({names}), so only the code that has them can open it: "
    "load the network there and call its export(…, format='onnx')"
)
OF_ITS_OWN = re.compile(
    rb'"module": (?:null|"(?!keras|tf_keras|builtins)[^"]*"), "class_name": "([^"]+)"'
)
"""A part of a Keras network of a class that Keras does not have, as its configuration has it."""
REMEDIES = {
    ".pt2": "the reader of torch.export programs unpickles without restriction and evaluates text "
    "of the file; export the network that it was made from with torch.onnx.export",
    ".tflite": "export the network that it was made from to ONNX",
    ".pb": "export the network that it was made from to ONNX",
    ".msgpack": "save the network's weights under the names of a torch network as .safetensors",
}
"""What to do about formats that are known by their suffix."""
TENSORFLOW_JS, LISTS_SHARDS = ".json", b'"weightsManifest"'
"""What the file of a network of TensorFlow.js is called, and has in it; tensors lie beside it."""
LAYERS = (
    "it belongs to a network of TensorFlow.js, {network}; where you trust it, make one of Keras of "
    "it with tensorflowjs, whose command is tensorflowjs_converter --input_format "
    "tfjs_layers_model --output_format keras {network} {keras}"
)
GRAPH = (
    "it belongs to a graph of TensorFlow.js, {network}, of which no layers are known; export the "
    "network that it was made from to ONNX"
)
OF_LAYERS = (b'"layers-model"', b'"keras_version"', b'"class_name"')
"""What the file of a network of TensorFlow.js has in it that is not a graph alone."""
ARCHIVES = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz"}
KERAS_FIRST = (b"metadata.json", b"config.json")
"""Names of the first member of a zip archive that Keras writes."""
REPLACED, OFTEN = "\N{REPLACEMENT CHARACTER}".encode(), 16
"""What stands in a file for each byte that was no text when it was converted as one."""
HEAD, LISTED, LARGEST_JSON = 1 << 16, 4, 1 << 24
HDF5, ZIP, PICKLE, TAR, TAR_AT = b"\x89HDF", b"PK\x03\x04", b"\x80", b"ustar", 257


def kind_of(path: Path) -> Kind:
    """Return which of the formats of tensors a file has.

    Raises:
        ContentError: none of them; the sentence says what to do.
        OSError: the file cannot be read.

    """
    check_fetched(path, "MODEL")
    suffix = path.suffix.lower()
    if suffix in REMEDIES:
        raise _refusal(path, REMEDIES[suffix])
    with path.open("rb") as file:
        head = file.read(HEAD)
    first = head[: TAR_AT + len(TAR)]
    if (said := _of_tensorflow_js(path)) is not None:
        raise _refusal(path, said)
    if head.count(REPLACED) >= OFTEN:
        raise ContentError(
            f"MODEL: {path} is damaged: it was once copied as a text, which replaces most bytes; "
            f"fetch it anew, as a binary file."
        )
    if first.startswith(HDF5) and _holds_weights_alone(path):
        raise _refusal(path, KERAS_WEIGHTS)
    zipped = first.startswith(ZIP) and first[30:].startswith(KERAS_FIRST)
    if zipped and (own := OF_ITS_OWN.findall(head)):
        names = sorted({printable(name.decode(errors="replace"))[:80] for name in own})
        raise _refusal(path, KERAS_CLASSES.format(names=listed(names, LISTED)))
    if first.startswith(HDF5) or zipped:
        return "keras"
    for magic, command in ARCHIVES.items():
        if first.startswith(magic):
            raise _refusal(path, f"it is compressed; {command} {quote(str(path))} unpacks it")
    if first[TAR_AT:] == TAR:
        raise _refusal(path, f"it is an archive; tar -xf {quote(str(path))} unpacks it")
    tensors = first[8:9] == b"{" and int.from_bytes(first[:8], "little") < path.stat().st_size
    if tensors and suffix == ".safetensors":
        return "safetensors"
    if first.startswith((ZIP, PICKLE)):
        return "state dict"
    if tensors:
        return "safetensors"
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise _refusal(path, "")


def _of_tensorflow_js(path: Path) -> str | None:
    """Return what to do about a file of a network of TensorFlow.js; None for any other."""
    if path.suffix not in {TENSORFLOW_JS, ".bin"}:
        return None
    networks = [path] if path.suffix == TENSORFLOW_JS else sorted(path.parent.glob("*.json"))
    names = [json.dumps(path.name, ensure_ascii=ascii).encode() for ascii in (True, False)]
    for network in networks:
        try:
            small = network.is_file() and network.stat().st_size <= LARGEST_JSON
            content = network.read_bytes() if small else b""
        except OSError:  # of a neighbour, which need not have to do with it
            continue
        own = network == path or any(name in content for name in names)
        if own and LISTS_SHARDS in content:
            said = LAYERS if any(words in content for words in OF_LAYERS) else GRAPH
            keras = quote(str(network.with_suffix(".h5")))
            return said.format(network=quote(str(network)), keras=keras)
    return None


def _holds_weights_alone(path: Path) -> bool:
    """Return whether Keras wrote weights into an HDF5 file, without the network they are of."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        whole = content.find(b"model_config") >= 0
        return not whole and (content.find(b"layer_names") >= 0 or ".weights." in path.name)


def keras_command(path: Path) -> str:
    """Return what makes a file that is read of a network of Keras that cannot be read itself.

    Keras knows its formats by suffixes; of another name it opens a copy.
    """
    with path.open("rb") as file:
        kinds = (".h5", ".hdf5") if file.read(len(HDF5)) == HDF5 else (".keras",)
    onnx, source, copied = str(path.with_suffix(".onnx")), str(path), ""
    if path.suffix not in kinds:
        source = f"{path}{kinds[0]}"
        copied = f"cp {quote(str(path))} {quote(source)} && "
    file, result = (json.dumps(name, ensure_ascii=False) for name in (source, onnx))
    code = quote(KERAS.format(file=file, onnx=result))
    return (
        f"where you trust it, install keras and onnxscript, and {copied}KERAS_BACKEND=torch "
        f"python -c {code} makes {onnx} of it, of a network that Keras 3 reads and exports; where "
        f"it fails, as of many networks of Keras 2, write the network in PyTorch, copy its weights "
        f"by names and shapes, transposed to those of PyTorch, and name it by --arch"
    )


def _refusal(path: Path, reason: str) -> ContentError:
    more = f" ({reason})" if reason else ""
    return ContentError(f"MODEL: {path} is not a checkpoint this tool reads; {READ}{more}.")
