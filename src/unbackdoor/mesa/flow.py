"""The ``flow`` estimator of a stair: a normalizing flow with exact entropy and several modes.

It minimises E_q[max(0, logit β − logit F(θ))] / T − H(q), whose exact optimum is
q(θ) ∝ exp(−max(0, logit β − logit F(θ)) / T), and lowers T step by step: as T falls the optimum
tends to the uniform law on V_β. The law lives on x with θ = Φ(x), Φ the normal distribution
function, because there the standard normal *is* the uniform law on the cube: fitting starts from
maximum entropy and gives away only what F demands. The base is a mixture of Gaussians (reverse
Kullback–Leibler seeks modes, so it starts from several seeds), followed by affine coupling layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
import zuko
from torch import Generator, Tensor, nn

from unbackdoor.mesa.testing import TestingFunction, shortfall
from unbackdoor.settings import FlowSettings

EDGE = 1 / 512
"""A density is asked for on [EDGE, 1 − EDGE]: black and white lie at infinity of the flow."""

_NORMAL = torch.distributions.Normal(0.0, 1.0)
_LOG_2PI = math.log(2 * math.pi)


class Flow(nn.Module):
    """A law on [0, 1]^n: a mixture of Gaussians, coupling layers, and the normal CDF.

    Args:
        seeds: ``(K, n)`` in [0, 1], where the K components start.
        settings: sizes.
        generator: initial weights and the order of features.

    """

    def __init__(self, seeds: Tensor, settings: FlowSettings, generator: Generator) -> None:
        super().__init__()
        components, dimensions = seeds.shape
        self.means = nn.Parameter(_probit(seeds) * settings.pull)
        self.log_scales = nn.Parameter(torch.full((components, dimensions), -0.1))
        self.logits = nn.Parameter(torch.zeros(components))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
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
        base = self.means[component] + self.log_scales[component].exp() * noise
        x, log_slope = cast(
            "tuple[Tensor, Tensor]",
            self.coupling().call_and_ladj(base),  # pyright: ignore
        )
        log_q = self._log_base(base) - log_slope - _log_normal(x).sum(1)
        return _NORMAL.cdf(x), log_q

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
        x = _probit(theta)
        base, log_slope = cast(
            "tuple[Tensor, Tensor]",
            self.coupling().inv.call_and_ladj(x),  # pyright: ignore
        )
        return self._log_base(base) + log_slope - _log_normal(x).sum(1)

    def _log_base(self, base: Tensor) -> Tensor:
        standard = (base[:, None] - self.means) / self.log_scales.exp()
        each = (_log_normal(standard) - self.log_scales).sum(2)
        return torch.logsumexp(each + torch.log_softmax(self.logits, 0), 1)


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


def _probit(theta: Tensor) -> Tensor:
    return _NORMAL.icdf(theta.clamp(EDGE, 1 - EDGE))


def _log_normal(x: Tensor) -> Tensor:
    return -0.5 * (x.square() + _LOG_2PI)


def _start_as_identity(network: nn.Sequential) -> None:
    last = network[-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
