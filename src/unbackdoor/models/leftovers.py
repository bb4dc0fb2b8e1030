"""What trainers keep beside tensors: known values that are none, taken out of a pickle unmade.

Numbers of numpy, settings of argparse and their like stand in many checkpoints. :func:`without`
follows a pickle as :mod:`unbackdoor.models.pickles` does, without running it, and replaces the
instructions that would make such a value by ones that make nothing: a tuple of the texts that stand
in them (other parts may refer to those), or an ordered dictionary for a dictionary-like value. What
it returns is a pickle like any other. It is read as strictly as one that came so, and nothing that
this module thinks harmless is ever imported or called.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast

from unbackdoor.models.imports import GETS, MARK, MOST_INSTRUCTIONS, UNKNOWN, path_of

SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
SCALAR, DTYPE, ENCODE = "numpy scalar", "numpy.dtype", "_codecs.encode"
NUMBERS = re.compile(r"[biufc](1|2|4|8|16)")
"""Types of numbers of numpy; one of objects is a pickle inside the pickle."""
DEVICE = "torch.device"
PATHS = {f"pathlib.{kind}Path" for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")}
KINDS = {
    f"torch.{kind}"
    for kind in ("float16", "float32", "float64", "bfloat16", "int32", "int64", "uint8", "bool")
}
NAMESPACE, DEFAULTS = "argparse.Namespace", "collections.defaultdict"
FACTORIES = {
    f"{module}.{name}"
    for module in ("__builtin__", "builtins")
    for name in ("list", "dict", "int", "float", "str")
}
PARTS = SCALARS | {DTYPE, ENCODE, DEVICE} | PATHS | FACTORIES
"""Names that stand inside of what is taken out."""
ORDERED_DICT = b"ccollections\nOrderedDict\n"
LITERALS = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINSTRING"),
}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = {"BINPUT", "LONG_BINPUT"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


@dataclass(frozen=True)
class _Name:
    path: str


@dataclass(frozen=True)
class _Call:
    path: str
    arguments: tuple[object, ...]
    state: object = None


@dataclass(frozen=True)
class _Term:
    """A value on the stack, and where the instructions that make it begin."""

    at: int
    value: object


@dataclass
class _Reader:
    """A stack of literals and of calls that are written down, and what is to be replaced."""

    stack: list[_Term] = field(default_factory=list[_Term])
    memo: dict[object, object] = field(default_factory=dict[object, object])
    texts: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    edits: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])
    left: Counter[str] = field(default_factory=Counter[str])
    unclean: int = -1
    """Where the last instruction stood that may do more than make a known value."""

    def step(self, code: Any, argument: Any, at: int, end: int) -> None:
        """Follow the instruction between two places."""
        name: str = code.name
        if name in LITERALS:
            self._push(at, CONSTANTS.get(name, argument))
        elif name == "MARK":
            self._push(at, MARK)
        elif name in GETS:
            self._push(at, self.memo.get(argument, UNKNOWN))
        elif name in PUTS:
            self._put(argument, at)
        elif name in TUPLES or name == "TUPLE":
            count = TUPLES[name] if name in TUPLES else self._above_mark()
            items = self._take(count)
            begins = [self.stack.pop().at] if name == "TUPLE" else [item.at for item in items]
            self._push(min([at, *begins]), tuple(item.value for item in items))
        elif name == "GLOBAL":
            self._name(path_of(argument), at, end)
        elif name == "REDUCE":
            self._call(at, end)
        elif name == "NEWOBJ":
            self._new(at, end)
        elif name == "BUILD":
            self._build(at)
        else:
            self.unclean = at
            self._other(code, at)

    def _name(self, path: str, at: int, end: int) -> None:
        if path in KINDS:
            self._replace(at, end, "torch.dtype")
            return
        if path in {NAMESPACE, DEFAULTS}:
            self.edits.append((at, end, ORDERED_DICT))
        if path not in PARTS:
            self.unclean = at
        self._push(at, _Name(path))

    def _call(self, at: int, end: int) -> None:
        called, given = self._take(2)
        if not isinstance(called.value, _Name) or not isinstance(given.value, tuple):
            self.unclean = at
            self._push(called.at, UNKNOWN)
            return
        arguments = cast("tuple[object, ...]", given.value)
        call = _Call(called.value.path, arguments)
        if called.value.path == DEFAULTS and self.unclean < given.at and _is_factory(arguments):
            self.edits.append((given.at, at, b")"))
            self.left[DEFAULTS] += 1
        elif (what := _left(call)) and self.unclean < called.at:
            self._replace(called.at, end, what)
            return
        if not _is_part(call):
            self.unclean = at
        self._push(called.at, call)

    def _new(self, at: int, end: int) -> None:
        kind, given = self._take(2)
        if kind.value == _Name(NAMESPACE) and given.value == ():
            self.edits.append((at, end, b"R"))
            self.left[NAMESPACE] += 1
        self.unclean = at
        self._push(kind.at, UNKNOWN)

    def _build(self, at: int) -> None:
        made, state = self._take(2)
        value = made.value
        if isinstance(value, _Call) and value.path == DTYPE and _is_of_numbers(state.value):
            self._push(made.at, _Call(DTYPE, value.arguments, state.value))
            return
        self.unclean = at
        self._push(made.at, UNKNOWN)

    def _put(self, key: object, at: int) -> None:
        value = self.stack[-1].value
        if key in self.memo:  # another value under this number would be left behind
            self.unclean = at
        self.memo[key] = value
        if isinstance(value, str) and isinstance(key, int):
            self.texts.append((at, key, value))

    def _replace(self, begin: int, end: int, what: str) -> None:
        """Put a tuple of the texts that are kept between two places into their place."""
        kept = [(key, text) for at, key, text in self.texts if begin <= at < end]
        made = b"".join(_text(text) + b"r" + struct.pack("<I", key) for key, text in kept)
        self.edits.append((begin, end, b"(" + made + b"t"))
        self.left[what] += 1
        self._push(begin, UNKNOWN)

    def _other(self, code: Any, at: int) -> None:
        """Take as many values as any other instruction does, and leave as many."""
        before = list(code.stack_before)
        if pickletools.stackslice in before:
            before = before[: before.index(pickletools.markobject)]
            self._take(self._above_mark())
            self.stack.pop()
        taken = self._take(len(before))
        begin = min([at, *(term.at for term in taken)])
        for _ in code.stack_after:
            self._push(begin, UNKNOWN)

    def _push(self, at: int, value: object) -> None:
        self.stack.append(_Term(at, value))

    def _take(self, count: int) -> list[_Term]:
        if len(self.stack) < count:
            raise ValueError("too few values on the stack")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _above_mark(self) -> int:
        for count, term in enumerate(reversed(self.stack)):
            if term.value is MARK:
                return count
        raise ValueError("no mark on the stack")


def without(content: BytesIO) -> tuple[bytes, Counter[str]]:
    """Return one pickle without known values that are no tensors, and how many of each were there.

    A pickle that cannot be followed, or has none of them, is returned as it is.

    Args:
        content: at the start of a pickle; it is left behind it, or at its end.

    """
    start = content.tell()
    reader = _Reader()
    try:
        previous: tuple[Any, Any, int] | None = None
        instructions = cast("Iterator[tuple[Any, Any, int]]", pickletools.genops(content))
        for number, (code, argument, at) in enumerate(instructions):
            if number >= MOST_INSTRUCTIONS:
                return _as_it_is(content, start)
            if previous is not None:
                reader.step(*previous, at)
            previous = (code, argument, at)
    except (ValueError, IndexError, TypeError, UnicodeError):
        return _as_it_is(content, start)
    end = content.tell()
    content.seek(start)
    whole = content.read(end - start)
    if not reader.left:
        return whole, Counter()
    parts, behind = list[bytes](), 0
    for begin, stop, made in sorted(reader.edits):
        parts += [whole[behind : begin - start], made]
        behind = stop - start
    return b"".join([*parts, whole[behind:]]), reader.left


def _as_it_is(content: BytesIO, start: int) -> tuple[bytes, Counter[str]]:
    content.seek(start)
    return content.read(), Counter()


def _left(call: _Call) -> str | None:
    """Return what a call makes, where it is a value that is taken out."""
    texts = [value for value in call.arguments if isinstance(value, str)]
    if call.path in SCALARS and len(call.arguments) == 2:
        kind, number = call.arguments
        known = isinstance(kind, _Call) and kind.path == DTYPE and kind.state is not None
        held = isinstance(number, _Call) and number.path == ENCODE
        return SCALAR if known and held else None
    if call.path == DEVICE and call.arguments and texts == [*call.arguments[:1]]:
        plain = all(type(value) is int for value in call.arguments[1:])
        return DEVICE if plain and len(call.arguments) <= 2 else None
    if call.path in PATHS and len(texts) == len(call.arguments):
        return "pathlib.Path"
    return None


def _is_part(call: _Call) -> bool:
    """Return whether a call makes a part of a number of numpy: its type, or its bytes."""
    match call.arguments:
        case (str(code), 0, 1):
            return call.path == DTYPE and NUMBERS.fullmatch(code) is not None
        case (str(), "latin1"):
            return call.path == ENCODE
        case _:
            return False


def _is_of_numbers(state: object) -> bool:
    """Return whether a type's state is that of plain numbers: no fields, no shape, no hooks."""
    match state:
        case (3, "<" | ">" | "=" | "|", None, None, None, -1, -1, 0):
            return True
        case _:
            return False


def _is_factory(arguments: tuple[object, ...]) -> bool:
    return len(arguments) <= 1 and all(
        isinstance(value, _Name) and value.path in FACTORIES for value in arguments
    )


def _text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content
