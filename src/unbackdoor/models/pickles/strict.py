"""A pickle read without being run: what it wants to import, and which storages it declares.

A pickle is a program for a machine with a stack. :func:`read` keeps the stack and builds nothing:
only the instructions and names that a state dict consists of are known, and everything else is
refused. That is a list of what is allowed. Scanners that list what is forbidden (picklescan) or
translate the program into Python (fickling) have been bypassed again and again. A short list of
allowed names cannot be bypassed by a name that it lacks. Behind it stands
``torch.load(weights_only=True)``, whose own list is wider than tensors need: it lets a file ask for
memory (``bytearray``, ``torch.Tensor``) and for dictionary keys that take exponential time to hash.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import cast

from unbackdoor.errors import ContentError, listed, printable
from unbackdoor.models.pickles.imports import HIDDEN, MOST_INSTRUCTIONS, imports, path_of
from unbackdoor.models.pickles.stack import Stack, Unknown

MOST_BYTES = 8 << 20
QUANTISED = re.compile(
    r"torch\.(_utils\._rebuild_qtensor|per_(tensor|channel)_affine\w*|q\w+|Q\w+Storage"
    r"|(ao\.)?nn\.(intrinsic\.)?(quantized|qat)\.[\w.]+)"
)
OF_NETWORKS = re.compile(
    r"torch\.(nn\.[\w.]+|ScriptObject)|__main__\.\w+|(__builtin__|builtins)\.set"
)
"""What a whole network names too that is read; beside quantised parts it is not why one is not."""
LISTED = 4
LARGEST_KEY, LONGEST_NAME = 1 << 60, 1_000

STORAGES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
"""Bytes of an element, by the storage's name."""

ORDERED_DICT = "collections.OrderedDict"
CALLED = {
    ORDERED_DICT,
    "torch._utils._rebuild_tensor",  # before torch 0.4
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
}
NAMED = CALLED | {f"torch.{name}" for name in STORAGES}

KEYS = {
    "PROTO",
    "EMPTY_LIST",
    "MARK",
    "BINUNICODE",
    "SHORT_BINSTRING",
    "BINPUT",
    "LONG_BINPUT",
    "APPEND",
    "APPENDS",
    "STOP",
}
"""Instructions of a list of texts."""


@dataclass(frozen=True)
class Pickle:
    """What a pickle of tensors declares.

    Args:
        storages: bytes of each storage, by its key.

    """

    storages: dict[str, int]


@dataclass(frozen=True)
class Name:
    """A name that a pickle would import."""

    path: str


DICT, LIST, OTHER = object(), object(), object()
"""What is on the stack where its kind is all that matters."""


@dataclass
class _Machine:
    """A stack of what is known: numbers, texts, tuples, names, and marks for all else."""

    stack: Stack = field(default_factory=Stack)
    storages: dict[str, int] = field(default_factory=dict[str, int])

    def step(self, instruction: str, argument: object) -> None:
        """Follow one instruction."""
        stack = self.stack
        if stack.step(instruction, argument):
            return
        match instruction:
            case "STOP":
                stack.last(1)
            case "EMPTY_LIST":
                stack.push(LIST)
            case "EMPTY_DICT":
                stack.push(DICT)
            case "APPEND" | "APPENDS":
                stack.last(1) if instruction == "APPEND" else stack.since_mark()
                if stack.top is not LIST:
                    raise Unknown("elements of something else than a list")
            case "SETITEM" | "SETITEMS":
                items = stack.last(2) if instruction == "SETITEM" else stack.since_mark()
                if stack.top is not DICT or len(items) % 2:
                    raise Unknown("items of something else than a dictionary")
                if not all(map(is_key, items[::2])):
                    raise Unknown("a key that is neither a text nor a number")
            case "GLOBAL":
                if (path := path_of(argument)) not in NAMED:
                    raise Unknown(f"the name {path}")
                stack.push(Name(path))
            case "REDUCE":
                self._call(*stack.last(2))
            case "BUILD":
                (state,) = stack.last(1)
                if stack.top is not DICT or state is not DICT:
                    raise Unknown("a state of something else than a dictionary")
            case "BINPERSID":
                self._declare(*stack.last(1))
            case _:
                raise Unknown(f"the instruction {instruction}")

    def _call(self, called: object, arguments: object) -> None:
        """Push the result of a known function, called with arguments that cannot make it large."""
        if not isinstance(called, Name) or called.path not in CALLED:
            raise Unknown("a call of something that is no name")
        plain = called.path == ORDERED_DICT
        if not isinstance(arguments, tuple) or (plain and arguments):
            raise Unknown(f"such arguments of {called.path}")
        self.stack.push(DICT if plain else OTHER)

    def _declare(self, identity: object) -> None:
        """Note a storage."""
        key, count, each = storage_of(identity)
        size = count * each
        if self.storages.setdefault(key, size) != size:
            raise Unknown("a storage of two sizes")
        self.stack.push(OTHER)


def is_key(value: object) -> bool:
    """Return whether a value may be a key: a text or a number, of which few have one hash."""
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < LARGEST_KEY)


def storage_of(identity: object) -> tuple[str, int, int]:
    """Return key, elements and bytes of each of ("storage", type, key, device, elements).

    Raises:
        Unknown: it is something else.

    """
    fields = list(cast("tuple[object, ...]", identity) if isinstance(identity, tuple) else ())
    if not 5 <= len(fields) <= 6 or fields[0] != "storage":
        raise Unknown("a storage without a description")
    kind, key, count = fields[1], fields[2], fields[4]
    size = STORAGES.get(kind.path.removeprefix("torch.")) if isinstance(kind, Name) else None
    if size is None or not isinstance(key, str):
        raise Unknown("a storage of no known kind")
    if type(count) is not int or count < 0:
        raise Unknown("a storage without a size")
    return key, count, size


def read(content: BytesIO, what: str) -> Pickle:
    """Follow one pickle to its end and return what it declares; the file is left behind it.

    Args:
        content: at the start of a pickle.
        what: the file, as a sentence about it begins.

    Raises:
        ContentError: it wants to import something, or is not a pickle of tensors.

    """
    machine = _Machine()
    _follow(content, what, machine.step)
    return Pickle(machine.storages)


def read_keys(content: BytesIO, what: str) -> list[str]:
    """Return the names of the storages that follow: one list, of texts alone.

    Args:
        content: at the start of a pickle.
        what: the file, as a sentence about it begins.

    Raises:
        ContentError: it is something else.

    """
    lists, keys = 0, list[str]()

    def step(instruction: str, argument: object) -> None:
        nonlocal lists
        lists += instruction == "EMPTY_LIST"
        if isinstance(argument, str):
            keys.append(argument)
        if instruction not in KEYS or lists > 1:
            raise Unknown(f"the instruction {instruction} in the list of its storages")

    _follow(content, what, step)
    return keys


def _follow(content: BytesIO, what: str, step: Callable[[str, object], None]) -> None:
    """Hand the instructions of one pickle on; the sentence names what it would import."""
    start = content.tell()
    try:
        for name, argument in instructions(content):
            step(name, argument)
    except (Unknown, ValueError, IndexError, TypeError, UnicodeError) as error:
        content.seek(start)
        raise ContentError(_refusal(what, error, imports(content))) from error


def _refusal(what: str, error: Exception, wanted: list[str]) -> str:
    foreign = [name for name in wanted if name not in NAMED]
    others = [name for name in foreign if not QUANTISED.fullmatch(name)]
    if len(others) < len(foreign) and all(OF_NETWORKS.fullmatch(name) for name in others):
        return (
            f"{what} holds quantised tensors or layers, whose numbers stand for others, so it is "
            f"not read; give the network as it was before it was quantised, or export it as .onnx "
            f"with weights of floating-point numbers."
        )
    if not foreign:
        return (
            f"{what} is not a pickle of tensors that can be followed "
            f"({printable(str(error)) or type(error).__name__}); save model.state_dict() anew."
        )
    remedy = (
        "ask whoever made it for model.state_dict() alone as .safetensors"
        if HIDDEN in foreign
        else "where you trust it, open it there and save model.state_dict() alone, best as "
        ".safetensors"
    )
    foreign.sort(key=lambda name: bool(OF_NETWORKS.fullmatch(name) or QUANTISED.fullmatch(name)))
    return (
        f"{what} wants to import {listed(foreign, LISTED)} while it is opened, which a state dict "
        f"of dense tensors does not need and which could execute code, so it was not opened; "
        f"{remedy}."
    )


def instructions(content: BytesIO) -> Iterator[tuple[str, object]]:
    """Iterate over the instructions of a pickle and their arguments, running none of them.

    Raises:
        Unknown: there are too many.
        ValueError: it is no pickle.

    """
    for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        if number >= MOST_INSTRUCTIONS:
            raise Unknown("more instructions than a state dict has")
        yield instruction.name, argument
