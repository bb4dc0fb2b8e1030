"""The state dict of a network of which there is only a stand-in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from unbackdoor.errors import ContentError, printable
from unbackdoor.models.pickles.standins import Made, Object, Storage, Table, inside
from unbackdoor.models.pickles.strict import Unknown

MOST_TENSORS, MOST_DEEP = 100_000, 100
MODULE = ("_parameters", "_buffers", "_modules")
"""Attributes by which an object is known to be a network, or a part of one."""


def is_network(value: object) -> bool:
    """Return whether an object has what networks of torch are made of."""
    state = value.state if isinstance(value, Object) else None
    return isinstance(state, dict) and all(
        isinstance(state.get(part), dict | Table) for part in MODULE
    )


@dataclass
class Network:
    """The state dict of a network, gathered as ``Module.state_dict`` does."""

    tensors: dict[str, Made] = field(default_factory=dict[str, Made])
    parts: set[int] = field(default_factory=set[int])
    passing: set[str] = field(default_factory=set[str])
    """Storages of buffers that no state dict has."""

    def add(self, module: object, prefix: str, depth: int = 0) -> None:
        """Gather a part of the network under its name."""
        if not is_network(module) or depth > MOST_DEEP or len(self.tensors) > MOST_TENSORS:
            raise Unknown("a network whose parts cannot be followed")
        self.parts.add(id(module))
        state = cast("dict[str, Any]", cast("Object", module).state)
        transient = state.get("_non_persistent_buffers_set")
        passing = transient.elements or _first(transient) if isinstance(transient, Object) else []
        for name, tensor in [*_items(state["_parameters"]), *_items(state["_buffers"])]:
            if not isinstance(tensor, Made):
                if tensor is not None:
                    raise Unknown("a parameter that is no tensor")
            elif name in passing:
                self.passing.add(_key(tensor))
            else:
                self.tensors[prefix + name] = tensor
        for name, part in _items(state["_modules"]):
            if part is not None:
                self.add(part, f"{prefix}{name}.", depth + 1)

    def aside(self, module: Object, what: str) -> list[str]:
        """Return the names of attributes with tensors that are not in the state dict.

        Raises:
            ContentError: one of them is a network, which is computed with and would not be read.

        """
        known = {_key(tensor) for tensor in self.tensors.values()} | self.passing
        waiting: list[tuple[str, object]] = [("", module)]
        seen, found = set[int](), dict[str, None]()
        while waiting:
            name, value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Made):
                if _key(value) not in known:
                    found[name] = None
            elif is_network(value) and id(value) not in self.parts:
                other = Network()
                other.add(value, "")
                if any(_key(tensor) not in known for tensor in other.tensors.values()):
                    raise ContentError(
                        f"{what} holds a whole network with layers that are not registered, such "
                        f"as those of a plain list ({printable(name)[:80]!r}), so no state dict "
                        f"has them; put them into a torch.nn.ModuleList and save it anew."
                    )
            elif isinstance(value, Object) and isinstance(value.state, dict):
                state = cast("dict[object, object]", value.state)
                waiting += [(str(key), part) for key, part in state.items()]
            else:
                waiting += [(name, part) for part in inside(value)]
        return list(found)


def _items(value: Any) -> list[tuple[str, Any]]:
    items: Any = value.items if isinstance(value, Table) else value
    return list(items.items())


def _first(value: Object) -> list[object]:
    """Return the list that a set was made of."""
    return cast("list[object]", value.arguments[0]) if value.arguments else []


def _key(tensor: Made) -> str:
    """Return the key of the storage that a tensor lies in."""
    storage = tensor.arguments[0] if tensor.arguments else None
    identity = storage.identity if isinstance(storage, Storage) else ()
    return str(identity[2]) if len(identity) > 2 else ""
