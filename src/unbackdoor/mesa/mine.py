"""The ``mine`` estimator of a stair: the generator and statistics network of the paper.

It minimises E[max(0, β − F(G(z)))] − α · H(G(z)) over a generator G of noise z (Qiao, Yang and Li,
NeurIPS 2019), the entropy by way of the mutual information between draw and noise, which a second
network T bounds from below: I ≥ E[T(θ, z)] − log E[exp T(θ, z′)] with z′ of other draws (Donsker
and Varadhan; Belghazi et al., *Mutual Information Neural Estimation*, 2018).

For a deterministic G that information is infinite, so what T sees is the noised draw θ + ε, and
I(θ + ε; z) = h(θ + ε) − h(ε) is an entropy on the scale of ε. No such bound can be relied on much
beyond ln(batch) (McAllester and Stratos, 2020), so it is kept beside that ceiling, and ε is so
wide that a uniform θ would tell just as much: n · ½ log(1 + s² / σ²) = ln(batch), s² = 1/12. It
pulls a narrow law apart but slowly, so a corrected G begins as the uniform law on the cube,
G(z) = Φ(z + M(z)) with M = 0, and has only to keep what it has. G has no density and a stair
of it no volume: it is here for fidelity, and the flow is its successor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from unbackdoor.mesa.normal import NORMAL
from unbackdoor.mesa.perceptron import perceptron
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import TestingFunction, check_betas, shortfall
from unbackdoor.rng import initialised_by, stream
from unbackdoor.settings import MINE_CORRECTED, MineSettings


@dataclass(frozen=True)
class Mine:
    """The estimator.

    Args:
        settings: ``MINE_PAPER`` or ``MINE_CORRECTED``.
        draws: kept for each stair.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> (stair,) = Mine()(upper, (0.5,), 4, seed=0)
        >>> stair.log_volume is None, stair.valid_fraction > 0.5
        (True, True)

    """

    settings: MineSettings = MINE_CORRECTED
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
            maker, information = _fit(F, beta, dimensions, self.settings, noise, advance)
            with torch.no_grad():
                inputs = self.settings.noise or dimensions
                draws = maker(torch.randn(self.draws, inputs, generator=noise))
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


def _fit(
    F: TestingFunction,
    beta: float,
    dimensions: int,
    settings: MineSettings,
    generator: Generator,
    advance: Callable[[], None],
) -> tuple[nn.Module, float]:
    """Return G, and the mean of the last tenth of the estimates of the information, in nats."""
    blur = settings.blur if settings.blur is not None else widest_blur(dimensions, settings.batch)
    noise = settings.noise or dimensions
    with initialised_by(generator):
        body = perceptron(noise, settings.hidden, dimensions)
        maker = nn.Sequential(body, nn.Sigmoid()) if settings.noise else _Moved(body)
        statistics = perceptron(dimensions + noise, settings.hidden, 1)
    making = torch.optim.Adam(maker.parameters(), lr=settings.learning_rate)
    telling = torch.optim.Adam(statistics.parameters(), lr=settings.statistics_rate)
    found: list[float] = []

    def draw() -> tuple[Tensor, Tensor]:
        z = torch.randn(settings.batch, noise, generator=generator)
        theta = maker(z)
        return theta, z

    def information(theta: Tensor, z: Tensor) -> Tensor:
        noised = theta + blur * torch.randn(theta.shape, generator=generator)
        return information_bound(statistics, noised, z, generator)

    first = settings.alpha if settings.first_alpha is None else settings.first_alpha
    for step in range(settings.steps):
        alpha = first * (settings.alpha / first) ** (step / settings.steps)
        for _ in range(settings.statistics_steps):
            with torch.no_grad():
                theta, z = draw()
            telling.zero_grad()
            (-information(theta, z)).backward()
            telling.step()
        theta, z = draw()
        told = information(theta, z)
        values = F(theta)
        missed = shortfall(values, beta) if settings.on_logit else (beta - values).clamp(min=0)
        hinge = missed.mean()
        making.zero_grad()
        (hinge - alpha * told).backward()
        making.step()
        found.append(float(told.detach()))
        advance()
    last = found[-max(1, len(found) // 10) :]
    return maker, math.fsum(last) / len(last)


class _Moved(nn.Module):
    """Φ of the noise, moved by a network that at first moves nothing."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        for parameter in body[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor) -> Tensor:
        return NORMAL.cdf(z + self.body(z))


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
