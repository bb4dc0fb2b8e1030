"""A pickle followed with a stand-in for each object, so that nothing that it names is imported.

Unlike :mod:`unbackdoor.models.pickles.strict`, which knows tensors alone, this machine holds what
stands where: a class may be instantiated, because that makes a stand-in. Functions are followed
only if they make one of the known values. A class that is called with a single text or number is
how the member of an enumeration is written: it counts as a value without parts. No function of a
file's own choice is called, not even in appearance, and no name of Python's own library may stand
in it without need.
"""

from __future__ import annotations

import re
import sys
from io import BytesIO
from typing import Any, cast

from unbackdoor.models.pickles.imports import path_of
from unbackdoor.models.pickles.stack import Stack, Unknown
from unbackdoor.models.pickles.standins import Made, Object, Storage, Table
from unbackdoor.models.pickles.strict import (
    CALLED,
    LONGEST_NAME,
    NAMED,
    ORDERED_DICT,
    Name,
    instructions,
    is_key,
    storage_of,
)

SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
SCALAR, DTYPE, ENCODE = "numpy scalar", "numpy.dtype", "_codecs.encode"
NUMBERS = re.compile(r"[biufc](1|2|4|8|16)")
"""Types of numbers of numpy; one of objects is a pickle inside the pickle."""
TORCH = "torch."
DEVICE, NAMESPACE = "torch.device", "argparse.Namespace"
PATHS = {f"pathlib.{kind}Path" for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")}
KINDS = {
    f"torch.{kind}"
    for kind in ("float16", "float32", "float64", "bfloat16", "int32", "int64", "uint8", "bool")
}
BUILTIN, DEFAULTS = ("__builtin__", "builtins"), "collections.defaultdict"
SETS = {f"{module}.{name}" for module in BUILTIN for name in ("set", "frozenset")}
OBJECTS = {f"{module}.object" for module in BUILTIN}
ATTRIBUTES = {f"{module}.getattr" for module in BUILTIN}
FACTORIES = {
    f"{module}.{name}" for module in BUILTIN for name in ("list", "dict", "int", "float", "str")
}
RECONSTRUCTORS = {"copy_reg._reconstructor", "copyreg._reconstructor"}
"""How protocols before the second make an object of a class."""
PARTIAL, SIZE = "functools.partial", "torch.Size"
PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
"""A parameter counts as its tensor, the first argument."""
BACKEND = "torch.nn.backends.thnn._get_thnn_function_backend"
"""In each part of a network before torch 1.2."""
OF_PYTHON = (
    {ENCODE, NAMESPACE, DEFAULTS, PARTIAL}
    | PATHS
    | SETS
    | OBJECTS
    | ATTRIBUTES
    | FACTORIES
    | RECONSTRUCTORS
)
"""The only names of Python's own library that may stand in a file."""
PYTHON_2 = {"__builtin__", "copy_reg", "commands", "exceptions"}


class Machine:
    """A stack of plain values and stand-ins."""

    def __init__(self) -> None:
        self.stack = Stack()
        self.storages: dict[str, list[int]] = {}
        """Elements, and bytes of each, by key."""
        self._kinds: dict[str, str] = {}
        self.attributes: list[tuple[object, str]] = []
        """Objects, and the names of attributes that were asked of them."""
        self.result: object = None
        self.foreign = False
        """Whether there is anything that a state dict does not consist of."""

    def follow(self, content: BytesIO) -> None:
        """Follow one pickle to its end.

        Raises:
            Unknown: it has something that is not followed; a pickle that is none raises other
                errors of Python.

        """
        for name, argument in instructions(content):
            self.step(name, argument)

    def step(self, instruction: str, argument: object) -> None:
        """Follow one instruction."""
        stack = self.stack
        if stack.step(instruction, argument):
            return
        match instruction:
            case "FRAME":
                pass
            case "STOP":
                (self.result,) = stack.last(1)
            case "SHORT_BINUNICODE":
                self._push_foreign(argument)
            case "BINBYTES" | "SHORT_BINBYTES":
                self._push_foreign(Object("bytes"))
            case "EMPTY_LIST":
                stack.push([])
            case "EMPTY_DICT":
                stack.push({})
            case "EMPTY_SET":
                self._push_foreign(Object("set"))
            case "FROZENSET":
                self._push_foreign(Object("frozenset", elements=stack.since_mark()))
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = stack.last(1) if instruction == "APPEND" else stack.since_mark()
                target = stack.top
                into = self._elements(target, of_set=instruction == "ADDITEMS")
                if not isinstance(into, list):
                    raise Unknown("elements of something else than a list")
                cast("list[object]", into).extend(items)
            case "SETITEM" | "SETITEMS":
                self._set(stack.last(2) if instruction == "SETITEM" else stack.since_mark())
            case "MEMOIZE":
                self.foreign = True
                stack.memo[len(stack.memo)] = stack.top
            case "GLOBAL":
                self._import(path_of(argument))
            case "STACK_GLOBAL":
                first, last = stack.last(2)
                if not isinstance(first, str) or not isinstance(last, str):
                    raise Unknown("an import that hides its name")
                self._import(f"{first}.{last}")
            case "REDUCE":
                self._call(*stack.last(2))
            case "NEWOBJ" | "NEWOBJ_EX":
                kind, arguments, *_ = stack.last(2 + (instruction == "NEWOBJ_EX"))
                self._new(kind, arguments)
            case "BUILD":
                (state,) = stack.last(1)
                self._build(stack.top, state)
            case "BINPERSID":
                self._refer(*stack.last(1))
            case _:
                raise Unknown(f"the instruction {instruction}")

    def _elements(self, target: object, *, of_set: bool) -> object:
        """Return the list that elements of a value go to, if it may get any."""
        if isinstance(target, Object):
            fits = target.path == "set" if of_set else target.instance
            return target.elements if fits else None
        return None if of_set else target

    def _build(self, target: object, state: object) -> None:
        """Give a state to what may have one; as torch and others do, a copy of the dictionary."""
        for part in cast("tuple[object, ...]", state) if isinstance(state, tuple) else (state,):
            if isinstance(part, dict) and isinstance(target, Object):
                _check_names(cast("dict[object, object]", part))
        if isinstance(state, dict):
            state = {**cast("dict[object, object]", state)}
        fits = isinstance(state, dict) and isinstance(target, Table)
        if isinstance(target, Object):
            plain = target.path in {DTYPE, PARTIAL} and isinstance(state, tuple)
            fits = plain or (target.instance and isinstance(state, dict | tuple))
        if not fits or not isinstance(target, Object | Table) or target.state is not None:
            raise Unknown("a state of something else than an object")
        target.state = state

    def _import(self, path: str) -> None:
        if len(path) > LONGEST_NAME:
            raise Unknown("a name that is very long")
        if path in NAMED:
            self.stack.push(Name(path))
            return
        first = path.partition(".")[0]
        if path not in OF_PYTHON and (first in sys.stdlib_module_names or first in PYTHON_2):
            raise Unknown(f"the name {path}")
        self._push_foreign(Object("torch.dtype") if path in KINDS else Name(path))

    def _call(self, called: object, arguments: object) -> None:
        """Push what one of the known calls makes, whose arguments cannot make it large."""
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise Unknown("a call of something that is no name")
        path, given = called.path, cast("tuple[object, ...]", arguments)
        if path == ORDERED_DICT:
            self.stack.push(Table())
            if given:  # as Python 2 wrote them: one list of pairs
                self._set(_pairs(given))
                self.foreign = True
        elif path in PARAMETERS:
            self.stack.push(_tensor_of(given))
        elif path in CALLED:
            if not _is_plain(path, given):
                raise Unknown(f"such arguments of {path}")
            self.stack.push(Made(path, given))
        elif _is_harmless(path, given):
            if path in ATTRIBUTES:
                self.attributes.append(cast("tuple[object, str]", given))
            self.stack.push(Table() if path == DEFAULTS else _value(path, given))
        else:
            raise Unknown(f"a call of {path}")

    def _new(self, kind: object, arguments: object) -> None:
        if not isinstance(kind, Name) or not isinstance(arguments, tuple):
            raise Unknown("an instance of something that is no name")
        if kind.path in OF_PYTHON - {NAMESPACE}:
            raise Unknown(f"an instance of {kind.path}")
        given = cast("tuple[object, ...]", arguments)
        self.stack.push(Object(kind.path, given, instance=True))

    def _set(self, items: list[object]) -> None:
        target = self.stack.top
        into = target.items if isinstance(target, Object | Table) else target
        if isinstance(target, Object) and not target.instance:
            into = None
        if not isinstance(into, dict) or len(items) % 2:
            raise Unknown("items of something else than a dictionary")
        keys = items[::2]
        if not all(is_key(key) or isinstance(key, Object | Made) for key in keys):
            raise Unknown("a key that is neither a text nor a number")
        into.update(zip(keys, items[1::2], strict=True))

    def _refer(self, identity: object) -> None:
        """Push a storage, or the class that older files hold beside its source."""
        match identity:
            case ("module", Name() as kind, str() | None, str() | None):
                self.stack.push(kind)
            case _:
                key, *size = storage_of(identity)
                fields = cast("tuple[object, ...]", identity)
                kind = cast("Name", fields[1]).path
                alike = self.storages.setdefault(key, size) == size
                alike = alike and self._kinds.setdefault(key, kind) == kind
                if not alike or fields[5:] not in ((), (None,)):
                    raise Unknown("a storage of two kinds, or a part of one")
                self.stack.push(Storage(cast("tuple[Any, ...]", identity)))

    def _push_foreign(self, value: object) -> None:
        self.foreign = True
        self.stack.push(value)


def _check_names(state: dict[object, object]) -> None:
    """Raise unless attributes have plain names: a key of a class of its own may equal another."""
    if not all(type(name) is str for name in state):
        raise Unknown("an attribute without a plain name")


def _pairs(given: tuple[object, ...]) -> list[object]:
    """Return keys and values in turn of one list of pairs."""
    (pairs,) = given
    flat: list[object] = []
    for pair in cast("list[object]", pairs) if isinstance(pairs, list) else [None]:
        if not isinstance(pair, list | tuple) or len(cast("list[object]", pair)) != 2:
            raise Unknown("a dictionary that is made of no pairs")
        flat += cast("list[object]", pair)
    return flat


def _tensor_of(given: tuple[object, ...]) -> object:
    """Return the tensor of a parameter that has no state of its own."""
    match given:
        case (Made() as tensor, bool(), Table(items={}, state=None)):
            return tensor
        case (Made() as tensor, bool(), Table(), None):
            return tensor
        case _:
            raise Unknown("a parameter with a state")


def _is_plain(path: str, given: tuple[object, ...]) -> bool:
    """Return whether the arguments of a call that makes a tensor or a size are fixed numbers."""

    def numbers(one: object) -> bool:
        items = cast("tuple[object, ...]", one) if isinstance(one, tuple) else (None,)
        return all(type(item) is int for item in items)

    if path == SIZE:
        return len(given) == 1 and numbers(given[0])
    if len(given) < 4 or not isinstance(given[0], Storage) or type(given[1]) is not int:
        return False
    return numbers(given[2]) and numbers(given[3])


def _is_harmless(path: str, given: tuple[object, ...]) -> bool:
    """Return whether a call makes one of the known values, wherever it is really made."""
    match given:
        case (Object(path="numpy.dtype", state=state), Object(path="bytes")):
            return path in SCALARS and _is_of_numbers(state)
        case (str(code), False | 0, True | 1):
            return path == DTYPE and NUMBERS.fullmatch(code) is not None
        case (str(), "latin1"):
            return path == ENCODE or path in PATHS
        case (Name(), Name(path=base), None):
            return path in RECONSTRUCTORS and base in OBJECTS
        case (Name() | Object(), str()) if path in ATTRIBUTES:
            return True
        case (list(),) if path in SETS:
            return True
        case (Name() | Object(),) if path == PARTIAL:
            return True
        case () if path in {BACKEND, DEFAULTS}:
            return True
        case (Name(path=factory),) if path == DEFAULTS:
            return factory in FACTORIES
        case (str(), *numbers) if path == DEVICE:
            return len(numbers) <= 1 and all(type(one) is int for one in numbers)
        case (str() | int() | float(),) if _is_own_class(path):
            return True
        case _:
            return path in PATHS and all(isinstance(one, str) for one in given)


def _is_own_class(path: str) -> bool:
    """Return whether a name is one of neither torch nor Python, written as that of a class."""
    own = path not in OF_PYTHON and not path.startswith(TORCH)
    return own and path.rpartition(".")[2].lstrip("_")[:1].isupper()


def _value(path: str, given: tuple[object, ...]) -> Object:
    """Return the stand-in for what a known call makes."""
    if path in RECONSTRUCTORS:
        return Object(cast("Name", given[0]).path, instance=True)
    if path in SCALARS:
        return Object(SCALAR)
    if path in PATHS:
        return Object("pathlib.Path")
    if path == DTYPE:
        return Object(path)
    if path == ENCODE:
        return Object("bytes")
    if path in SETS:
        return Object(path.rpartition(".")[2], ([*cast("list[object]", given[0])],))
    return Object("getattr" if path in ATTRIBUTES else path, given)


def _is_of_numbers(state: object) -> bool:
    """Return whether a type's state is that of plain numbers: no fields, no shape, no hooks."""
    match state:
        case (3, "<" | ">" | "=" | "|", None, None, None, -1, -1, 0):
            return True
        case _:
            return False
