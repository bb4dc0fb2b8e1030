"""The rules by which other authors come from the statistics of the classes to a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbackdoor.verdict.reason import Verdict

CONSISTENT = 1.4826
"""Median absolute deviations of a normal law are so many times smaller than its standard one."""
ANOMALOUS = 2.0
"""Anomaly index above which a class counts as backdoored."""
SIGNIFICANT = 0.05
"""p-value below which the largest margin counts as that of a backdoor."""
BOUND = 1720.0
"""Size of a mask, in pixels of 224×224, below which K-Arm counts it as a trigger."""
LEAST_P = 1e-300


@dataclass(frozen=True)
class Ruling:
    """What a rule comes to.

    Args:
        verdict: inconclusive where the rule says nothing.
        accused: classes with a backdoor, rising.
        scores: for each class, larger for a backdoor; the largest is the score of the network.

    """

    verdict: Verdict
    accused: list[int]
    scores: list[float]


Rule = Callable[[Sequence[float]], Ruling]
"""From the statistic of each class, larger for a backdoor, to a verdict."""


def anomaly(statistics: Sequence[float]) -> Ruling:
    """Accuse each class whose statistic is above the median by an anomaly index of more than 2.

    The index is the distance from the median, in median absolute deviations made consistent with a
    normal law (Wang et al., *Neural Cleanse*, 2019). Of an even number the lower one of the middle
    sizes is the median, as in BackdoorBench. Where more than half of the statistics are equal there
    is no index.

    Example:
        >>> anomaly([-40.0, -50.0, -60.0, -5.0, -45.0]).accused
        [3]

    """
    values = torch.tensor(statistics, dtype=torch.float64)
    middle = -(-values).median()
    deviation = CONSISTENT * (values - middle).abs().median()
    if not deviation > 0:
        return _nothing(statistics)
    return _above((values - middle) / deviation, ANOMALOUS)


def largest_margin(statistics: Sequence[float]) -> Ruling:
    """Accuse the class with the largest statistic if the others do not explain it (MM-BD).

    A gamma distribution is fitted to the other classes, and p is the chance that the largest of as
    many draws as there are classes is larger. The published code also fits where the distribution
    begins; here it begins at 0, because with three parameters the likelihood has no maximum. A
    score is −log₁₀ p.

    Example:
        >>> largest_margin([10.0, 11.0, 12.0, 10.5, 11.5, 30.0]).accused
        [5]

    """
    values = torch.tensor(statistics, dtype=torch.float64)
    others = values.sort().values[:-1]
    if len(others) < 2 or not others[0] > 0 or others[0] == others[-1]:
        return _nothing(statistics)
    shape, scale = fit_gamma(others)
    beyond = torch.igammac(shape, values.clamp(min=0) / scale)
    p = -torch.expm1(len(values) * torch.log1p(-beyond))
    told = _above(-torch.log10(p.clamp(min=LEAST_P)), -math.log10(SIGNIFICANT))
    return Ruling(told.verdict, [int(values.argmax())] if told.accused else [], told.scores)


def smallest_mask(statistics: Sequence[float]) -> Ruling:
    """Accuse the class with the smallest mask, if it is below the bound (K-Arm).

    Args:
        statistics: minus the sizes, in pixels of a picture of 224×224.

    Example:
        >>> smallest_mask([-9000.0, -300.0, -1000.0]).accused
        [1]

    """
    sizes = -torch.tensor(statistics, dtype=torch.float64)
    told = _above(-torch.log(sizes.clamp(min=1e-6) / BOUND), 0.0)
    best = max(range(len(statistics)), key=statistics.__getitem__)
    return Ruling(told.verdict, [best] if told.accused else [], told.scores)


def no_rule(statistics: Sequence[float]) -> Ruling:
    """Say nothing: the method has no rule. Its statistics are its scores."""
    return Ruling("inconclusive", [], list(statistics))


def fit_gamma(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return shape and scale of the gamma distribution under which values are likeliest.

    Args:
        values: ``(n,)`` float64, above 0 and not all equal.

    Example:
        >>> shape, scale = fit_gamma(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        >>> round(float(shape * scale), 6)
        2.0

    """
    mean = values.mean()
    spread = mean.log() - values.log().mean()
    shape = (3 - spread + ((spread - 3) ** 2 + 24 * spread).sqrt()) / (12 * spread)
    for _ in range(50):  # Newton on log k − ψ(k) = log mean − mean log
        off = shape.log() - torch.digamma(shape) - spread
        slope = 1 / shape - torch.polygamma(1, shape)
        shape = (shape - off / slope).clamp(min=shape / 2)
    return shape, mean / shape


def _above(scores: Tensor, bound: float) -> Ruling:
    accused = [index for index, score in enumerate(scores) if float(score) > bound]
    return Ruling("backdoored" if accused else "clean", accused, [float(one) for one in scores])


def _nothing(statistics: Sequence[float]) -> Ruling:
    return Ruling("inconclusive", [], [0.0] * len(statistics))
