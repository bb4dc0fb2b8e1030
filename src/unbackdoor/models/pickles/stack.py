"""The stack of a pickle: numbers, texts and tuples are made on it, marks set and values kept."""

from __future__ import annotations

from dataclasses import dataclass, field


class Unknown(Exception):  # noqa: N818  the sentence is made where the file is known
    """An instruction or value that is not followed."""


@dataclass
class Stack:
    """What is on the stack, and what was kept of it."""

    values: list[object] = field(default_factory=list[object])
    marks: list[list[object]] = field(default_factory=list[list[object]])
    memo: dict[object, object] = field(default_factory=dict[object, object])

    def step(self, instruction: str, argument: object) -> bool:
        """Follow an instruction that needs nothing but the stack; return whether it is one."""
        match instruction:
            case "PROTO":
                pass
            case "MARK":
                self.marks.append(self.values)
                self.values = []
            case "NONE":
                self.push(None)
            case "NEWTRUE" | "NEWFALSE":
                self.push(instruction == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                self.push(argument)
            case "SHORT_BINSTRING":
                self.push(argument)
            case "EMPTY_TUPLE":
                self.push(())
            case "TUPLE":
                self.push(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.push(tuple(self.last(int(instruction[-1]))))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top
            case "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise Unknown("a value that was not kept")
                self.push(self.memo[argument])
            case _:
                return False
        return True

    @property
    def top(self) -> object:
        """The value that was put there last."""
        return self.values[-1]

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.values.append(value)

    def last(self, count: int) -> list[object]:
        """Take so many values, in the order in which they were put there."""
        if len(self.values) < count:
            raise Unknown("too few values on the stack")
        items = self.values[-count:]
        del self.values[-count:]
        return items

    def since_mark(self) -> list[object]:
        """Take all values since the last mark."""
        items = self.values
        self.values = self.marks.pop()
        return items
