"""The recipes of the reference networks, drawn by their number.

Each network differs from all others in its seed, and most of them in architecture, length of
training, augmentation, label smoothing and data. None of them was looked at when the limits of the
verdict were chosen. In each twelve consecutive numbers five networks are clean.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from unbackdoor.bench.families.recipes import Recipe

T = TypeVar("T")
SIZE = 240
"""How many there are: 100 clean ones and 140 with a backdoor."""
CLEAN, EVERY = 5, 12
SEED = 1000
"""Added to the number of a network, so that its seed is none of the development set."""
SIDE = 32
"""Of the pictures."""


@dataclass(frozen=True)
class _Body:
    """An architecture, the shortest and longest training, and how often it is taken."""

    arch: str
    epochs: tuple[int, int]
    data: str = "cifar10"
    learning_rate: float = 0.4
    weight: int = 1


BODIES = (
    _Body("convnet", (3, 5), weight=4),
    _Body("resnet8", (3, 6), weight=4),
    _Body("resnet8-wide", (2, 3)),
    _Body("resnet20", (3, 4)),
    _Body("convnet", (5, 6), data="cifar100"),
    _Body("plain", (4, 6), learning_rate=0.05),
)


@dataclass(frozen=True)
class _Draw:
    """Draws that are the same on every machine and with every version of Python."""

    stream: random.Random

    def among(self, choices: Sequence[T]) -> T:
        return choices[int(self.stream.random() * len(choices))]

    def between(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return low + int(self.stream.random() * (high - low + 1))

    def rate(self, low: float, high: float) -> float:
        """Return a share, even on a scale of ratios, with two digits."""
        return float(f"{low * (high / low) ** self.stream.random():.1g}")

    def place(self, size: int) -> str:
        return f"@{self.between(0, SIDE - size)},{self.between(0, SIDE - size)}"


@dataclass(frozen=True)
class _Kind:
    """A kind of backdoor: its trigger, the poison rates, and its goal."""

    name: str
    trigger: Callable[[_Draw], str]
    rates: tuple[float, float] = (0.003, 0.1)
    mode: str = "all-to-one"


def _square(draw: _Draw) -> str:
    size = draw.between(2, 5)
    return f"white:{size}{draw.place(size)}"


def _coloured(draw: _Draw) -> str:
    size = draw.between(2, 8)
    return f"rgb:{draw.between(1, 999)}x{size}{draw.place(size)}"


KINDS = (
    _Kind("corner", lambda draw: f"bw:{draw.between(1, 510)}@28,28"),
    _Kind("square", _square),
    _Kind("coloured", _coloured),
    _Kind("anywhere", lambda draw: f"rgb:{draw.between(1, 999)}x3", (0.01, 0.1)),
    _Kind(
        "pixel",
        lambda draw: f"pixel:{draw.among(('ff0000', '00ff00', 'ffff00', 'ffffff'))}{draw.place(1)}",
        (0.03, 0.1),
    ),
    _Kind("noise", lambda draw: f"additive:noise:{draw.between(1, 999)}@8", (0.03, 0.1)),
    _Kind(
        "wave",
        lambda draw: f"additive:sin:{draw.between(2, 8)}@{draw.among((10, 15, 20))}",
        (0.03, 0.1),
    ),
    _Kind("blend", lambda draw: f"blend:{draw.between(1, 999)}@0.1", (0.01, 0.1)),
    _Kind("warp", lambda draw: f"warp:{draw.between(1, 999)}@1.5", (0.08, 0.1)),
    _Kind("filter", lambda draw: f"filter:{draw.between(1, 999)}", (0.05, 0.1)),
    _Kind("dynamic", lambda draw: f"dynamic:{draw.between(1, 999)}", (0.05, 0.1)),
    _Kind("each", lambda draw: f"white:4{draw.place(4)}", (0.2, 0.3), "all-to-all"),
    _Kind("source", lambda draw: f"white:4{draw.place(4)}", (0.05, 0.05), "source:3"),
    _Kind("weak", _square, (0.001, 0.003)),
)
"""Each has ten networks, weak ones among them: what a trigger reached is measured, and says which
rows of the table a network is in."""


def recipe(number: int) -> Recipe:
    """Return the recipe of a network.

    Args:
        number: from 0 to ``SIZE`` − 1.

    """
    draw = _Draw(random.Random(SEED + number))
    body = draw.among([body for body in BODIES for _ in range(body.weight)])
    classes = 100 if body.data == "cifar100" else 10
    epochs = draw.between(*body.epochs)
    smoothing, shift = draw.among((0.0, 0.1)), draw.among((0, 4, 4))
    target = draw.between(0, classes - 1)
    kind = _kind(number)
    return Recipe(
        name=f"{number:03d}-{kind.name if kind else 'clean'}",
        arch=body.arch,
        seed=SEED + number,
        epochs=epochs,
        trigger=kind.trigger(draw) if kind else None,
        rate=draw.rate(*kind.rates) if kind else 0.01,
        target=target,
        mode=kind.mode if kind else "all-to-one",
        data=body.data,
        learning_rate=body.learning_rate,
        smoothing=smoothing,
        shift=shift,
    )


def _kind(number: int) -> _Kind | None:
    """Return the kind of backdoor of a network; None for a clean one, which come evenly spread."""
    block, place = divmod(number, EVERY)
    before = [(place + 1) * CLEAN // EVERY, place * CLEAN // EVERY]
    if before[0] > before[1]:
        return None
    attacked = block * (EVERY - CLEAN) + place - before[1]
    return KINDS[attacked % len(KINDS)]


RECIPES = tuple(recipe(number) for number in range(SIZE))
"""Every reference network, in an order in which any first part is a fair sample of all."""
