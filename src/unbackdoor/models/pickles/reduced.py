"""What people save beside tensors, and whole networks, reduced to tensors without being made.

`torch.save(network)` writes a pickle that imports the network's class, and trainers keep numbers of
numpy, settings and optimizers beside their weights. :func:`reduced` follows such a pickle with
stand-ins and writes a new one, in which a network is its state dict, and any other object an
ordered dictionary of what is in it. That pickle is read as strictly as one that came so.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from operator import attrgetter
from typing import Any

import torch

from unbackdoor.errors import ContentError
from unbackdoor.models.pickles.inert import Machine
from unbackdoor.models.pickles.networks import Network, has_attributes, has_part, is_network
from unbackdoor.models.pickles.stack import Unknown
from unbackdoor.models.pickles.standins import Made, Object, Storage, Table, inside
from unbackdoor.models.pickles.strict import NAMED, ORDERED_DICT, Name

OPTIMIZERS, HOOK = "torch.optim.", "forward hook"
OPTIMIZED = ("state", "param_groups")
"""What an optimizer has; it is left out with what is in it."""
STRICT: dict[str, Any] = {
    path: OrderedDict if path == ORDERED_DICT else attrgetter(path.removeprefix("torch."))(torch)
    for path in NAMED
}
"""What may stand in the pickle that is written, by name."""


@dataclass(frozen=True)
class Reduced:
    """A pickle of tensors.

    Args:
        content: the pickle, in which what is left out is empty.
        storages: elements of each storage and bytes of each of them by its key, as far as they
            could be followed; also of those that nothing refers to any more.
        left: what was left out, by its kind.
        networks: the classes of the networks in whose place their state dicts stand.
        aside: names of tensors that these keep and that are in no state dict.

    """

    content: bytes
    storages: Mapping[str, Sequence[int]]
    left: Counter[str] = field(default_factory=Counter[str])
    networks: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


def reduced(content: BytesIO, what: str) -> Reduced:
    """Return one pickle with its objects reduced to the tensors in them.

    A pickle that has no objects is returned as it is, and so is one that cannot be followed or
    calls what is not known: :func:`unbackdoor.models.pickles.strict.read` has the sentence for it.

    Args:
        content: at the start of a pickle; it is left behind it, or at its end.
        what: the file, as a sentence about it begins.

    Raises:
        ContentError: a network in it has layers that are in no state dict.

    """
    start = content.tell()
    machine = Machine()
    try:
        machine.follow(content)
        _check(machine)
    except (Unknown, ValueError, IndexError, TypeError, AttributeError, UnicodeError):
        content.seek(start)
        return Reduced(content.read(), {})
    end = content.tell()
    content.seek(start)
    whole = content.read(end - start)
    top = machine.result
    unlike = isinstance(top, Object) and top.instance and not is_network(top)
    if not machine.foreign or unlike:
        return Reduced(whole, machine.storages)
    written = BytesIO()
    writer = _Writer(written, what)
    try:
        writer.dump(top)
    except ContentError:
        raise
    except (Unknown, RecursionError, ValueError, TypeError, pickle.PicklingError):
        return Reduced(whole, machine.storages)
    networks, aside = tuple(writer.networks), tuple(writer.aside)
    return Reduced(written.getvalue(), machine.storages, writer.left, networks, aside)


def _check(machine: Machine) -> None:
    """Raise where an attribute was asked for that could be a part of a network, not a method."""
    for value, name in machine.attributes:
        if name.startswith("_") or has_part(value, name):
            raise Unknown("a part of an object, by its name")


def _is_optimizer(value: Object) -> bool:
    """Return whether an object has nothing but what an optimizer has."""
    more = value.items or value.elements or value.arguments
    return value.path.startswith(OPTIMIZERS) and not more and has_attributes(value, OPTIMIZED)


class _Writer(pickle.Pickler):
    """Writes plain values as they are, and stand-ins as dictionaries of what is in them."""

    def __init__(self, file: BytesIO, what: str) -> None:
        super().__init__(file, 2)
        self.what = what
        self.left = Counter[str]()
        self.networks: dict[str, None] = {}
        self.aside: dict[str, None] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Return how a storage is referred to; anything else has no such name."""
        if not isinstance(obj, Storage):
            return None
        word, kind, key, device, count = obj.identity[:5]
        return word, STRICT[kind.path], key, device, count

    def reducer_override(self, obj: Any) -> Any:
        """Return how a stand-in is made; anything else is written as it always is."""
        match obj:
            case Table(items, state):
                return OrderedDict, (), state, None, iter(items.items())
            case Made(path, arguments):
                return STRICT[path], arguments
            case Name(path):
                self.left[path] += 1
                return OrderedDict, ()
            case Object() if is_network(obj):
                network = Network(self.what)
                network.add(obj)
                self.aside |= dict.fromkeys(network.aside(obj))
                self.left.update({HOOK: network.hooks} if network.hooks else {})
                if network.tensors:
                    self.networks[obj.path] = None
                else:  # a loss, for example
                    self.left[obj.path] += 1
                return OrderedDict, (), None, None, iter(network.tensors.items())
            case Object():
                self.left[obj.path] += 1
                held = [] if _is_optimizer(obj) else list(inside(obj))
                return OrderedDict, (), None, None, iter(enumerate(held))
            case _:
                return NotImplemented
