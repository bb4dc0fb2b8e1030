"""The ``flow`` estimator of a stair: a normalizing flow with exact entropy and several modes.

It minimises E_q[max(0, logit β − logit F(θ))] / T − H(q), whose exact optimum is
q(θ) ∝ exp(−max(0, logit β − logit F(θ)) / T), and lowers T step by step: as T falls the optimum
tends to the uniform law on V_β. The law lives on x with θ = Φ(x), Φ the normal distribution
function, because there the standard normal *is* the uniform law on the cube, and to be wide costs
nothing. The base is a mixture of Gaussians (reverse
Kullback–Leibler seeks modes, so it starts from several seeds), followed by affine coupling layers
and, where asked for, a monotone spline for each parameter (Durkan et al., *Neural Spline Flows*,
2019), which learns the sharp ends of a box.

Two faults of the reverse Kullback–Leibler divergence are corrected after a fit. The flow has too
little density in the tails of V_β, and an importance-sampling estimate of the volume depends on
these tails; so the base is widened a little. And the flow weights each mode by how well it fits
there; so the shares of the components are computed again from weighted draws (the update of
population Monte Carlo; Cappé et al., 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import zuko
from torch import Generator, Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from unbackdoor.mesa.normal import NORMAL, mixture, probit
from unbackdoor.mesa.settings import FLOW, SCOUTS, FlowSettings, SmcSettings
from unbackdoor.mesa.smc import Smc
from unbackdoor.mesa.stair import Stair, draw_stair
from unbackdoor.mesa.testing import TestingFunction, check_betas, shortfall
from unbackdoor.rng import initialised_by, stream

SPLINE_BOUND = 4.0
SHARE_UPDATES = 2

_LOG_2PI = math.log(2 * math.pi)


class Flow(nn.Module):
    """A law on [0, 1]^n: a mixture of Gaussians, coupling layers, and the normal CDF.

    Args:
        population: ``(N, n)`` in [0, 1], draws from a level set, at whose clusters the components
            start.
        settings: sizes.
        generator: initial weights and the order of features.

    """

    def __init__(self, population: Tensor, settings: FlowSettings, generator: Generator) -> None:
        super().__init__()
        dimensions = population.shape[1]
        means, log_scales, logits = mixture(probit(population), settings.components)
        self.means = nn.Parameter(means)
        self.log_scales = nn.Parameter(log_scales)
        self.logits = nn.Parameter(logits)
        bins = settings.bins  # widths, heights and slopes; all zero is the identity
        sizes = (bins, bins, bins - 1) if bins else ()
        self.spline = nn.ParameterList(torch.zeros(dimensions, size) for size in sizes)
        with initialised_by(generator):
            coupling = zuko.flows.MAF(
                dimensions,
                transforms=settings.transforms,
                passes=2,
                randperm=True,
                hidden_features=(settings.hidden, settings.hidden),
            ).transform
        self.coupling = cast("Callable[[], torch.distributions.Transform]", coupling)
        for layer in cast(nn.Module, coupling).modules():
            if hasattr(layer, "hyper"):
                _start_as_identity(cast(nn.Sequential, layer.hyper))

    @property
    def weights(self) -> Tensor:
        """The share of each component, ``(K,)``."""
        return torch.softmax(self.logits, 0)

    def draw(self, component: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map standard normal ``noise`` ``(B, n)`` through a component ``(B,)`` each.

        Returns:
            θ ``(B, n)`` and the log density of the whole mixture there, ``(B,)`` in nats.

        """
        theta, log_slope, each = self._push(component, noise)
        log_q = torch.logsumexp(each + torch.log_softmax(self.logits, 0), 1) - log_slope
        return theta, log_q

    def _push(self, component: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return θ, log|dθ / d base| and the log density of each component, ``(B, K)``."""
        base = self.means[component] + self.log_scales[component].exp() * noise
        x, log_slope = _call(self.coupling(), base)
        if self.spline:
            x, slopes = _call(self._splines(), x)
            log_slope = log_slope + slopes.sum(1)
        return NORMAL.cdf(x), log_slope + _log_normal(x).sum(1), self._log_each(base)

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw θ ``(count, n)`` and return it with log q(θ) ``(count,)``."""
        with torch.no_grad():
            component = torch.multinomial(
                self.weights, count, replacement=True, generator=generator
            )
            noise = torch.randn(count, self.means.shape[1], generator=generator)
            return self.draw(component, noise)

    def log_prob(self, theta: Tensor) -> Tensor:
        """Return log q ``(B,)`` at given θ ``(B, n)``, clipped to [EDGE, 1 − EDGE]."""
        x = probit(theta)
        base, slopes = _call(self._splines().inv, x) if self.spline else (x, x.new_zeros(1, 1))
        base, log_slope = _call(self.coupling().inv, base)
        log_slope = log_slope + slopes.sum(1)
        mixed = torch.logsumexp(self._log_each(base) + torch.log_softmax(self.logits, 0), 1)
        return mixed + log_slope - _log_normal(x).sum(1)

    def _log_each(self, base: Tensor) -> Tensor:
        standard = (base[:, None] - self.means) / self.log_scales.exp()
        return (_log_normal(standard) - self.log_scales).sum(2)

    def _splines(self) -> torch.distributions.Transform:
        return MonotonicRQSTransform(*self.spline, bound=SPLINE_BOUND)

    @torch.no_grad()
    def reweigh(self, F: TestingFunction, beta: float, count: int, generator: Generator) -> None:
        """Set the shares of the components by weighted draws, equally many from each.

        Args:
            F: the testing function.
            beta: the level.
            count: draws in all.
            generator: of the noise.

        """
        components, dimensions = self.means.shape
        component = torch.arange(components).repeat_interleave(max(1, count // components))
        noise = torch.randn(len(component), dimensions, generator=generator)
        theta, log_slope, each = self._push(component, noise)
        log_q = torch.logsumexp(each, 1) - log_slope
        weights = torch.softmax(torch.where(F(theta) >= beta, -log_q.double(), -torch.inf), 0)
        if not bool(weights.isfinite().all()):  # no draw is valid: nothing to learn from
            return
        weights = weights.clamp(max=len(weights) ** -0.5)  # truncated (Ionides, 2008)
        responsible = torch.softmax(each + torch.log_softmax(self.logits, 0), 1)
        shares = (weights[:, None] * responsible).sum(0) / weights.sum()
        self.logits.copy_((shares + 1e-4).log())


def fit(
    flow: Flow,
    F: TestingFunction,
    beta: float,
    settings: FlowSettings,
    generator: Generator,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Fit ``flow`` to the level set of ``beta``, in place.

    Each step draws equally many θ from every component and weighs them by the component's share,
    so that the weights are learnt by gradient and no mode starves for want of draws.

    Args:
        flow: where to start, such as the stair of a lower β.
        F: the testing function, noisy or exact, differentiable.
        beta: the level in (0, 1).
        settings: steps, draws per step, temperatures.
        generator: of the noise.
        advance: called after each step.

    """
    components, dimensions = flow.means.shape
    each = max(1, settings.draws // components)
    component = torch.arange(components).repeat_interleave(each)
    base = [flow.means, flow.log_scales, flow.logits]
    layers = [weight for weight in flow.parameters() if all(weight is not own for own in base)]
    optimiser = torch.optim.Adam(
        [
            {"params": base, "lr": settings.learning_rate},
            {"params": layers, "lr": settings.learning_rate / 10},
        ],
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, settings.steps, eta_min=settings.learning_rate / 20
    )
    cooling = (settings.coldest / settings.hottest) ** (1 / max(1, settings.steps - 1))
    for step in range(settings.steps):
        temperature = settings.hottest * cooling**step
        theta, log_q = flow.draw(
            component, torch.randn(len(component), dimensions, generator=generator)
        )
        share = flow.weights[component] / each
        loss = (share * (shortfall(F(theta), beta) / temperature + log_q)).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), settings.clip)
        optimiser.step()
        schedule.step()
        advance()


@dataclass(frozen=True)
class FlowEstimator:
    """A flow for each level, which starts from a small population there.

    Args:
        settings: sizes and schedule.
        scouts: the small population on a level set, at whose clusters the components start.
        draws: kept for each stair.
        widen: added to the log of every width after a fit.
        to_reweigh: draws by which the components' shares are set after a fit.

    Example:
        >>> upper = lambda theta: torch.sigmoid(8 * (theta.sum(1) - 2))
        >>> (stair,) = FlowEstimator()(upper, (0.5,), 4, seed=0)
        >>> abs(stair.log_volume - math.log(0.5)) < 0.2
        True

    """

    settings: FlowSettings = FLOW
    scouts: SmcSettings = SCOUTS
    draws: int = 20_000
    widen: float = 0.06
    to_reweigh: int = 2000

    def __call__(
        self,
        F: TestingFunction,
        betas: Sequence[float],
        dimensions: int,
        *,
        seed: int,
        advance: Callable[[], None] = lambda: None,
    ) -> tuple[Stair, ...]:
        """Estimate the level set of each β.

        Args:
            F: differentiable.
            betas: rising levels in (0, 1).
            dimensions: n.
            seed: of every draw.
            advance: called after each step.

        """
        check_betas(betas, 1 - 1e-6)
        scouts = Smc(self.scouts)(F, betas, dimensions, seed=seed)
        stairs: list[Stair] = []
        for beta, population in zip(betas, scouts, strict=True):
            flow = Flow(population.draws, self.settings, stream(seed, "flow", beta))
            fit(flow, F, beta, self.settings, stream(seed, "flow", beta, "noise"), advance)
            with torch.no_grad():
                flow.log_scales.add_(self.widen)
            for turn in range(SHARE_UPDATES):
                flow.reweigh(F, beta, self.to_reweigh, stream(seed, "flow", beta, "shares", turn))
            generator = stream(seed, "flow", beta, "draws")
            stairs.append(draw_stair(flow, F, beta, self.draws, generator))
        return tuple(stairs)


def _call(transform: torch.distributions.Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    return cast("tuple[Tensor, Tensor]", transform.call_and_ladj(x))  # pyright: ignore


def _log_normal(x: Tensor) -> Tensor:
    return -0.5 * (x.square() + _LOG_2PI)


def _start_as_identity(network: nn.Sequential) -> None:
    last = network[-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
