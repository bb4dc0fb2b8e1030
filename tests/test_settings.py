"""Settings check themselves when they are made; the sentence names the one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from unbackdoor.detectors.peers.cleanse import CleanseSettings
from unbackdoor.detectors.peers.karm import KArmSettings
from unbackdoor.detectors.peers.margin import MarginSettings
from unbackdoor.detectors.settings import (
    BanditSettings,
    ReversalSettings,
    Round,
    ScreeningSettings,
    SearchSettings,
)
from unbackdoor.errors import ArgumentError
from unbackdoor.mesa.settings import (
    FlowSettings,
    LearningSettings,
    MineSettings,
    SmcSettings,
    SwiftSettings,
)
from unbackdoor.repairing.settings import Attempt, GuardSettings, RepairSettings
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.training import TrainingSettings

NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "wrong", "named"),
    [
        (ScanSettings, {"clean": 0.9, "backdoored": 0.2}, "clean, backdoored"),
        (ScanSettings, {"clean": NAN}, "clean, backdoored"),
        (ScanSettings, {"backdoored": 0.1, "clean": 0.05}, "survives"),
        (SearchSettings, {"survives": NAN}, "survives"),
        (ScanSettings, {"betas": (0.9, 0.5)}, "betas"),
        (SearchSettings, {"panel": 0}, "panel"),
        (SearchSettings, {"temperature": 0.0}, "temperature"),
        (ScreeningSettings, {"restarts": 0}, "restarts"),
        (BanditSettings, {"walkers": 0}, "walkers"),
        (BanditSettings, {"look": 1}, "look"),
        (BanditSettings, {"enough": 1.1}, "enough"),
        (BanditSettings, {"after": NAN}, "after"),
        (Round, {"arms": 0, "passes": 1, "most": 1}, "arms"),
        (Round, {"arms": 1, "passes": 1, "most": 1, "reach": 0.0}, "reach"),
        (ReversalSettings, {"learning_rate": NAN}, "learning_rate"),
        (CleanseSettings, {"patience": 0}, "patience"),
        (CleanseSettings, {"works": 1.1}, "works"),
        (CleanseSettings, {"price": NAN}, "price"),
        (KArmSettings, {"pulls": 0}, "pulls"),
        (KArmSettings, {"beta": 0.0}, "beta"),
        (MarginSettings, {"pictures": 0}, "pictures"),
        (MarginSettings, {"settled": -1.0}, "settled"),
        (FlowSettings, {"components": 0}, "components"),
        (SmcSettings, {"survive": 1.5}, "survive"),
        (LearningSettings, {"networks": -1}, "networks"),
        (SwiftSettings, {"particles": 0}, "particles"),
        (MineSettings, {"batch": 0}, "batch"),
        (TrainingSettings, {"epochs": 0}, "epochs"),
        (TrainingSettings, {"learning_rate": -1.0}, "learning_rate"),
        (RepairSettings, {"share": 1.1}, "share"),
        (GuardSettings, {"max_accuracy_lost": NAN}, "max_accuracy_lost"),
        (GuardSettings, {"looks": 0}, "looks"),
        (GuardSettings, {"kept_back": 1.0}, "kept_back"),
        (Attempt, {"rate": 0.0}, "rate"),
        (Attempt, {"layers": 1.1}, "layers"),
        (Attempt, {"clip": 0.0}, "clip"),
    ],
)
def test_a_setting_out_of_range_is_named(kind: Any, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{named}: expected .*came"):
        kind(**wrong)
