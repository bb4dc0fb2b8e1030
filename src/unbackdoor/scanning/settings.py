"""The settings of a scan: how much work its detector does, and the rule of its judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from unbackdoor.detectors.settings import (
    BANDIT,
    BanditSettings,
    ScreeningSettings,
    SearchSettings,
)
from unbackdoor.errors import ArgumentError
from unbackdoor.mesa.settings import SWIFT, SwiftSettings
from unbackdoor.verdict.bag import Bag
from unbackdoor.verdict.thresholds import Thresholds

FIRST_SHARE = 0.8
"""Share of all clean images that a scan and a repair use; the rest is for the second scan."""


@dataclass(frozen=True, kw_only=True)
class ScanSettings(SearchSettings):
    """How much work a scan does, and the thresholds of its verdict.

    They form one record because stored rows are keyed by it. The detector reads only its own part.

    Args:
        backdoored: held-back ASR from which a class is called backdoored.
        clean: held-back ASR up to which a class is called clean.
        bandit: how much work the search for triggers does, before their law is recovered.

    Raises:
        ArgumentError: a setting is out of range, or the thresholds are not in order.

    """

    backdoored: float = 0.8
    clean: float = 0.3
    bandit: BanditSettings = field(default=BANDIT, metadata={"later": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.survives > self.thresholds.backdoored:
            raise ArgumentError(
                f"survives: expected at most backdoored={self.backdoored:g}, so that a class that "
                f"is called backdoored has a staircase, came {self.survives:g}."
            )

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, in the form that the judge takes."""
        return Thresholds(backdoored=self.backdoored, clean=self.clean)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a verdict is held to, beside the thresholds.

    Args:
        bag: reference networks with which the model is compared; with none when left out.
        power: whether it is checked that known triggers would be found in a copy of the model,
            before it is called clean.
        seconds: after which no further image passes in the search.
        suspects: classes that are searched on their own among all places, whatever rises.

    """

    bag: Bag | None = None
    power: bool = False
    seconds: float = inf
    suspects: tuple[int, ...] = ()


PLAIN = Terms()
"""No terms but the thresholds."""
SCAN = ScanSettings()
"""The settings of the published tables, which learn F as a mean and fit flows to it."""


BUDGETS: dict[str, ScanSettings] = {
    "quick": ScanSettings(
        bandit=BANDIT.scaled(0.5),
        learning=SwiftSettings(rounds=6, draws=300),
        uniform_draws=256,
        stair_draws=120,
        evaluate=250,
    ),
    "standard": ScanSettings(learning=SWIFT, stair_draws=200),
    "thorough": ScanSettings(
        bandit=BANDIT.scaled(4),
        screening=ScreeningSettings(restarts=8, steps=240),
        learning=SwiftSettings(rounds=20, draws=1500, networks=6, steps=700, particles=20_000),
        panel=48,
        pool=2000,
        uniform_draws=2048,
        stair_draws=2000,
        evaluate=2000,
    ),
}
"""The settings of each ``--budget``."""
