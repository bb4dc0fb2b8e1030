"""Files of pictures that are not read, and the command that makes something readable of each."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from unbackdoor.data.hidden import is_hidden
from unbackdoor.errors import printable
from unbackdoor.runtime.pictures import FORMATS, SUFFIXES

SMALLEST = 8
"""Side of a picture that a row of numbers may be."""
SAVE = "numpy.savez(sys.argv[2], x=x, y=y)"
TENSORS = (
    "import sys, torch, numpy; d = torch.load(sys.argv[1], weights_only=True); "
    "d = list(d.values() if isinstance(d, dict) else d); d.sort(key=lambda t: -t.ndim); "
    f"x, y = d[:2]; {SAVE}"
)
HDF5 = (
    "import sys, h5py, numpy; d = h5py.File(sys.argv[1]); "
    "numpy.savez(sys.argv[2], **{k: v[()] for k, v in d.items()})"
)
MATLAB = (
    "import sys, scipy.io, numpy; d = scipy.io.loadmat(sys.argv[1]); "
    f'x, y = d["X"].transpose(3, 0, 1, 2), d["y"].ravel() % 10; {SAVE}'
)
ARROW = (
    "import sys, pyarrow as p, pyarrow.parquet as q; "
    "q.write_table(p.ipc.open_stream(sys.argv[1]).read_all(), sys.argv[2])"
)
LINES = (
    "import sys, csv, json; d = [json.loads(s) for s in open(sys.argv[1])]; "
    'w = csv.writer(open(sys.argv[2], "w", newline="")); w.writerow(("path", "label")); '
    'w.writerows((r["file_name"], r["label"]) for r in d)'
)
IDX = (
    "import sys, gzip, numpy; from pathlib import Path as P; a = P(sys.argv[1]); "
    'b = a.with_name(a.name.replace("images", "labels").replace("idx3", "idx1")); '
    'c, d = ((gzip.open if p.suffix == ".gz" else open)(p, "rb").read() for p in (a, b)); '
    'x = numpy.frombuffer(c[16:], "u1").reshape(numpy.frombuffer(c[4:16], ">i4")); '
    f'y = numpy.frombuffer(d[8:], "u1"); {SAVE}'
)
SORTED = (
    "import sys, re, shutil, pathlib; "
    "[(d.mkdir(parents=True, exist_ok=True), shutil.copy(f, d)) "
    "for f in pathlib.Path(sys.argv[1]).iterdir() "
    'for d in [pathlib.Path(sys.argv[2], re.split(r"[_.-]?[0-9]", f.name)[0])] '
    'if f.is_file() and not f.name.startswith(".")]'
)
"""Copies pictures of one folder into a folder per class, which their names begin with."""

HEIC = frozenset({".heic", ".heif"})
PHONES = (
    "import sys, pathlib, pillow_heif; from PIL import Image, ImageOps; "
    "pillow_heif.register_heif_opener(); "
    '[ImageOps.exif_transpose(Image.open(f)).convert("RGB").save(f.with_name(f.name + ".png")) '
    'for f in pathlib.Path(sys.argv[1]).rglob("*") if f.suffix.lower() in (".heic", ".heif")]'
)
"""Writes a PNG beside each picture as phones make them."""


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
    return Conversion(f"python -c {_whole(shlex.quote(code))} {{old}} {{new}}", made, needs)


def _whole(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


CONVERSIONS = {
    ".pt": _python(TENSORS, ".npz"),
    ".pth": _python(TENSORS, ".npz"),
    ".h5": _python(HDF5, ".npz", "h5py"),
    ".hdf5": _python(HDF5, ".npz", "h5py"),
    ".mat": _python(MATLAB, ".npz", "scipy"),
    ".arrow": _python(ARROW, ".parquet", "pyarrow"),
    ".jsonl": _python(LINES, ".csv"),
    "-ubyte": _python(IDX, ".npz"),
    "-ubyte.gz": _python(IDX, ".npz"),
    ".tgz": Conversion("gunzip -c {old} > {new}", ".tar"),
    ".gz": Conversion("gunzip -c {old} > {new}", ".tar"),
    ".bz2": Conversion("bunzip2 -c {old} > {new}", ".tar"),
    ".xz": Conversion("xz -dc {old} > {new}", ".tar"),
    ".zst": Conversion("zstd -d {old} -o {new}", ".tar"),
    ".zip": Conversion("python -m zipfile -e {old} {new}", ""),
}
"""How names of such files end → what makes them readable."""


def conversion(path: Path) -> str | None:
    """Return the sentence about a file that is not read itself; None for an unknown one."""
    ending = next((end for end in CONVERSIONS if path.name.lower().endswith(end)), None)
    if ending is None:
        return None
    known = CONVERSIONS[ending]
    stem = path.name[: -len(ending)].removesuffix(".tar")
    new = path.with_name(f"{stem}-converted{known.made}")
    typed = known.command.format(old=shlex.quote(str(path)), new=shlex.quote(str(new)))
    first = f"pip install {known.needs}, and " if known.needs else ""
    return (
        f"--data: {ending} is not read; where you trust the file, {first}convert it with {typed}, "
        f"and name {printable(shlex.quote(str(new)))}."
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
    old, made = (printable(shlex.quote(str(one))) for one in (path, new))
    return (
        f"--data: {path} has rows of {count:,} numbers; where they are pictures of shape "
        f"({shape}), make pictures of them with python -c {printable(shlex.quote(code))} {old} "
        f"{made}, and name {made}."
    )


def copied(folder: Path) -> str:
    """Return how a folder is copied with the files that its links lead to, as part of a sentence.

    The copy lies beside the folder, also where that is the working folder (``.``).
    """
    beside = folder if folder.name not in {"", ".."} else folder.resolve()
    old, new = (printable(shlex.quote(str(one))) for one in (folder, f"{beside}-copied"))
    return f"copy the files themselves with cp -rL {old} {new}, and name {new}"


def saved_otherwise(suffixes: Collection[str], folder: str) -> str:
    """Return how pictures become ones that are read, as the middle of a sentence.

    Args:
        suffixes: of the pictures.
        folder: that holds them, as it is typed.

    """
    if HEIC.isdisjoint(suffixes):
        return f"save them in one of {', '.join(FORMATS)}"
    return (
        f"pip install pillow-heif, write PNGs beside them with python -c {shlex.quote(PHONES)} "
        f"{folder}, and move the old ones elsewhere"
    )


def without_classes(folder: Path, read: Collection[str]) -> str | None:
    """Return the sentence about a folder that has no folders in it, but files that could be meant.

    Args:
        folder: that was named.
        read: how names of files end that are read.

    """
    shown = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    if any(path.is_dir() for path in shown):
        return None
    endings = (*read, *CONVERSIONS)
    meant = [path for path in shown if path.name.lower().endswith(endings)]
    meant.sort(key=lambda path: ("label" in path.name, path.name))
    if meant:
        return (
            f"--data: {folder} has no folder per class, but files such as "
            f"{printable(meant[0].name)}; name the file, such as --data "
            f"{printable(shlex.quote(str(meant[0])))}."
        )
    count = sum(path.suffix.lower() in SUFFIXES for path in shown)
    if not count:
        return None
    old, new = (shlex.quote(f"{folder}{end}") for end in ("", "-by-class"))
    return (
        f"--data: {folder} has {count:,} pictures and no folder per class; where their names begin "
        f"with the class (cat_1.png), copy them into such folders with python -c "
        f"{shlex.quote(SORTED)} {printable(old)} {printable(new)}, and name {printable(new)}."
    )
