"""``bench paper``: the table of Qiao, Yang and Li (NeurIPS 2019) with its controls.

CIFAR-10: the 51 black-white patterns of 3×3 pixels that differ by more than rotation, mirror and
inversion, and ten random-colour ones, towards class 0. CIFAR-100: ten random-colour ones towards
ten random classes. Backdoors are implanted by fine-tuning a clean network with 1 % of poisoned
images and random places, or trained in from scratch. Of the test set 8,000 images defend and 2,000
evaluate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

import torch

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.framework.table import Line, percent
from unbackdoor.bench.paper.defences import (
    FineTuned,
    Generated,
    Ideal,
    Mesa,
    Reversed,
    Rival,
    SpectralFilter,
    Undefended,
)
from unbackdoor.bench.paper.stages import Defence, Defended, Network, Row
from unbackdoor.errors import ArgumentError
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.rng import stream
from unbackdoor.runtime.progress import Progress
from unbackdoor.training import FINE_TUNING, TrainingSettings

RANDOM_COLOURS, RESTARTS = 10, 10
IMPLANTING = replace(
    FINE_TUNING,
    epochs=2,
    batch_size=64,
    learning_rate=0.2,
    weight_decay=0.0,
    label_smoothing=0.0,
    shift=0,
)
"""What keeps a network from learning a rare thing quickly is left out: smoothing, decay, shifts."""
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
"""The clean network of each data set, where ``--arch`` names no other."""

DEFAULT = Mesa(equal=True)
"""What ``repair`` does without flags."""
MAIN: tuple[Defence, ...] = (Undefended(), FineTuned(), Ideal(), Reversed(), DEFAULT)
COLUMNS: Mapping[str, tuple[Defence, ...]] = {
    "main": MAIN,
    "all": (
        *MAIN,
        *(Reversed(restart=restart) for restart in range(1, RESTARTS)),
        *(Mesa(beta=beta) for beta in (0.9, 0.8, 0.5)),
        Mesa(),
        Generated(),
        SpectralFilter(),
        FineTuned(plain=True),
        Rival(SamSettings()),
        Rival(AnpSettings()),
        Rival(IbauSettings()),
    ),
}
OURS, CONTROL = DEFAULT.name, FineTuned().name


@dataclass(frozen=True)
class Attack:
    """One row of attacks: a trigger towards a class of a data set."""

    data: str
    trigger: str
    target: int

    @property
    def name(self) -> str:
        """As ``--only`` writes it."""
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
    """Return the paper's 71."""
    targets = torch.randperm(100, generator=stream(0, "paper", "targets"))[:RANDOM_COLOURS]
    return (
        *(Attack("cifar10", f"bw:{number}", 0) for number in patterns()),
        *(Attack("cifar10", f"rgb:{seed}", 0) for seed in range(RANDOM_COLOURS)),
        *(Attack("cifar100", f"rgb:{seed}", int(target)) for seed, target in enumerate(targets)),
    )


def select(only: str | None) -> tuple[Attack, ...]:
    """Return the attacks that a user names, divided by commas; all when there is no name.

    Raises:
        ArgumentError: a name is none of the paper's.

    """
    known = {attack.name: attack for attack in attacks()}
    names = known if only is None else [name.strip() for name in only.split(",")]
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"--only: expected names such as cifar10-bw:170, cifar10-rgb:0 or cifar100-rgb:0, "
                f"divided by commas, came {name!r}; the black-white ones are "
                f"{', '.join(map(str, patterns()))}."
            )
    return tuple(known[name] for name in names)


def networks(attack: Attack, variant: str, arch: str | None) -> tuple[Network, Network]:
    """Return the backdoored network of an attack and a clean one that is trained as long.

    Args:
        attack: the trigger.
        variant: ``implanted`` by fine-tuning the clean network, or ``scratch``.
        arch: of both, and then from the data set's own recipe; its own network when left out.

    """
    clean = CLEAN[attack.data]
    clean = clean if arch is None else replace(clean, arch=arch)
    planted = {"trigger": attack.trigger, "target": attack.target}
    if variant == "scratch":
        return replace(clean, seed=0, **planted), clean
    longer = replace(clean, seed=0, start=clean, training=IMPLANTING)
    return replace(longer, **planted), longer


def plan(
    chosen: Sequence[tuple[Network, Network]], defences: Sequence[Defence], seeds: Sequence[int]
) -> list[Defended]:
    """Return what is to be measured.

    Args:
        chosen: backdoored networks, each with its clean one.
        defences: the columns; one that cannot be asked to defend a network is left out there.
        seeds: of the defences.

    """
    return [
        Defended(network=network, clean=clean, defence=defence, seed=seed)
        for network, clean in chosen
        for defence in defences
        if defence.suits(network)
        for seed in seeds
    ]


def measure(
    specs: Sequence[Defended],
    archive: Archive,
    engine: Engine,
    progress: Progress,
    device: str = "cpu",
    limit: float = math.inf,
) -> list[Row]:
    """Measure what the archive lacks, and return the rows asked for that are there.

    Args:
        specs: what is to be measured.
        archive: what is there.
        engine: where the work is done.
        progress: one bar for the whole sweep.
        device: where networks run.
        limit: seconds after which no further piece is begun.

    """
    return complete(
        specs, archive, engine, progress, device=device, description="paper", limit=limit
    )


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line per data set, kind of trigger and defence.

    What restarts and seeds of one defence leave of one network is averaged first, so that a worst
    case is the worst of as many triggers in every line, and a spread is that between triggers.
    """
    lines: list[Line] = []
    tuned = {_network(row): row.accuracy_after for row in rows if row.defence == CONTROL}
    groups = dict.fromkeys((*_group(row), row.defence) for row in rows)
    for data, kind, variant, defence in groups:
        own = [row for row in rows if (*_group(row), row.defence) == (data, kind, variant, defence)]
        by: dict[tuple[str, str], list[Row]] = {}
        for row in own:
            by.setdefault((row.trigger, row.network), []).append(row)
        cases = list(by.values())

        def each(value: Callable[[Row], float], of: list[list[Row]] = cases) -> list[float]:
            return [fmean(map(value, case)) for case in of]

        against = [
            fmean(tuned[_network(row)] - row.accuracy_after for row in case)
            for case in cases
            if all(_network(row) in tuned for row in case)
        ]
        triggers = len({row.trigger for row in own})
        several = f" ({len(cases)} networks)" if len(cases) > triggers else ""
        left = each(lambda row: row.asr_after)
        within = [pstdev(row.asr_after for row in case) for case in cases if len(case) > 1]
        lines.append(
            {
                "data": data,
                "triggers": f"{triggers} {kind}, {variant}{several}",
                "defence": f"{defence} (our default)" if defence == OURS else defence,
                "ASR before": percent(each(lambda row: row.asr_before), lowest=True),
                "ASR after": percent(left),
                "spread": percent([pstdev(left)] if len(left) > 1 else []),
                "of restarts": percent([fmean(within)] if within else []),
                "excess over the clean network": percent(each(lambda row: row.excess)),
                "accuracy lost": percent(
                    each(lambda row: row.accuracy_before - row.accuracy_after)
                ),
                "against fine-tuning": percent(against),
                "passes": f"{fmean(row.passes for row in own):,.0f}",
                "seconds": f"{fmean(row.seconds for row in own):.0f}",
            }
        )
    return lines


def kind_of(row: Row) -> str:
    """Return what kind of trigger a row is about."""
    return "black-white" if row.trigger.startswith("bw:") else "random-colour"


def _group(row: Row) -> tuple[str, str, str]:
    return row.data, kind_of(row), row.variant


def _network(row: Row) -> tuple[str, int]:
    """Return what the rows of one network by one seed share, however it was trained again."""
    return row.network, row.seed


def _orbit(number: int) -> set[int]:
    """Return every N that rotations, mirrors and the inversion make of one."""
    square = torch.tensor([int(bit) for bit in f"{number:09b}"]).reshape(3, 3)
    found: set[int] = set()
    for turned in (square.rot90(turns) for turns in range(4)):
        for seen in (turned, turned.flip(1)):
            value = int("".join(str(int(bit)) for bit in seen.flatten()), 2)
            found |= {value, 511 - value}
    return found
