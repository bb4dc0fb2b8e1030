"""Problems with known answers: level sets with exact volumes and exact draws, and densities.

Every F is a formula of θ ∈ [0, 1]^n; d is the distance to the middle of the cube, σ the logistic
function, k a slope that keeps the logit above −40 or so at the middle of the cube.

- half-space: F = σ(k (Σ θ − s)); the volume of {Σ θ ≥ s} is Irwin and Hall's; - ball: F = σ(20 (1 −
d / r)); - box: F = σ(40 (min θ − a)); - shell: F = σ(3 (1 − |d − r| / w)), thin: w = 0.03; -
corners: F = max_j σ(k (c_j − |θ − v_j|₁)) with corners v_j of the cube and cuts c_j: separated
modes whose volumes, again Irwin and Hall's, have a given ratio.

The densities f, and F = g(f / max f) with g(u) = 2u / (1 + u), are mixtures of Gaussians (a ring of
8, a grid of 25, one of 4 in 27 dimensions) and Neal's funnel, all inside the cube.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import torch
from torch import Generator, Tensor

from unbackdoor.rng import stream


class LevelSets(Protocol):
    """A testing function whose level sets are known."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    @property
    def dimensions(self) -> int:
        """How many parameters θ has."""
        ...

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F ``(B,)`` float64 for θ ``(B, n)``."""
        ...

    def log_volume(self, beta: float) -> float:
        """Return log|V_β| in nats."""
        ...

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw ``(count, n)`` from the uniform law on V_β."""
        ...


def logit(beta: float) -> float:
    """Return log(β / (1 − β))."""
    return math.log(beta / (1 - beta))


@dataclass(frozen=True)
class HalfSpace:
    """F(θ) = σ(k (Σ θ − s))."""

    dimensions: int
    offset: float
    name: str = "half-space"

    @property
    def slope(self) -> float:
        """The slope k."""
        return min(8.0, 40 / (self.offset - self.dimensions / 2))

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F."""
        return torch.sigmoid(self.slope * (theta.double().sum(1) - self.offset))

    def log_volume(self, beta: float) -> float:
        """Return log|V_β|."""
        return log_corner(self.dimensions, self._cut(beta))

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw from U(V_β)."""
        return 1 - _sample_corner(self.dimensions, self._cut(beta), count, generator)

    def _cut(self, beta: float) -> float:
        return self.dimensions - self.offset - logit(beta) / self.slope


@dataclass(frozen=True)
class Ball:
    """F(θ) = σ(20 (1 − d / r)), r ≤ ½."""

    dimensions: int
    radius: float = 0.5
    name: str = "ball"

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F."""
        return torch.sigmoid(20 * (1 - _from_middle(theta) / self.radius))

    def log_volume(self, beta: float) -> float:
        """Return log|V_β|."""
        return log_ball(self.dimensions, self._reach(beta))

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw from U(V_β)."""
        return _sample_shell(self.dimensions, 0.0, self._reach(beta), count, generator)

    def _reach(self, beta: float) -> float:
        return self.radius * (1 - logit(beta) / 20)


@dataclass(frozen=True)
class Box:
    """F(θ) = σ(40 (min θ − a))."""

    dimensions: int
    low: float = 0.3
    name: str = "box"

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F."""
        return torch.sigmoid(40 * (theta.double().amin(1) - self.low))

    def log_volume(self, beta: float) -> float:
        """Return log|V_β|."""
        return self.dimensions * math.log(1 - self._low(beta))

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw from U(V_β)."""
        low = self._low(beta)
        return low + (1 - low) * torch.rand(count, self.dimensions, generator=generator)

    def _low(self, beta: float) -> float:
        return self.low + logit(beta) / 40


@dataclass(frozen=True)
class Shell:
    """F(θ) = σ(3 (1 − |d − r| / w)), r + w ≤ ½."""

    dimensions: int
    radius: float = 0.4
    width: float = 0.03
    name: str = "shell"

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F."""
        away = (_from_middle(theta) - self.radius).abs()
        return torch.sigmoid(3 * (1 - away / self.width))

    def log_volume(self, beta: float) -> float:
        """Return log|V_β|."""
        inner, outer = self._ends(beta)
        return log_ball(self.dimensions, outer) + math.log1p(-((inner / outer) ** self.dimensions))

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw from U(V_β)."""
        return _sample_shell(self.dimensions, *self._ends(beta), count, generator)

    def _ends(self, beta: float) -> tuple[float, float]:
        half = self.width * (1 - logit(beta) / 3)
        return self.radius - half, self.radius + half


@dataclass(frozen=True)
class Corners:
    """F(θ) = max_j σ(k (c_j − |θ − v_j|₁)): modes at corners of the cube.

    Args:
        dimensions: n.
        shares: of the volume at β = ½, one per mode; they sum to 1.

    """

    dimensions: int
    shares: tuple[float, ...]
    name: str = "corners"
    places: Tensor = field(init=False, repr=False, compare=False)
    cuts: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        largest = 0.22 * self.dimensions
        of_largest = log_corner(self.dimensions, largest) - math.log(max(self.shares))
        cuts = tuple(_cut_of(self.dimensions, of_largest + math.log(s)) for s in self.shares)
        object.__setattr__(self, "cuts", cuts)
        object.__setattr__(self, "places", _far_corners(self.dimensions, len(self.shares)))

    @property
    def slope(self) -> float:
        """The slope k."""
        return 40 / (self.dimensions / 2 - min(self.cuts))

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F."""
        away = (theta[:, None].double() - self.places).abs().sum(2)
        return torch.sigmoid(self.slope * (torch.tensor(self.cuts) - away)).amax(1)

    def log_volume(self, beta: float) -> float:
        """Return log|V_β|."""
        return float(torch.logsumexp(self._log_volumes(beta), 0))

    def weights(self, beta: float) -> Tensor:
        """Return the share of each mode in V_β."""
        return torch.softmax(self._log_volumes(beta), 0)

    def mode(self, theta: Tensor) -> Tensor:
        """Return the nearest mode of each θ, ``(B,)``."""
        return (theta[:, None].double() - self.places).abs().sum(2).argmin(1)

    def sample(self, beta: float, count: int, generator: Generator) -> Tensor:
        """Draw from U(V_β)."""
        which = torch.multinomial(self.weights(beta), count, replacement=True, generator=generator)
        away = torch.empty(count, self.dimensions)
        for mode, cut in enumerate(self.cuts):
            rows = (which == mode).nonzero()[:, 0]
            cut_here = cut - logit(beta) / self.slope
            away[rows] = _sample_corner(self.dimensions, cut_here, len(rows), generator)
        place = self.places[which].float()
        return torch.where(place > 0, 1 - away, away)

    def _log_volumes(self, beta: float) -> Tensor:
        lower = logit(beta) / self.slope
        return torch.tensor(
            [log_corner(self.dimensions, cut - lower) for cut in self.cuts], dtype=torch.float64
        )


def log_corner(dimensions: int, cut: float) -> float:
    """Return log|{u ∈ [0, 1]^n : Σ u ≤ cut}| (Irwin and Hall, 1927), in exact arithmetic."""
    x = Fraction(cut)
    total = sum(
        (-1) ** k * math.comb(dimensions, k) * (x - k) ** dimensions
        for k in range(math.floor(x) + 1)
    )
    volume = Fraction(total) / math.factorial(dimensions)
    return math.log(volume.numerator) - math.log(volume.denominator)


def log_ball(dimensions: int, radius: float) -> float:
    """Return the log of the volume of a ball."""
    half = dimensions / 2
    return half * math.log(math.pi) - math.lgamma(half + 1) + dimensions * math.log(radius)


def _from_middle(theta: Tensor) -> Tensor:
    return (theta.double() - 0.5).square().sum(1).sqrt()


def _sample_shell(
    dimensions: int, inner: float, outer: float, count: int, generator: Generator
) -> Tensor:
    direction = torch.randn(count, dimensions, generator=generator)
    direction = direction / direction.square().sum(1, keepdim=True).sqrt()
    u = torch.rand(count, 1, generator=generator)
    hollow = (inner / outer) ** dimensions
    return 0.5 + direction * outer * (hollow + (1 - hollow) * u) ** (1 / dimensions)


def _sample_corner(dimensions: int, cut: float, count: int, generator: Generator) -> Tensor:
    """Draw u uniform on {Σ u ≤ cut}: by rejection from truncated exponentials of about that sum."""
    low, high = 1e-6, 1e3
    for _ in range(100):
        rate = math.sqrt(low * high)
        mean = 1 / rate - 1 / math.expm1(rate) if rate < 700 else 1 / rate
        low, high = (rate, high) if mean * dimensions > cut else (low, rate)
    rate = high
    kept: list[Tensor] = [torch.empty(0, dimensions)]
    while sum(map(len, kept)) < count:
        uniform = torch.rand(2 * count + 64, dimensions, generator=generator).double()
        u = -torch.log1p(uniform * math.expm1(-rate)) / rate
        slack = cut - u.sum(1)
        chance = torch.rand(len(u), generator=generator).double()
        kept.append(u[(slack >= 0) & (chance.log() < -rate * slack)].float())
    return torch.cat(kept)[:count]


def _cut_of(dimensions: int, log_volume: float) -> float:
    low, high = 1e-9, dimensions / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if log_corner(dimensions, middle) < log_volume else (low, middle)
    return high


def _far_corners(dimensions: int, count: int) -> Tensor:
    """Return ``count`` corners that differ from each other in many values, by a greedy search."""
    draws = torch.randint(2, (400, dimensions), generator=stream(0, "corners", dimensions, count))
    chosen = [torch.zeros(dimensions, dtype=torch.int64)]
    if count == 2:
        return torch.stack([*chosen, 1 - chosen[0]]).double()
    while len(chosen) < count:
        away = (draws[:, None] - torch.stack(chosen)).abs().sum(2).amin(1)
        chosen.append(draws[away.argmax()])
    return torch.stack(chosen).double()


OFFSETS = {2: 1.5, 9: 6.5, 27: 19.0, 75: 49.0, 192: 117.0}


def level_sets() -> list[LevelSets]:
    """Return the problems of ``bench toys``, in 2 to 192 dimensions."""
    problems: list[LevelSets] = [HalfSpace(n, offset) for n, offset in OFFSETS.items()]
    for n in OFFSETS:
        problems += [Ball(n), Box(n), Shell(n)]
        problems.append(Corners(n, (0.75, 0.25), "two modes"))
        if n >= 27:
            problems.append(Corners(n, (0.36, 0.28, 0.2, 0.1, 0.06), "five modes"))
    return problems


@dataclass(frozen=True)
class Gaussians:
    """f(θ) = Σ_j w_j N(θ; c_j, s²): a mixture of equally wide Gaussians, compared by its name.

    Args:
        name: its name in tables.
        centres: ``(modes, n)``.
        deviation: s.
        weights: ``(modes,)``, sums to 1.

    """

    name: str
    centres: Tensor = field(compare=False)
    deviation: float
    weights: Tensor = field(compare=False)

    @property
    def dimensions(self) -> int:
        """How many parameters θ has."""
        return self.centres.shape[1]

    def log_density(self, theta: Tensor) -> Tensor:
        """Return log f ``(B,)`` up to a constant: 0 is the top of a mode of weight 1."""
        away = (theta[:, None].double() - self.centres).square().sum(2)
        return torch.logsumexp(self.weights.log() - away / (2 * self.deviation**2), 1)

    def mode(self, theta: Tensor) -> Tensor:
        """Return the nearest centre of each θ."""
        return (theta[:, None].double() - self.centres).square().sum(2).argmin(1)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw ``(count, n)`` from f."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.dimensions, generator=generator)
        return self.centres[which].float() + self.deviation * noise


@dataclass(frozen=True)
class Funnel:
    """Neal's funnel: v ~ N(0, 1), u | v ~ N(0, e^{2v}), at θ = ½ + (v, u / 3) / 7."""

    name: str = "funnel"
    dimensions: int = 2

    def log_density(self, theta: Tensor) -> Tensor:
        """Return log f up to a constant."""
        v, u = (7 * (theta.double() - 0.5) * torch.tensor([1.0, 3.0])).T
        return -v.square() / 2 - v - u.square() / (2 * torch.exp(2 * v))

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw ``(count, 2)`` from f; draws outside the cube are drawn again."""
        kept: list[Tensor] = [torch.empty(0, 2)]
        while sum(map(len, kept)) < count:
            v, noise = torch.randn(2, 2 * count, generator=generator)
            theta = 0.5 + torch.stack([v, noise * v.exp() / 3], 1) / 7
            kept.append(theta[((theta >= 0) & (theta <= 1)).all(1)])
        return torch.cat(kept)[:count]


def ring() -> Gaussians:
    """Return eight modes on a circle."""
    angle = torch.arange(8).double() * math.pi / 4
    centres = 0.5 + 0.3 * torch.stack([angle.cos(), angle.sin()], 1)
    return Gaussians("8-ring", centres, 0.04, torch.full((8,), 1 / 8).double())


def grid() -> Gaussians:
    """Return twenty-five modes on a grid."""
    side = torch.arange(5).double() / 5 + 0.1
    return Gaussians(
        "25-grid", torch.cartesian_prod(side, side), 0.03, torch.full((25,), 1 / 25).double()
    )


def stacked() -> Gaussians:
    """Return 125 modes in six dimensions: three planes, each with five modes on a circle."""
    angle = torch.arange(5).double() * 2 * math.pi / 5
    plane = 0.5 + 0.3 * torch.stack([angle.cos(), angle.sin()], 1)
    which = torch.cartesian_prod(*[torch.arange(5)] * 3)
    return Gaussians("stacked", plane[which].flatten(1), 0.04, torch.full((125,), 1 / 125).double())


def mixture() -> Gaussians:
    """Return four modes of weights 4 : 3 : 2 : 1 in 27 dimensions."""
    centres = 0.3 + 0.4 * _far_corners(27, 4)
    return Gaussians("27-D mixture", centres, 0.05, torch.tensor([4.0, 3, 2, 1]).double() / 10)


Density = Gaussians | Funnel


def densities() -> Sequence[Density]:
    """Return the densities of ``bench toys``."""
    return [ring(), grid(), mixture(), Funnel()]
