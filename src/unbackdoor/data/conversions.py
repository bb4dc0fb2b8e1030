"""Files of pictures that are not read, and the command that makes something readable of each."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from unbackdoor.data.labelling import LABELS, PATHS
from unbackdoor.data.tables import LARGEST_TABLE
from unbackdoor.errors import printable, quoted
from unbackdoor.runtime.pictures import SUFFIXES

SMALLEST = 8
"""Side of a picture that a row of numbers may be."""
ARROW_FILE, IDX_FILE, LINES = ".arrow", "-ubyte", ".jsonl"
LONGEST_LINE = 1 << 12
SAVE = "numpy.savez(sys.argv[2], x=x, y=y)"
HDF5 = (
    "import sys, h5py, numpy; d = h5py.File(sys.argv[1]); "
    "numpy.savez(sys.argv[2], **{k: v[()] for k, v in d.items()})"
)
MATLAB = (
    "import sys, scipy.io, numpy; d = scipy.io.loadmat(sys.argv[1]); "
    f'x, y = d["X"].transpose(3, 0, 1, 2), d["y"].ravel() % 10; {SAVE}'
)
ARROW = (
    "import sys, pathlib, pyarrow as p, pyarrow.parquet as q; a = pathlib.Path(sys.argv[1]); "
    'f = sorted(a.glob("data-*.arrow")) if a.is_dir() else [a]; '
    "q.write_table(p.concat_tables([p.ipc.open_stream(x).read_all() for x in f]), sys.argv[2])"
)
IDX = (
    "import sys, gzip, numpy; from pathlib import Path as P; a = P(sys.argv[1]); "
    'b = a.with_name(a.name.replace("images", "labels").replace("idx3", "idx1")); '
    'c, d = ((gzip.open if p.suffix == ".gz" else open)(p, "rb").read() for p in (a, b)); '
    'x = numpy.frombuffer(c[16:], "u1").reshape(numpy.frombuffer(c[4:16], ">i4")); '
    f'y = numpy.frombuffer(d[8:], "u1"); {SAVE}'
)


@dataclass(frozen=True)
class Conversion:
    """How a file becomes one that is read.

    Args:
        command: with places for the old name and the new one.
        made: how the new name ends.
        needs: packages that it takes and that are no part of this one.

    """

    command: str
    made: str
    needs: str = ""


def _python(code: str, made: str, needs: str = "") -> Conversion:
    return Conversion(f"python -c {_whole(quoted(code))} {{old}} {{new}}", made, needs)


def _whole(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


TENSORS = Conversion("python -m unbackdoor.data.tensors {old} {new}", ".npz")
CONVERSIONS = {
    ".pt": TENSORS,
    ".pth": TENSORS,
    ".h5": _python(HDF5, ".npz", "h5py"),
    ".hdf5": _python(HDF5, ".npz", "h5py"),
    ".mat": _python(MATLAB, ".npz", "scipy"),
    ARROW_FILE: _python(ARROW, ".parquet", "pyarrow"),
    IDX_FILE: _python(IDX, ".npz"),
    f"{IDX_FILE}.gz": _python(IDX, ".npz"),
    ".tgz": Conversion("gunzip -c {old} > {new}", ".tar"),
    ".gz": Conversion("gunzip -c {old} > {new}", ".tar"),
    ".bz2": Conversion("bunzip2 -c {old} > {new}", ".tar"),
    ".xz": Conversion("xz -dc {old} > {new}", ".tar"),
    ".zst": Conversion("zstd -d {old} -o {new}", ".tar"),
    ".zip": Conversion("python -m zipfile -e {old} {new}", ""),
}
"""How names of such files end → what makes them readable."""


MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"(\xb5/\xfd": ".zst"}
"""How compressed files begin."""
LIST = ".txt"


def compressed(path: Path) -> str | None:
    """Return the sentence about a tar that is compressed and not called so, None about others."""
    with path.open("rb") as file:
        head = file.read(8)
    ending = next((end for magic, end in MAGIC.items() if head.startswith(magic)), None)
    if ending is None:
        return None
    new = path.with_name(f"{path.stem}-unpacked.tar")
    typed = CONVERSIONS[ending].command.format(old=quoted(path), new=quoted(new))
    return (
        f"--data: {path} is compressed ({ending}); unpack it with {typed}, and name {quoted(new)}."
    )


def conversion(path: Path) -> str | None:
    """Return the sentence about a file that is not read itself; None for an unknown one."""
    if path.suffix.lower() == LINES:
        return _lines(path)
    if path.suffix.lower() == LIST:
        return _list(path)
    ending = next((end for end in CONVERSIONS if path.name.lower().endswith(end)), None)
    if ending is None:
        return None
    if ending.startswith(IDX_FILE):
        images = path.with_name(path.name.replace("labels", "images").replace("idx1", "idx3"))
        labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        if images == labels or not (images.is_file() and labels.is_file()):
            return (
                f"--data: {path} holds the images or the labels alone; put both into one folder, "
                f"under names such as t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, and name "
                f"one."
            )
        path = images
    return _converted(path, ending, CONVERSIONS[ending])


def _lines(path: Path) -> str:
    """Return the sentence about objects of JSON, one in a line, such as ``metadata.jsonl``."""
    with path.open("rb") as file:
        content = file.read(LARGEST_TABLE).removeprefix(codecs.BOM_UTF8)
    keys = dict.fromkeys(key for _, row in _objects(content) for key in row)
    told = next((printable(", ".join(row))[:120] for _, row in _objects(content)), "")
    picture, label = (next((key for key in known if key in keys), "") for known in (PATHS, LABELS))
    if not picture or not label:
        return (
            f"--data: {LINES} is not read; expected a CSV with the columns path and label, and the "
            f"first line of {path} has {f'the keys {told}' if told else 'no object'}; write such a "
            f"table."
        )
    said = [(at, _says(row, picture) and _says(row, label)) for at, row in _objects(content)]
    if lacking := [at for at, both in said if not both]:
        return (
            f"--data: {len(lacking):,} of {len(said):,} lines of {path} lack a path or a label "
            f"({picture} or {label}), the first is line {lacking[0]:,}; fill or remove them."
        )
    code = (
        "import sys, csv, json; "
        'd = [json.loads(s) for s in open(sys.argv[1], encoding="utf-8-sig") if s.strip()]; '
        'w = csv.writer(open(sys.argv[2], "w", newline="", encoding="utf-8")); '
        'w.writerow(("path", "label")); '
        f"w.writerows((r[{picture!r}], r[{label!r}]) for r in d)"
    )
    return _converted(path, LINES, _python(code, ".csv"))


def _list(path: Path) -> str | None:
    """Return the sentence about lines such as ``cat/1.png 3``; None where the first is no such."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_LINE).decode("utf-8-sig", "replace").strip()
    fields = line.split("\t") if "\t" in line else line.rsplit(None, 1)
    if len(fields) < 2 or Path(fields[0]).suffix.lower() not in SUFFIXES:
        return None
    code = (
        "import sys, csv; "
        'w = csv.writer(open(sys.argv[2], "w", newline="", encoding="utf-8")); '
        'w.writerow(("path", "label")); '
        r'w.writerows((s.split("\t") if "\t" in s else s.rsplit(None, 1))[:2] '
        'for s in map(str.strip, open(sys.argv[1], encoding="utf-8-sig")) if s)'
    )
    return _converted(path, path.suffix, _python(code, ".csv"))


def _objects(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line that is not blank; no object is an empty one."""
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            row: dict[str, Any] = {}
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                row = msgspec.json.decode(line, type=dict[str, Any])
            yield number, row


def _says(row: Mapping[str, Any], key: str) -> bool:
    """Return whether an object has a text or a number under a key."""
    value = row.get(key)
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int | float)


def _converted(path: Path, ending: str, known: Conversion) -> str:
    """Return the sentence with the command that converts a file whose name ends so."""
    stem = path.name[: -len(ending)].removesuffix(".tar")
    new = path.with_name(f"{stem}-converted{known.made}")
    typed = known.command.format(old=quoted(path), new=quoted(new))
    first = f"pip install {known.needs}, and " if known.needs else ""
    return (
        f"--data: {ending} is not read; where you trust the file, {first}convert it with {typed}, "
        f"and name {quoted(new)}."
    )


def rows_of_a_table(path: Path, count: int, labels: int) -> str | None:
    """Return the sentence about a table with the pixels of a picture in each row.

    Args:
        path: of the table, with commas between its columns.
        count: columns beside that of the labels.
        labels: the column of the labels, from 0.

    """
    if (shape := _shape(count)) is None:
        return None
    code = (
        'import sys, numpy; a = numpy.loadtxt(sys.argv[1], delimiter=",", skiprows=1); '
        f"y = a[:, {labels}].astype(int); "
        f'x = numpy.delete(a, {labels}, 1).astype("u1").reshape(-1, {shape}); {SAVE}'
    )
    return _rows(path, count, shape, code)


def rows_of_an_archive(path: Path, count: int, name: str) -> str | None:
    """Return the sentence about an ``.npz`` with the pixels of a picture in each row of an array.

    Args:
        path: of the archive.
        count: numbers in a row.
        name: of the array.

    """
    if (shape := _shape(count)) is None:
        return None
    code = (
        "import sys, numpy; d = dict(numpy.load(sys.argv[1])); "
        f"d[{json.dumps(name)}] = d[{json.dumps(name)}].reshape(-1, {shape}); "
        "numpy.savez(sys.argv[2], **d)"
    )
    return _rows(path, count, shape, code)


def _shape(count: int) -> str | None:
    """Return the shape of a square picture of so many numbers: grey, or three channels first."""
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if channels * side * side == count and side >= SMALLEST:
            return f"{side}, {side}" if channels == 1 else f"3, {side}, {side}"
    return None


def _rows(path: Path, count: int, shape: str, code: str) -> str:
    new = path.with_name(f"{path.stem}-pictures.npz")
    old, made = (quoted(one) for one in (path, new))
    return (
        f"--data: {path} has rows of {count:,} numbers; where they are pictures of shape "
        f"({shape}), make pictures of them with python -c {quoted(code)} {old} "
        f"{made}, and name {made}."
    )
