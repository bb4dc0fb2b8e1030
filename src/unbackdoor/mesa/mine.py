"""The ``mine`` estimator of a stair: the generator and statistics network of the paper.

It minimises E[max(0, β − F(G(z)))] − α · H(G(z)) over a generator G of noise z (Qiao, Yang and Li,
NeurIPS 2019), the entropy by way of the mutual information between draw and noise, which a second
network T bounds from below: I ≥ E[T(θ, z)] − log E[exp T(θ, z′)] with z′ of other draws (Donsker
and Varadhan; Belghazi et al., *Mutual Information Neural Estimation*, 2018).

For a deterministic G that information is infinite, so what T sees is the noised draw θ + ε, and I(θ
+ ε; z) = h(θ + ε) − h(ε) is an entropy on the scale of ε. No such bound is reliable much beyond
ln(batch) (McAllester and Stratos, 2020). So results report the bound beside this ceiling, and ε is
chosen so wide that a uniform θ would have just this information: n · ½ log(1 + s² / σ²) =
ln(batch), s² = 1/12.

The gradient of this bound widens a narrow law only slowly, and it moves no draw to a mode that has
none yet. A corrected G therefore starts at the clusters of a small population on the level set. It
only has to become valid and to stay wide. G has no density, so its stairs have no volume. The
estimator is here to reproduce the paper; the flow is its successor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from unbackdoor.mesa.makers import Maker, Mixture, Published, statistics
from unbackdoor.mesa.perceptron import perceptron
from unbackdoor.mesa.settings import MINE_CORRECTED, SCOUTS, MineSettings, SmcSettings
from unbackdoor.mesa.smc import Smc
from unbackdoor.mesa.stair import Stair
from unbackdoor.mesa.testing import TestingFunction, check_betas
from unbackdoor.rng import initialised_by, stream


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
        """Fit a generator to the level set of each β, each from scratch, and draw from it.

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
                draws = maker.eval()(maker.noise(self.draws, noise))
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
                maker = Mixture(scouts[0].draws, settings.components, settings.hidden)
                return maker, perceptron(dimensions + maker.inputs, settings.hidden, 1)
            maker = Published(settings.noise, settings.hidden, dimensions)
            return maker, statistics(dimensions + maker.inputs, settings.hidden)


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
    momenta = (settings.momentum, 0.999)
    generator_optimiser = torch.optim.Adam(
        maker.parameters(), lr=settings.learning_rate, betas=momenta
    )
    statistics_optimiser = torch.optim.Adam(
        statistics.parameters(), lr=settings.statistics_rate, betas=momenta
    )
    average = MovingAverage(settings.average)
    found: list[float] = []

    def draw() -> tuple[Tensor, Tensor]:
        z = maker.noise(settings.batch, generator)
        return maker(z), z

    def terms(theta: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        widest = widest_blur(theta.shape[1], settings.batch)
        blur = widest if settings.blur is None else settings.blur
        return _terms(statistics, _noised(theta, blur, generator), z, generator)

    for _ in range(settings.steps):
        for _ in range(settings.statistics_steps):
            with torch.no_grad():
                theta, z = draw()
            joint, apart = terms(theta, z)
            statistics_optimiser.zero_grad()
            (average(float(apart.detach())) * apart - joint).backward()
            statistics_optimiser.step()
        theta, z = draw()
        joint, apart = terms(theta, z)
        information = joint - apart
        noisy = _noised(theta, settings.shake, generator).clamp(0, 1)
        hinge = (beta - F(noisy)).clamp(min=0).mean()
        generator_optimiser.zero_grad()
        (hinge - settings.alpha * information).backward()
        generator_optimiser.step()
        found.append(float(information.detach()))
        advance()
    last = found[-max(1, len(found) // 10) :]
    return math.fsum(last) / len(last)


def widest_blur(dimensions: int, batch: int) -> float:
    """Return the σ of ε at which θ + ε has ln(``batch``) nats of information about a uniform θ.

    θ is taken for Gaussian with the variance of a uniform one.

    Example:
        >>> round(widest_blur(27, 256), 2)
        0.41

    """
    return (12 * (batch ** (2 / dimensions) - 1)) ** -0.5


class MovingAverage:
    """The correction of the bound's gradient for small batches (Belghazi et al., 2018, eq. 12).

    The gradient of log E[exp T] divides by an expectation over one batch. Here that expectation is
    averaged over the batches before it.

    Args:
        rate: of the average, in (0, 1]; 1 corrects nothing.

    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.logarithm: float | None = None

    def __call__(self, term: float) -> float:
        """Take log E[exp T] of the next batch, and return the factor that its gradient needs.

        Example:
            >>> average = MovingAverage(0.5)
            >>> average(0.0), round(average(math.log(3)), 3)
            (1.0, 1.5)

        """
        before = term if self.logarithm is None else self.logarithm
        ratio = self.rate + (1 - self.rate) * math.exp(min(before - term, 700))
        self.logarithm = term + math.log(ratio)
        return 1 / ratio


def _terms(
    statistics: nn.Module, x: Tensor, z: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return E[T] over pairs (x, z), and log E[exp T] over pairs whose z belongs to another x."""
    other = z[torch.randperm(len(z), generator=generator)]
    joint = statistics(torch.cat([x, z], 1)).mean()
    apart = torch.logsumexp(statistics(torch.cat([x, other], 1)), 0).squeeze()
    return joint, apart - math.log(len(z))


def _noised(theta: Tensor, scale: float, generator: Generator) -> Tensor:
    return theta + scale * torch.randn(theta.shape, generator=generator) if scale else theta
