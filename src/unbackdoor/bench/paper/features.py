"""``bench paper-features``: where poisoned images lie in a network's last features.

Spectral signatures (Tran, Li and Madry, NeurIPS 2018) assume that in the target class the features
of poisoned images have another mean than those of clean ones. For each trigger of the paper this
benchmark measures the distance of the two means, how well the spectral score separates the images,
and how many of the poisoned ones would count as out of distribution. It also measures whether any
of these numbers predicts how hard the trigger is to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, cast

import msgspec
import torch
from torch import Tensor

from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.framework.table import Line
from unbackdoor.bench.paper.attacks import asked_for
from unbackdoor.bench.paper.defended import DefenceRow, Defended
from unbackdoor.bench.paper.networks import Network, sha256
from unbackdoor.bench.paper.poisoned import Poisoned
from unbackdoor.bench.paper.table import MAIN, columns_of
from unbackdoor.models import decode
from unbackdoor.repairing.rivals.spectral import ranks, scores, separation
from unbackdoor.results import versions

FALSE_ALARMS = 0.05
RIDGE = 1e-3
"""Added to the variance of each feature, in units of the mean variance."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """How far poisoned training images are from the clean ones of the target class.

    Args:
        network: SHA-256 of the backdoored network's file.
        distance: between the two means, in standard deviations of the clean ones (Mahalanobis).
        spectral: area under the ROC curve of the spectral score, 0.5 for no separation.
        outside: share of the poisoned ones that are farther from the clean mean than all but
            :data:`FALSE_ALARMS` of the clean ones.
        poisoned: number of poisoned images.
        versions: of the software on which the figures depend.

    """

    network: str = ""
    distance: float
    spectral: float
    outside: float
    poisoned: int
    versions: dict[str, str]


def compare(clean: Tensor, poisoned: Tensor) -> tuple[float, float, float]:
    """Return distance, spectral separation and share outside of features ``(n, d)``.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> clean = torch.randn(4000, 2, generator=generator)
        >>> far = torch.randn(400, 2, generator=generator) + torch.tensor([6.0, 0.0])
        >>> [round(value, 1) for value in compare(clean, far)]
        [6.0, 1.0, 1.0]

    """
    mean = clean.double().mean(0)
    centred = clean.double() - mean
    covariance = centred.T @ centred / len(clean)
    ridge = RIDGE * covariance.diagonal().mean()
    # Whitened: a distance in any direction is in standard deviations of the clean ones there.
    variances, directions = cast(
        tuple[Tensor, Tensor],
        torch.linalg.eigh(covariance + ridge * torch.eye(len(mean), dtype=torch.float64)),
    )
    whitening = directions / variances.sqrt()

    def away(features: Tensor) -> Tensor:
        return ((features.double() - mean) @ whitening).square().sum(-1).sqrt()

    alarm = away(clean).quantile(1 - FALSE_ALARMS)
    truth = torch.cat([torch.zeros(len(clean)), torch.ones(len(poisoned))]).bool()
    return (
        float(away(poisoned.double().mean(0))),
        separation(scores(torch.cat([clean, poisoned])), truth),
        float((away(poisoned) > alarm).double().mean()),
    )


@dataclass(frozen=True, kw_only=True)
class Separated(Spec):
    """The features of one backdoored network."""

    network: Network

    table: ClassVar[str] = "paper-features"
    result: ClassVar[type] = Features
    version: ClassVar[int] = 2

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network."""
        return (self.network,)

    @property
    def work(self) -> float:
        """The training images of one label of ten."""
        return 5_500

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Features:
        """Compute the features of all training images with the label of the target class."""
        network = self.network
        trained = Poisoned.of(network)
        own = (trained.labels == network.target).nonzero()[:, 0]
        features = trained.features(decode(inputs[network], network.arch).to(device), own)
        bad = trained.poison.poisoned[own]
        distance, spectral, outside = compare(features[~bad], features[bad])
        return Features(
            network=sha256(inputs[network]),
            distance=distance,
            spectral=spectral,
            outside=outside,
            poisoned=int(bad.sum()),
            versions=versions(),
        )


@dataclass(frozen=True)
class TriggerRow:
    """One trigger: its features, and the rows of the main defences for each seed."""

    features: Features
    rows: Sequence[DefenceRow]

    @property
    def excess(self) -> dict[str, float]:
        """The excess after each defence, as the mean over seeds."""
        by: dict[str, list[float]] = {}
        for row in self.rows:
            by.setdefault(row.defence, []).append(row.excess)
        return {defence: fmean(values) for defence, values in by.items()}

    @property
    def same(self) -> bool:
        """Whether the features and the defences are of the same network file."""
        return {row.network for row in self.rows} == {self.features.network}


def plan(request: Request) -> list[Spec]:
    """Return a piece for each network, and one for each main defence of it.

    Raises:
        ArgumentError: an attack is none of the paper's.

    """
    specs: list[Spec] = []
    for network, clean in asked_for(request):
        specs.append(Separated(network=network))
        specs += columns_of([(network, clean)], MAIN, request.seeds)
    return specs


def gathered(request: Request, specs: Sequence[Spec], archive: Archive) -> list[TriggerRow]:
    """Return the triggers whose measurements are complete."""
    del request
    by: dict[Network, list[Defended]] = {}
    for spec in specs:
        if isinstance(spec, Defended):
            by.setdefault(spec.network, []).append(spec)
    return [
        TriggerRow(archive[spec], [archive[defended] for defended in by[spec.network]])
        for spec in specs
        if isinstance(spec, Separated)
        and spec in archive
        and all(defended in archive for defended in by[spec.network])
    ]


def flat(measured: Sequence[TriggerRow]) -> list[dict[str, Any]]:
    """Return a row for each trigger."""
    return [
        {
            "data": one.rows[0].data,
            "trigger": one.rows[0].trigger,
            "asr_before": one.rows[0].asr_before,
            **msgspec.to_builtins(one.features),
            "excess": one.excess,
            "rows": [
                {name: getattr(row, name) for name in ("defence", "seed", "network", "excess")}
                for row in one.rows
            ],
        }
        for one in measured
    ]


def table(measured: Sequence[TriggerRow]) -> list[Line]:
    """Return the table: features, and their correlation with the excess after each defence.

    *Same network* counts the triggers whose features and defences are of the same file; a network
    that was trained again on another machine may differ. The last columns use only these triggers.
    They are Spearman's rank correlations over triggers with the excess after a defence.
    """
    if not measured:
        return []
    kinds: dict[str, Callable[[TriggerRow], float]] = {
        "distance, σ": lambda one: one.features.distance,
        "spectral AUC": lambda one: one.features.spectral,
        f"outside at {FALSE_ALARMS:.0%}": lambda one: one.features.outside,
    }
    same = [one for one in measured if one.same]
    lines: list[Line] = []
    for name, value in kinds.items():
        values = [value(one) for one in measured]
        line = {
            "feature": name,
            "triggers": str(len(values)),
            "same network": str(len(same)),
            "mean": f"{fmean(values):.2f}",
            "lowest": f"{min(values):.2f}",
            "highest": f"{max(values):.2f}",
        }
        for defence in MAIN:
            excess = [one.excess[defence.name] for one in same]
            told = spearman([value(one) for one in same], excess)
            line[f"ρ with {defence.name}"] = "–" if told is None else f"{told:.2f}"
        lines.append(line)
    return lines


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the rank correlation of two lists, None if one of them is constant or too short.

    Example:
        >>> spearman([1.0, 2.0, 5.0], [0.1, 0.3, 0.2]), spearman([1.0, 1.0], [0.0, 1.0])
        (0.5, None)

    """
    places = [ranks(torch.tensor(values, dtype=torch.float64)) for values in (one, other)]
    if len(one) < 2 or any(float(place.std()) == 0 for place in places):
        return None
    return float(torch.corrcoef(torch.stack(places))[0, 1])


BENCH = Bench(
    name="paper-features",
    summary="Where poisoned images lie in a network's last features, and what defences achieve.",
    plan=plan,
    rows=gathered,
    table=table,
    flat=flat,
    seeds=1,
    flags=frozenset({"only", "variant", "arch"}),
)
