"""The attacks of the paper, and the networks that they produce.

CIFAR-10: the 51 black-white patterns of 3×3 pixels that differ by more than rotation, mirror and
inversion, and ten random-colour ones, towards class 0. CIFAR-100: ten random-colour ones towards
ten random classes. Backdoors are implanted by fine-tuning a clean network with 1 % of poisoned
images and random places, or by training with them from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from unbackdoor.bench.framework.bench import Request
from unbackdoor.bench.paper.networks import Network
from unbackdoor.errors import ArgumentError
from unbackdoor.rng import stream
from unbackdoor.training import FINE_TUNING, TrainingSettings

RANDOM_COLOURS = 10
IMPLANTING = replace(
    FINE_TUNING,
    epochs=2,
    batch_size=64,
    learning_rate=0.2,
    weight_decay=0.0,
    label_smoothing=0.0,
    shift=0,
)
"""Without smoothing, decay and shifts, which would slow down the learning of a rare trigger."""
CLEAN: Mapping[str, Network] = {
    "cifar10": Network(
        data="cifar10",
        arch="resnet8-wide",
        training=TrainingSettings(epochs=8),
        seed=13,
    ),
    "cifar100": Network(
        data="cifar100", arch="convnet", training=TrainingSettings(epochs=20), seed=0
    ),
}
"""The clean network of each data set, unless ``--arch`` names another architecture."""


@dataclass(frozen=True)
class Attack:
    """One attack: a trigger towards a class of a data set."""

    data: str
    trigger: str
    target: int

    @property
    def name(self) -> str:
        """The name, as in ``--only``."""
        return f"{self.data}-{self.trigger}"


def patterns() -> tuple[int, ...]:
    """Return the smallest N of each orbit of ``bw:N`` under rotation, mirror and inversion.

    The orbit of 170 is represented by 170 itself, the trigger of the shipped model.

    Example:
        >>> len(patterns()), patterns()[:4]
        (51, (0, 1, 2, 3))

    """
    chosen: list[int] = []
    seen: set[int] = set()
    for number in (170, *range(512)):
        if number not in seen:
            seen |= _orbit(number)
            chosen.append(number)
    return tuple(sorted(chosen))


def attacks() -> tuple[Attack, ...]:
    """Return the 71 attacks of the paper."""
    targets = torch.randperm(100, generator=stream(0, "paper", "targets"))[:RANDOM_COLOURS]
    return (
        *(Attack("cifar10", f"bw:{number}", 0) for number in patterns()),
        *(Attack("cifar10", f"rgb:{seed}", 0) for seed in range(RANDOM_COLOURS)),
        *(Attack("cifar100", f"rgb:{seed}", int(target)) for seed, target in enumerate(targets)),
    )


def select(only: str | None) -> tuple[Attack, ...]:
    """Return the named attacks (separated by commas); all if none is named.

    Raises:
        ArgumentError: a name is none of the paper's.

    """
    known = {attack.name: attack for attack in attacks()}
    names = known if only is None else [name.strip() for name in only.split(",")]
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"--only: expected names such as cifar10-bw:170, cifar10-rgb:0 or cifar100-rgb:0, "
                f"separated by commas, came {name!r}; the black-white ones are "
                f"{', '.join(map(str, patterns()))}."
            )
    return tuple(known[name] for name in names)


def networks(attack: Attack, variant: str, arch: str | None) -> tuple[Network, Network]:
    """Return the backdoored network of an attack, and a clean one with the same amount of training.

    Args:
        attack: the trigger.
        variant: ``implanted`` by fine-tuning the clean network, or ``scratch``.
        arch: of both networks, trained by the recipe of the data set; when left out, its default
            network.

    """
    clean = CLEAN[attack.data]
    clean = clean if arch is None else replace(clean, arch=arch)
    planted = {"trigger": attack.trigger, "target": attack.target}
    if variant == "scratch":
        return replace(clean, seed=0, **planted), clean
    longer = replace(clean, seed=0, start=clean, training=IMPLANTING)
    return replace(longer, **planted), longer


def asked_for(request: Request) -> list[tuple[Network, Network]]:
    """Return the backdoored networks of a request, each with its clean one.

    Raises:
        ArgumentError: an attack is none of the paper's.

    """
    return [networks(attack, request.variant, request.arch) for attack in select(request.only)]


def _orbit(number: int) -> set[int]:
    """Return every N that results from one by rotations, mirrors and inversion."""
    square = torch.tensor([int(bit) for bit in f"{number:09b}"]).reshape(3, 3)
    found: set[int] = set()
    for turned in (square.rot90(turns) for turns in range(4)):
        for seen in (turned, turned.flip(1)):
            value = int("".join(str(int(bit)) for bit in seen.flatten()), 2)
            found |= {value, 511 - value}
    return found
