"""The state dict of a network of which there is only a stand-in.

What is read has to be what the network computes with. So a network whose stand-in has anything that
could make a difference (attributes that hide a parameter, layers that are in no state dict, items
that were set on it) is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from unbackdoor.errors import ContentError, printable
from unbackdoor.models.pickles.standins import Made, Object, Storage, Table, inside

TENSORS = ("_parameters", "_buffers")
MODULE = (*TENSORS, "_modules")
"""Attributes by which an object is known to be a network, or a part of one."""
LAYERS = "torch.nn."
HOOKS = {"_forward_pre_hooks", "_forward_hooks"}
PASSING = "_non_persistent_buffers_set"
METHODS = {"forward", "__call__", "_call_impl", "_wrapped_call_impl", "state_dict"}
"""An attribute of such a name would be called in place of the class's own."""
MOST_PARTS, MOST_DEEP, MOST_TEXT = 100_000, 100, 1 << 24
SHOWN = 80


def is_network(value: object) -> bool:
    """Return whether an object has what networks of torch are made of."""
    return has_attributes(value, MODULE)


def has_attributes(value: object, names: Collection[str]) -> bool:
    """Return whether a value is an object with attributes of all these names."""
    state = value.state if isinstance(value, Object) else None
    return isinstance(state, dict) and set(names) <= cast("dict[str, object]", state).keys()


def has_part(value: object, name: str) -> bool:
    """Return whether an object has an attribute of a name, or as a network a part of it."""
    if not isinstance(value, Object) or not isinstance(value.state, dict):
        return False
    state = cast("dict[str, object]", value.state)
    named = [state, *(state.get(part) for part in MODULE)]
    keyed = [one.items if isinstance(one, Table) else one for one in named]
    return any(isinstance(one, dict) and name in one for one in keyed)


@dataclass
class Network:
    """The state dict of a network, gathered as ``Module.state_dict`` does.

    Args:
        what: the file, as a sentence about it begins.

    """

    what: str
    tensors: dict[str, Made] = field(default_factory=dict[str, Made])
    hooks: int = 0
    """Functions of the file that change what its parts answer."""
    _parts: set[int] = field(default_factory=set[int])
    _passing: set[Hashable] = field(default_factory=set[Hashable])
    _visits: int = 0
    _text: int = 0

    def add(self, module: object, prefix: str = "", depth: int = 0) -> None:
        """Gather a part of the network under its name.

        Raises:
            ContentError: it cannot be followed, or computes with something else.

        """
        self._visits += 1
        if not is_network(module) or depth > MOST_DEEP or self._visits > MOST_PARTS:
            raise self._refusal("parts that cannot be followed to an end")
        one = cast("Object", module)
        self._parts.add(id(one))
        state = cast("dict[str, Any]", one.state)
        parameters, buffers, parts = (self._named(state[part]) for part in MODULE)
        names = [*parameters, *buffers, *parts]
        if one.items or one.elements or one.arguments:
            raise self._refusal("more than attributes")
        if set(names) & state.keys() or METHODS & state.keys() or len(set(names)) < len(names):
            raise self._refusal("attributes that stand in for its parts")
        self.hooks += sum(
            len(self._named(state[kind], text=False)) for kind in HOOKS & state.keys()
        )
        passing = set(_passing(state.get(PASSING)))
        for name, tensor in [*parameters.items(), *buffers.items()]:
            if tensor is None:
                continue
            if not isinstance(tensor, Made):
                raise self._refusal("a parameter that is no tensor")
            if name in passing and name in buffers:
                self._passing.add(_key(tensor))
                continue
            self._text += len(prefix) + len(name)
            if prefix + name in self.tensors or self._text > MOST_TEXT:
                raise self._refusal("names that no state dict has")
            self.tensors[prefix + name] = tensor
        for name, part in parts.items():
            if part is not None:
                self.add(part, f"{prefix}{name}.", depth + 1)

    def aside(self, module: Object) -> list[str]:
        """Return the names of attributes with tensors that are not in the state dict.

        Raises:
            ContentError: one of them is a parameter or a buffer of a layer, which is computed with
                and would not be read.

        """
        known = {_key(tensor) for tensor in self.tensors.values()} | self._passing
        waiting: list[tuple[str, object, bool]] = [("", module, False)]
        seen, found = set[tuple[int, bool]](), dict[str, None]()
        while waiting:
            name, value, layer = waiting.pop()
            if (id(value), layer) in seen:
                continue
            seen.add((id(value), layer))
            if isinstance(value, Made):
                if _key(value) in known:
                    continue
                if layer:
                    raise ContentError(
                        f"{self.what} holds a whole network with layers that are not registered, "
                        f"such as those of a plain list ({printable(name)!r}), so no state dict "
                        f"has them; put them into a torch.nn.ModuleList and save it anew."
                    )
                found[name] = None
            computes = _computing(value) if id(value) not in self._parts else ()
            for key, one in _attributes(value):
                below = f"{name}.{key}".strip(".")[:SHOWN] if key not in MODULE else name
                waiting.append((below, one, layer or key in computes))
        return list(found)

    def _named(self, part: object, *, text: bool = True) -> dict[str, Any]:
        """Return what a network keeps under names; they have to be texts without dots."""
        if isinstance(part, Table) and part.state is None:
            part = part.items
        if not isinstance(part, dict):
            raise self._refusal("parts that are in no dictionary")
        named = cast("dict[Any, Any]", part)
        if text and not all(isinstance(name, str) and name and "." not in name for name in named):
            raise self._refusal("names that no state dict has")
        return named

    def _refusal(self, reason: str) -> ContentError:
        return ContentError(
            f"{self.what} holds a whole network with {reason}, so it is not read; where you trust "
            f"it, open it there and save model.state_dict() alone, best as .safetensors."
        )


def _computing(value: object) -> Collection[str]:
    """Return the attributes of a part that is not registered whose tensors it computes with.

    Of torch's own layers these are all, of others their parameters and buffers.
    """
    state = value.state if isinstance(value, Object) else None
    if not isinstance(state, dict) or not set(MODULE) & cast("dict[str, object]", state).keys():
        return ()
    own = cast("Object", value).path.startswith(LAYERS)
    return cast("dict[str, object]", state).keys() if own else TENSORS


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Iterate over what a value holds, each with the attribute by which it is reached, if any."""
    if isinstance(value, Object) and isinstance(value.state, dict):
        for key, part in cast("dict[object, object]", value.state).items():
            yield (key if isinstance(key, str) else ""), part
        yield from (("", part) for part in (value.arguments, value.items, value.elements))
    else:
        yield from (("", part) for part in inside(value))


def _passing(names: object) -> list[object]:
    """Return the names of buffers that no state dict has."""
    if not isinstance(names, Object) or names.path not in {"set", "frozenset"}:
        return []
    first = cast("list[object]", names.arguments[0]) if names.arguments else []
    return [one for one in [*first, *names.elements] if isinstance(one, str)]


def _key(tensor: Made) -> Hashable:
    """Return which numbers of which storage a tensor consists of."""
    storage, *rest = tensor.arguments[:4] if len(tensor.arguments) >= 4 else (None,)
    if not isinstance(storage, Storage):
        return id(tensor)
    return storage.identity[2], *cast("list[Hashable]", rest)
