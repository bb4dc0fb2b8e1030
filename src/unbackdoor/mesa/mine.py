"""The ``mine`` estimator of a stair: the generator and statistics network of the paper.

It minimises E[max(0, β − F(G(z)))] − α · H(G(z)) over a generator G of noise z (Qiao, Yang and Li,
NeurIPS 2019), the entropy by way of the mutual information between draw and noise, which a second
network T bounds from below: I ≥ E[T(θ, z)] − log E[exp T(θ, z′)] with z′ of other draws (Donsker
and Varadhan; Belghazi et al., *Mutual Information Neural Estimation*, 2018).

For a deterministic G that information is infinite, so what T sees is the noised draw θ + ε, and
I(θ + ε; z) = h(θ + ε) − h(ε) is an entropy on the scale of ε. No such bound can be relied on much
beyond ln(batch) (McAllester and Stratos, 2020), so it is kept beside that ceiling, and ε is so
wide that a uniform θ would tell just as much: n · ½ log(1 + s² / σ²) = ln(batch), s² = 1/12.

It pulls a narrow law apart but slowly, and no law to a mode where it has no draw. So a corrected G
begins as a mixture of Gaussians at the clusters of a small population on the level set,
G(z, k) = Φ(m_k + s_k (z + M(z, k))) with M = 0, and has only to become valid and to stay wide. G
has no density and a stair of it no volume: it is here for fidelity, and the flow is its successor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from unbackdoor.mesa.normal import NORMAL, mixture, probit
from unbackdoor.mesa.perceptron import perceptron
from unbackdoor.mesa.smc import Smc
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import TestingFunction, check_betas
from unbackdoor.rng import initialised_by, stream
from unbackdoor.settings import MINE_CORRECTED, SCOUTS, MineSettings, SmcSettings


@dataclass(frozen=True)
class Mine:
    """The estimator.

    Args:
        settings: ``MINE_PAPER`` or ``MINE_CORRECTED``.
        scouts: the small population at whose clusters a corrected generator begins.
        draws: kept for each stair.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> (stair,) = Mine()(upper, (0.5,), 4, seed=0)
        >>> stair.log_volume is None, stair.valid_fraction > 0.5
        (True, True)

    """

    settings: MineSettings = MINE_CORRECTED
    scouts: SmcSettings = SCOUTS
    draws: int = 20_000

    def __call__(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        *,
        seed: int,
        advance: Callable[[], None] = lambda: None,
    ) -> tuple[Stair, ...]:
        """Draw from a generator that is fitted to the level set of each β, none from another.

        Args:
            F: differentiable.
            betas: levels in (0, 1).
            dimensions: n.
            seed: of every draw.
            advance: called after each step of a generator.

        """
        check_betas(betas)
        stairs: list[Stair] = []
        for beta in betas:
            noise = stream(seed, "mine", beta, "noise")
            maker, statistics = self._networks(F, beta, dimensions, seed, noise)
            information = _fit(maker, statistics, F, beta, self.settings, noise, advance)
            with torch.no_grad():
                draws = maker(maker.noise(self.draws, noise))
                stairs.append(
                    Stair(
                        beta=beta,
                        draws=draws,
                        log_q=None,
                        values=F(draws),
                        information=information,
                    )
                )
        return tuple(stairs)

    def _networks(
        self, F: TestingFunction, beta: float, dimensions: int, seed: int, generator: Generator
    ) -> tuple[Maker, nn.Module]:
        """Return G and T before they learn."""
        settings, scouts = self.settings, ()
        if settings.components:
            scouts = Smc(self.scouts)(F, (beta,), dimensions, seed=seed)
        with initialised_by(generator):
            if scouts:
                maker = Mixture(settings, scouts[0].draws)
            else:
                maker = Published(settings, dimensions)
            return maker, perceptron(dimensions + maker.inputs, settings.hidden, 1)


class Maker(nn.Module):
    """G: noise to θ."""

    inputs: int
    """Dimensions of the noise."""

    def noise(self, count: int, generator: Generator) -> Tensor:
        """Draw noise ``(count, inputs)``."""
        raise NotImplementedError


class Published(Maker):
    """The paper's: a perceptron of Gaussian noise, and a sigmoid.

    Args:
        settings: sizes.
        dimensions: n.

    """

    def __init__(self, settings: MineSettings, dimensions: int) -> None:
        super().__init__()
        self.inputs = settings.noise
        self.body = perceptron(self.inputs, settings.hidden, dimensions)

    def noise(self, count: int, generator: Generator) -> Tensor:
        """Draw noise ``(count, inputs)``."""
        return torch.randn(count, self.inputs, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise to θ ``(count, n)``."""
        return self.body(z).sigmoid()


class Mixture(Maker):
    """Φ of a mixture of Gaussians, moved by a perceptron that at first moves nothing.

    Args:
        settings: sizes.
        population: ``(N, n)`` in [0, 1], at whose clusters the components begin.

    """

    def __init__(self, settings: MineSettings, population: Tensor) -> None:
        super().__init__()
        self.means, log_scales, logits = mixture(probit(population), settings.components)
        self.scales, self.shares = log_scales.exp(), logits.softmax(0)
        components, dimensions = self.means.shape
        self.inputs = dimensions + components
        self.body = perceptron(self.inputs, settings.hidden, dimensions)
        for parameter in self.body[-1].parameters():
            nn.init.zeros_(parameter)

    def noise(self, count: int, generator: Generator) -> Tensor:
        """Draw Gaussian noise, and the number of a component as zeros and a one."""
        components, dimensions = self.means.shape
        number = torch.multinomial(self.shares, count, replacement=True, generator=generator)
        z = torch.randn(count, dimensions, generator=generator)
        return torch.cat([z, one_hot(number, components)], 1)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise to θ ``(count, n)``."""
        dimensions = self.means.shape[1]
        own = z[:, dimensions:]
        moved = z[:, :dimensions] + self.body(z)
        return NORMAL.cdf(own @ self.means + (own @ self.scales) * moved)


def _fit(
    maker: Maker,
    statistics: nn.Module,
    F: TestingFunction,
    beta: float,
    settings: MineSettings,
    generator: Generator,
    advance: Callable[[], None],
) -> float:
    """Fit G, and return the mean of the last tenth of the estimates of the information, in nats."""
    making = torch.optim.Adam(maker.parameters(), lr=settings.learning_rate)
    telling = torch.optim.Adam(statistics.parameters(), lr=settings.statistics_rate)
    found: list[float] = []

    def draw() -> tuple[Tensor, Tensor]:
        z = maker.noise(settings.batch, generator)
        return maker(z), z

    def information(theta: Tensor, z: Tensor) -> Tensor:
        widest = widest_blur(theta.shape[1], settings.batch)
        blur = widest if settings.blur is None else settings.blur
        noised = theta + blur * torch.randn(theta.shape, generator=generator)
        return information_bound(statistics, noised, z, generator)

    for _ in range(settings.steps):
        for _ in range(settings.statistics_steps):
            with torch.no_grad():
                theta, z = draw()
            telling.zero_grad()
            (-information(theta, z)).backward()
            telling.step()
        theta, z = draw()
        told = information(theta, z)
        hinge = (beta - F(theta)).clamp(min=0).mean()
        making.zero_grad()
        (hinge - settings.alpha * told).backward()
        making.step()
        found.append(float(told.detach()))
        advance()
    last = found[-max(1, len(found) // 10) :]
    return math.fsum(last) / len(last)


def widest_blur(dimensions: int, batch: int) -> float:
    """Return the σ of ε at which a uniform θ + ε tells ln(``batch``) nats of a Gaussian θ's kind.

    Example:
        >>> round(widest_blur(27, 256), 2)
        0.41

    """
    return (12 * (batch ** (2 / dimensions) - 1)) ** -0.5


def information_bound(statistics: nn.Module, x: Tensor, z: Tensor, generator: Generator) -> Tensor:
    """Return Donsker and Varadhan's lower bound of I(x; z) in nats, over one batch.

    Args:
        statistics: T, from ``(B, n + m)`` to ``(B, 1)``.
        x: ``(B, n)``.
        z: ``(B, m)``, drawn together with x.
        generator: of the order in which z stands for draws of its own.

    """
    other = z[torch.randperm(len(z), generator=generator)]
    joint = statistics(torch.cat([x, z], 1)).mean()
    apart = torch.logsumexp(statistics(torch.cat([x, other], 1)), 0).squeeze()
    return joint - (apart - math.log(len(z)))
