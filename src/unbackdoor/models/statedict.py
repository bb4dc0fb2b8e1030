"""State dicts of ``torch.save``: a checked container, a pickle read statically, then the tensors.

The container is either a zip archive of uncompressed members (torch 1.6 and later) or a row of
pickles with the storages behind them. What is in it goes through :mod:`unbackdoor.models.pickles`
first and through ``torch.load(weights_only=True)`` after that; no other unpickler is ever asked.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Sequence
from io import SEEK_END, BytesIO
from pathlib import Path
from shlex import quote
from typing import BinaryIO, TypeGuard, cast

import torch
from torch import Tensor

from unbackdoor.errors import ContentError, brief, listed, printable
from unbackdoor.models.contents import SUFFIXES
from unbackdoor.models.pickles import strict
from unbackdoor.models.pickles.reduced import Reduced, reduced
from unbackdoor.runtime.files import solid_bytes

LARGEST_DIRECTORY = 8 << 20
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
END, END_BYTES = b"PK\x05\x06", 22
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20
END64, END64_BYTES = b"PK\x06\x06", 56
UNSAID = 0xFFFFFFFF
"""In an end record: the number stands in the larger record before it."""
OPTIMIZERS = {
    "optim",
    "opt",
    "optimizer",
    "optimizers",
    "optimizer_state",
    "optimizer_states",
    "optimizer_state_dict",
}
"""Under these keys trainers keep what torch's optimizers remember."""
PROGRAM = (
    "it has the code of a TorchScript program, which is never executed; where you trust it, python "
    "-c \"import sys, torch; torch.save(torch.jit.load(sys.argv[1], 'cpu').state_dict(), "
    'sys.argv[2])" {program} {state} makes a state dict of it, to be read with the --arch that it '
    "was made from"
)
OLD_PROGRAM = (
    "; it is a program of PyTorch before 1.4 (model.json), of which torch 2 says “Legacy model "
    "format is not supported”, so type this with a version of its time"
)
CHECKPOINTS = {*SUFFIXES, ".onnx", ".h5", ".keras"}
"""Ends of the names of checkpoints."""
ALONE = (
    "import sys, torch; file, name, alone = sys.argv[1:]; "
    "torch.save(torch.load(file, 'cpu', weights_only=True)[name], alone)"
)
"""Saves one of several state dicts."""
LEGACY_PICKLES = 4
"""In a file without a container: magic number, protocol, system, tensors; then the keys."""
COUNT_BYTES = 8
"""Before the data of each storage there: how many numbers it has."""


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file and a sentence about what they were wrapped in, or nothing.

    Raises:
        ContentError: it is no state dict, a damaged one, or a file that wants to execute code.

    """
    what = f"MODEL: {path}"
    with path.open("rb") as file:
        checked, pickled = _checked(file, path.stat().st_size, solid_bytes(path), what)
        checked.seek(0)
        try:
            content: object = torch.load(checked, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler raises whatever a damaged file makes it raise
            raise ContentError(
                f"{what} is not a state dict that can be read ({brief(error)}); save "
                f"model.state_dict() anew."
            ) from error
    state, note = _unwrapped(content, what)
    return state, "; ".join(filter(None, (note, *_told(pickled))))


def _told(pickled: Reduced) -> Iterator[str]:
    """Say what stood in a file that is more than tensors."""
    if pickled.networks:
        classes = listed(pickled.networks, strict.LISTED)
        yield f"it holds a whole network of class {classes}, of which only the tensors were read"
    if pickled.aside:
        names = listed(pickled.aside, strict.LISTED)
        yield f"tensors that are in no state dict were left out ({names})"
    if pickled.left:
        kinds = [f"{count} {kind}" for kind, count in sorted(pickled.left.items())]
        yield f"values beside the tensors were left out ({listed(kinds, strict.LISTED)})"


def _checked(file: BinaryIO, size: int, written: int, what: str) -> tuple[BinaryIO, Reduced]:
    """Return the checked file for torch: a pickle of tensors that are no larger than its data.

    With it comes the pickle as it was reduced.
    """
    first = file.read(4)
    if written < size:
        raise ContentError(
            f"{what} has {size:,} bytes, of which only {written:,} were ever written; copy or "
            f"fetch it anew."
        )
    if first == ZIP:
        declared, checked, pickled = _check_zip(file, size, what)
    elif first.startswith(PICKLE):
        declared, checked, pickled = _check_row(file, what)
    else:
        raise ContentError(
            f"{what} is not a plain state dict: it begins neither as a zip archive nor as a "
            f"pickle; save model.state_dict() with torch.save."
        )
    if declared > size:
        raise ContentError(
            f"{what} declares tensors of {declared:,} bytes and has {size:,}; fetch or save it "
            f"anew."
        )
    return checked, pickled


def _check_row(file: BinaryIO, what: str) -> tuple[int, BinaryIO, Reduced]:
    """Return the same of a file without a container; see :func:`_check_zip`.

    If its pickle was reduced, some of its storages belong to nothing, and an archive is made of the
    others.
    """
    file.seek(0)
    content = BytesIO(file.read(strict.MOST_BYTES))
    declared = dict[str, int]()
    for _ in range(LEGACY_PICKLES - 1):
        declared |= strict.read(content, what).storages
    begin = content.tell()
    pickled = reduced(content, what)
    whole = content.getvalue()[begin : content.tell()]
    declared |= strict.read(BytesIO(pickled.content), what).storages
    keys = strict.read_keys(content, what)
    if pickled.content == whole:
        return sum(declared.values()), file, pickled
    room = file.seek(0, SEEK_END) - file.seek(content.tell())
    sizes = {key: count * each for key, (count, each) in pickled.storages.items()}
    if len(set(keys)) < len(keys) or not all(key.isascii() and key.isdigit() for key in keys):
        raise ContentError(f"{what} names its storages as torch.save does not; save it anew.")
    if set(keys) - sizes.keys() or sum(sizes[key] + COUNT_BYTES for key in keys) > room:
        raise ContentError(f"{what} breaks off before its tensors end; fetch or save it anew.")
    rebuilt = BytesIO()
    with _fresh(rebuilt, pickled.content) as fresh:
        for key in keys:
            count, data = file.read(COUNT_BYTES), file.read(sizes[key])
            if _number(count, 0, COUNT_BYTES) != pickled.storages[key][0]:
                raise ContentError(f"{what} has storages of two sizes; fetch or save it anew.")
            if key in declared:
                fresh.writestr(f"archive/data/{key}", data)
    return sum(declared.values()), rebuilt, pickled


def _check_zip(file: BinaryIO, size: int, what: str) -> tuple[int, BinaryIO, Reduced]:
    """Return the bytes that the pickle declares, an archive of it and its storages, and what not.

    The pickle is reduced to its tensors before it is read.

    The archive is written anew, because two readers of zip archives need not find the same members
    in one file: torch looks them up without regard to case, and where the end record says.
    """
    try:
        _check_directory(file, size)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            whole = archive.read(_pickle_of(members, Path(file.name), size))
            pickled = reduced(BytesIO(whole), what)
            declared = strict.read(BytesIO(pickled.content), what).storages
            rebuilt = _rebuilt(archive, members, pickled.content, declared)
    except ContentError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ContentError(
            f"{what} is not a plain state dict: its zip archive has {brief(error)}; save "
            f"model.state_dict() anew."
        ) from error
    return sum(declared.values()), rebuilt, pickled


def _rebuilt(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    content: bytes,
    storages: Container[str],
) -> BinaryIO:
    """Return an archive of the pickle that was read, and of the members that it refers to."""
    rebuilt = BytesIO()
    with _fresh(rebuilt, content) as fresh:
        for member in members:
            name = member.filename.partition("/")[2]
            if name == "byteorder" or (name[:5] == "data/" and name[5:] in storages):
                fresh.writestr(f"archive/{name}", archive.read(member))
    return rebuilt


def _fresh(file: BinaryIO, content: bytes) -> zipfile.ZipFile:
    """Return an archive for torch, with its pickle in it and room for the storages."""
    fresh = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
    fresh.writestr("archive/data.pkl", content)
    fresh.writestr("archive/version", "3\n")
    return fresh


def _check_directory(file: BinaryIO, size: int) -> None:
    """Raise unless the directory of members is small and lies right before the end of the file.

    Where it lies is said twice, by the end record and by the place of that record itself, and
    readers differ in which of the two they follow.
    """
    tail_bytes = END_BYTES + LOCATOR_BYTES + END64_BYTES
    file.seek(max(size - tail_bytes, 0))
    tail = file.read(tail_bytes)
    end = tail[-END_BYTES:]
    if not end.startswith(END) or end[-2:] != b"\0\0":
        raise ValueError("something behind its end")
    length, offset, behind = _number(end, 12, 4), _number(end, 16, 4), size - END_BYTES
    large = tail[: END64_BYTES + LOCATOR_BYTES]
    if large[END64_BYTES:].startswith(LOCATOR):
        behind = size - tail_bytes
        if not large.startswith(END64) or _number(large, END64_BYTES + 8, 8) != behind:
            raise ValueError("two ends")
        short, (length, offset) = (length, offset), (_number(large, 40, 8), _number(large, 48, 8))
        if any(a not in {b, UNSAID} for a, b in zip(short, (length, offset), strict=True)):
            raise ValueError("a directory of two sizes or at two places")
    if length > LARGEST_DIRECTORY:
        raise ValueError(f"a directory of {length:,} bytes")
    if offset + length != behind:
        raise ValueError("a directory that does not lie right before its end")


def _number(content: bytes, at: int, length: int) -> int:
    return int.from_bytes(content[at : at + length], "little")


def _pickle_of(members: list[zipfile.ZipInfo], path: Path, size: int) -> zipfile.ZipInfo:
    """Return the member that holds the pickle, once every member is what torch.save writes."""
    names = [member.filename for member in members]
    folders = {name.partition("/")[0] for name in names}
    parts = {part for name in names for part in name.split("/")}
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError("a member that stands twice in it")
    if len(folders) > 1 and parts.isdisjoint({"data.pkl", "constants.pkl"}):
        raise ContentError(_of_other_files(names, path))
    if len(folders) != 1 or parts & {"", ".."} or any("\\" in name for name in names):
        raise ValueError("members outside one folder")
    (folder,) = folders
    if f"{folder}/constants.pkl" in names or f"{folder}/code" in {
        n.rpartition("/")[0] for n in names
    }:
        old = OLD_PROGRAM if f"{folder}/model.json" in names else ""
        raise ContentError(f"MODEL: {path} is not a plain state dict: {_command(path)}{old}.")
    if any(member.compress_type or member.flag_bits & 1 for member in members):
        raise ValueError("members that are compressed or encrypted, as torch.save writes none")
    if any(member.file_size != member.compress_size for member in members):
        raise ValueError("members of two sizes")
    if sum(member.file_size for member in members) > size:
        raise ValueError("members that are larger than the file")
    found = [member for member in members if member.filename == f"{folder}/data.pkl"]
    if not found:
        raise ContentError(_of_other_files(names, path))
    if found[0].file_size > strict.MOST_BYTES:
        raise ValueError(f"no data.pkl of at most {strict.MOST_BYTES >> 20} MiB")
    return found[0]


def _of_other_files(names: list[str], path: Path) -> str:
    """Return what a zip archive is that torch.save did not write, such as a package of Python."""
    checkpoints = [name for name in names if Path(name).suffix.lower() in CHECKPOINTS]
    folder = path.with_name(f"{path.stem}-files")
    remedy = "fetch it again, or save model.state_dict() anew"
    if checkpoints:
        unpack = f"python -m zipfile -e {quote(str(path))} {quote(str(folder))}"
        remedy = f"unpack them by {unpack}, and name the checkpoint among them"
    return (
        f"MODEL: {path} is not a plain state dict: its zip archive has no data.pkl, which "
        f"torch.save puts into each, but other files ({listed(checkpoints or names, 3)}); {remedy}."
    )


def _command(path: Path) -> str:
    """Return what makes a state dict of a TorchScript program."""
    state = path.with_name(f"{path.stem}-state.pt")
    return PROGRAM.format(program=quote(str(path)), state=quote(str(state)))


def _unwrapped(content: object, what: str) -> tuple[dict[str, Tensor], str]:
    """Return the one state dict that is in what a file holds, and where it was."""
    if _is_state(content):
        return content, ""
    entries = cast("dict[object, object]", content) if isinstance(content, dict) else {}
    wrapped = [(key, value) for key, value in entries.items() if _is_state(value)]
    if len(wrapped) > 1:
        names = ", ".join(sorted(printable(str(key))[:80] for key, _ in wrapped))
        raise ContentError(
            f"{what} holds several state dicts ({names}), and the one that was not scanned could "
            f"be the one that is deployed; save the one that you use alone{_alone(wrapped, what)}."
        )
    for name, state in wrapped:
        for key, value in entries.items():
            if value is not state and not _is_optimizer(key, value) and _holds_tensors(value):
                raise ContentError(
                    f"{what} holds tensors under {printable(str(key))[:80]!r} beside the state "
                    f"dict under {printable(str(name))[:80]!r}, and they could be what is "
                    f"deployed; save the state dict that you use alone."
                )
        return state, f"the tensors were under {printable(str(name))!r} in the file"
    listed = sorted(
        printable(str(key))[:80] for key, value in entries.items() if _are_states(value)
    )
    if listed or _are_states(cast("object", content)):
        where = f" under {listed[0]!r}" if listed else ""
        raise ContentError(
            f"{what} holds a list of state dicts{where}, of several networks that answer together; "
            f"save the state dict of the one that you use alone."
        )
    raise ContentError(
        f"{what} does not hold a state dict (names → dense tensors); save model.state_dict() "
        f"instead."
    )


def _alone(wrapped: Sequence[tuple[object, object]], what: str) -> str:
    """Return what saves the first of several state dicts beside the file, if that can be typed."""
    key, path = wrapped[0][0], Path(what.removeprefix("MODEL: "))
    if not isinstance(key, str) or printable(key) != key:
        return ""
    typed = [str(path), key, str(path.with_name(f"{path.stem}-alone.pt"))]
    return f", such as by python -c {quote(ALONE)} {' '.join(map(quote, typed))} for {key!r}"


def _are_states(value: object) -> bool:
    """Return whether a value is a list of state dicts."""
    items = cast("list[object]", value) if isinstance(value, list | tuple) else []
    return bool(items) and all(_is_state(item) for item in items)


def _is_optimizer(key: object, value: object) -> bool:
    """Return whether an entry is what optimizers of torch keep: numbers → averages, and groups."""
    if key not in OPTIMIZERS:
        return False
    for part in cast("list[object]", value) if isinstance(value, list) else [value]:
        fields = cast("dict[object, object]", part) if isinstance(part, dict) else {}
        state = fields.get("state")
        if set(fields) != {"state", "param_groups"} or not isinstance(state, dict):
            return False
        if not all(isinstance(number, int) for number in cast("dict[object, object]", state)):
            return False
    return True


def _holds_tensors(value: object) -> bool:
    """Return whether there is a tensor of more than one number in a value, at any depth."""
    waiting, seen = [value], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            if item.numel() > 1:
                return True
        elif id(item) not in seen:
            seen.add(id(item))  # a file may hold one list a million times, or in itself
            if isinstance(item, dict):
                waiting += cast("dict[object, object]", item).values()
                if isinstance(item, OrderedDict):
                    waiting += vars(cast("object", item)).values()
            elif isinstance(item, list | tuple):
                waiting += cast("Iterable[object]", item)
    return False


def _is_state(content: object) -> TypeGuard[dict[str, Tensor]]:
    entries = cast("dict[object, object]", content) if isinstance(content, dict) else {}
    return bool(entries) and all(
        isinstance(key, str) and isinstance(value, Tensor) and _is_plain(value)
        for key, value in entries.items()
    )


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_nested
    )
