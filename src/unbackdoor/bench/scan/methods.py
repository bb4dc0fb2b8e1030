"""The detectors that are compared, each with its rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.scan.rules import Rule, anomaly, largest_margin, no_rule, smallest_mask
from unbackdoor.detectors.detector import Detector
from unbackdoor.detectors.peers.cleanse import TROJANZOO, Cleanse
from unbackdoor.detectors.peers.karm import KArm
from unbackdoor.detectors.peers.margin import LargestMargin
from unbackdoor.detectors.peers.mine import PaperMine
from unbackdoor.detectors.peers.probes import HeadWeights, NoiseAnswers
from unbackdoor.errors import ArgumentError

OURS = "unbackdoor"
"""The name of the scan of this package."""
SUBSET = ("shipped:bw170", "shipped:clean", "slim-mid", "slim-clean1")
"""Networks on which dear detectors run where nobody names them."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A detector of others with its own rule.

    Args:
        key: short name, for ``--methods``.
        detector: the detector.
        rule: from its statistics to a verdict.
        unasked: networks on which it runs where nobody names it; every network when left out.

    """

    key: str
    detector: Detector
    rule: Rule
    unasked: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """In the table."""
        return self.detector.name

    def detector_for(self, truth: Truth) -> Detector:
        """Return the detector for a network, which learns nothing of the truth."""
        del truth
        return self.detector


@dataclass(frozen=True, kw_only=True)
class Told(Peer):
    """A detector that is told the attacked class; in a clean network the first one."""

    detector: PaperMine

    def detector_for(self, truth: Truth) -> Detector:
        """Return the detector with the attacked class."""
        return replace(self.detector, classes=tuple(truth.targets or (0,)))


PEERS: tuple[Peer, ...] = (
    Peer(key="head", detector=HeadWeights(), rule=anomaly),
    Peer(key="noise", detector=NoiseAnswers(), rule=anomaly),
    Peer(key="mm-bd", detector=LargestMargin(), rule=largest_margin),
    Peer(key="k-arm", detector=KArm(), rule=smallest_mask),
    Told(key="mine", detector=PaperMine(), rule=no_rule, unasked=SUBSET),
    Peer(key="nc", detector=Cleanse(), rule=anomaly, unasked=SUBSET),
    Peer(
        key="nc-trojanzoo",
        detector=Cleanse(TROJANZOO, name="neural-cleanse, TrojanZoo"),
        rule=anomaly,
        unasked=(),
    ),
)
"""Every detector of others, the cheapest first. The last one takes ten million passes for a network
of ten classes, so it runs only where it is named."""


def peers_of(asked: str | None, network: str) -> list[Peer]:
    """Return the detectors of others that run on a network.

    Args:
        asked: short names with commas between them; when left out those that run unasked.
        network: its name.

    Raises:
        ArgumentError: there is none of a name.

    """
    if asked is None:
        return [peer for peer in PEERS if peer.unasked is None or network in peer.unasked]
    every = {peer.key: peer for peer in PEERS}
    names = [name for name in asked.split(",") if name]
    if unknown := [name for name in names if name not in every and name != OURS]:
        raise ArgumentError(
            f"--methods: there is no method {unknown[0]!r}; there are {OURS}, {', '.join(every)}."
        )
    return [every[name] for name in names if name != OURS]
