"""Which names a pickle would import, followed through its stack and its memo without running it.

Protocol 4 takes the two halves of a name from the stack, where any other instruction may have put
them. Every instruction says how many values it takes and leaves; a value is known here if it is a
text, and what cannot be known is never replaced by a guess.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

MOST_INSTRUCTIONS = 500_000
HIDDEN = "something that hides its name"
"""Said of an import whose name is made while the pickle runs."""
EXTENSIONS = {"EXT1", "EXT2", "EXT4"}
"""Import by a number that a registry of the process resolves."""
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
MARK, UNKNOWN = object(), object()


@dataclass
class _Stack:
    """Texts, marks and values that are not known."""

    values: list[object] = field(default_factory=list[object])
    memo: dict[object, object] = field(default_factory=dict[object, object])

    def pop(self) -> object:
        return self.values.pop() if self.values else UNKNOWN

    def pop_to_mark(self) -> None:
        while self.values and self.values.pop() is not MARK:
            pass

    def step(self, code: Any, argument: object) -> str | None:
        """Follow one instruction and return what it imports, if it does."""
        name: str = code.name
        if name == "STACK_GLOBAL":
            last, first = self.pop(), self.pop()
            self.values.append(UNKNOWN)
            texts = isinstance(first, str) and isinstance(last, str)
            return f"{first}.{last}" if texts else HIDDEN
        if name in PUTS or name == "MEMOIZE":
            key = len(self.memo) if name == "MEMOIZE" else argument
            self.memo[key] = self.values[-1] if self.values else UNKNOWN
        elif name in GETS:
            self.values.append(self.memo.get(argument, UNKNOWN))
        elif name == "DUP":
            self.values.append(self.values[-1] if self.values else UNKNOWN)
        elif name == "MARK":
            self.values.append(MARK)
        elif name == "POP":
            self.pop()
        else:
            self._replace(code, argument)
        if name in EXTENSIONS:
            return HIDDEN
        return path_of(argument) if name in {"GLOBAL", "INST"} else None

    def _replace(self, code: Any, argument: object) -> None:
        """Take as many values as the instruction does, and leave as many."""
        if pickletools.stackslice in code.stack_before or code.name == "POP_MARK":
            self.pop_to_mark()
            above = list(code.stack_before).index(pickletools.markobject)
            for _ in range(above):  # what lies below the mark
                self.pop()
        else:
            for _ in code.stack_before:
                self.pop()
        known = argument if isinstance(argument, str) and not code.stack_before else UNKNOWN
        self.values += [known] * len(code.stack_after)


def path_of(argument: object) -> str:
    """Return the dotted name of what GLOBAL and INST import."""
    return str(argument).replace(" ", ".")


def imports(content: BytesIO) -> list[str]:
    """Return the names that a pickle would import, in its order, each once.

    Where it breaks off, nothing that follows would be run.

    Args:
        content: at the start of a pickle.

    """
    found: dict[str, None] = {}
    stack = _Stack()
    try:
        for number, (code, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MOST_INSTRUCTIONS:
                found[HIDDEN] = None  # it goes on, and nobody looked
                break
            if (name := stack.step(code, argument)) is not None:
                found[name] = None
    except (ValueError, IndexError, UnicodeError):
        pass
    return list(found)
