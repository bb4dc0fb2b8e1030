"""The paper's experiment at a size that takes seconds, for tests and for processes they kill."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Serial
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.paper import table as paper
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
from unbackdoor.bench.paper.defended import DefenceRow, Defended
from unbackdoor.bench.paper.networks import Network
from unbackdoor.detectors.settings import ReversalSettings, ScreeningSettings
from unbackdoor.mesa.settings import MINE_PAPER, FlowSettings, LearningSettings
from unbackdoor.repairing.rivals.anp import AnpSettings
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rivals.ibau import IbauSettings
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.runtime import cpu
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.training import TrainingSettings

NETWORK = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 2),
    )
"""
SCANNING = ScanSettings(
    betas=(0.2, 0.5),
    screening=ScreeningSettings(restarts=1, steps=3, images_to_judge=4),
    learning=LearningSettings(rounds=1, draws=40, networks=2, steps=10, climbers=20, islands=2),
    flow=FlowSettings(steps=3, draws=8, components=2),
    panel=10,
    uniform_draws=16,
    stair_draws=20,
)
REPAIR = RepairSettings(
    images_seen=200, training=TrainingSettings(epochs=5, batch_size=20, learning_rate=0.02, shift=1)
)
MESA = Mesa(scanning=SCANNING)
DEFENCES = (
    Undefended(),
    FineTuned(),
    Ideal(),
    Reversed(settings=ReversalSettings(steps=2, batch=8)),
    Reversed(restart=1, settings=ReversalSettings(steps=2, batch=8)),
    replace(MESA, beta=0.5),
    MESA,
    replace(MESA, equal=True),
    Generated(settings=replace(MINE_PAPER, steps=2, batch=8), betas=(0.5,), draws=20),
    SpectralFilter(),
    FineTuned(plain=True),
    Rival(SamSettings(training=TrainingSettings(epochs=3, batch_size=20, shift=1))),
    Rival(AnpSettings(steps=2, batch=8, shift=1)),
    Rival(IbauSettings(rounds=1, batch=40)),
)


def networks(folder: Path) -> list[tuple[Network, Network]]:
    """Return an implanted and a trained-in backdoor, each with the clean network.

    The ``pictures`` lie in ``folder``.
    """
    code = folder / "network.py"
    code.write_text(NETWORK)
    recipe = TrainingSettings(epochs=5, batch_size=20, learning_rate=0.05, shift=1)
    clean = Network(data=str(folder / "pictures"), arch=f"{code}:make", training=recipe)
    return [
        (replace(clean, start=clean, trigger="bw:170", rate=0.2), clean),
        (replace(clean, trigger="rgb:3", rate=0.2), clean),
    ]


def specs(folder: Path) -> list[Defended]:
    """Return every row of a tiny table."""
    return [
        Defended(network=bad, clean=clean, defence=defence, repair=REPAIR, count=80)
        for bad, clean in networks(folder)
        for defence in DEFENCES
    ]


def table(folder: Path) -> list[DefenceRow]:
    """Complete the tiny table in ``folder``."""
    return complete(specs(folder), Archive(folder / "store"), Serial(), Silent())


if __name__ == "__main__":
    cpu.prepare(1)
    table(Path(sys.argv[1]))
    print(len(paper.table(table(Path(sys.argv[1])))))
