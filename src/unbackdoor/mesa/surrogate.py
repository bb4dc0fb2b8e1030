"""A stand-in for an F that is dear to ask: an ensemble that learns it where it matters.

Each value of a network's F costs many images, and an estimator asks for a hundred thousand. So a
few small perceptrons learn logit F by cross-entropy from noisy values, in rounds: a population
climbs the level sets of what is known so far, F is asked there, and what was wrong is learnt in the
next round. A value over two random images is enough, because neighbours average the noise, and no
gradient of F is needed. (Active learning of a limit state, as in AK-MCS: Echard, Gayton and
Lemaire, 2011, with an ensemble for the Gaussian process.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from unbackdoor.mesa.normal import clusters, probit
from unbackdoor.mesa.settings import LearningSettings, SmcSettings
from unbackdoor.mesa.smc import Rung, climb
from unbackdoor.mesa.testing import TestingFunction
from unbackdoor.rng import stream

MOST_RUNGS = 100


class Surrogate(nn.Module):
    """F as an ensemble of perceptrons on 2θ − 1 knows it: the sigmoid of their mean logit.

    Args:
        dimensions: n.
        settings: how many perceptrons, and their width.
        generator: initial weights.

    """

    def __init__(self, dimensions: int, settings: LearningSettings, generator: Generator) -> None:
        super().__init__()
        count, hidden = settings.networks, settings.hidden
        sizes = ((dimensions, hidden), (hidden, hidden), (hidden, 1))
        self.weights = nn.ParameterList(
            _uniform((count, a, b), a**-0.5, generator) for a, b in sizes
        )
        self.biases = nn.ParameterList(
            _uniform((count, 1, b), a**-0.5, generator) for a, b in sizes
        )

    def logits(self, theta: Tensor, which: slice = slice(None)) -> Tensor:
        """Return what perceptrons say of θ: ``(networks, B)``.

        Args:
            theta: ``(B, n)``, or ``(networks, B, n)`` where each is asked something else.
            which: of the perceptrons; all when left out.

        """
        *hidden, last = [
            (weight[which], bias[which])
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        x = (2 * theta.float() - 1).expand(len(last[0]), -1, -1)
        for weight, bias in hidden:
            x = gelu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(last[1], x, last[0])[..., 0]

    def forward(self, theta: Tensor) -> Tensor:
        """Return F ``(B,)`` for θ ``(B, n)``."""
        return torch.sigmoid(self.logits(theta).mean(0))

    def member(self, index: int) -> TestingFunction:
        """Return F as one of the perceptrons knows it."""
        return lambda theta: torch.sigmoid(self.logits(theta, slice(index, index + 1))[0])


class Learner:
    """What is known of F, ``theta`` and ``values`` as they were told, and how to know more.

    Args:
        dimensions: n.
        settings: draws, networks, training.
        seed: of every draw.

    """

    def __init__(self, dimensions: int, settings: LearningSettings, seed: int) -> None:
        self.dimensions, self.settings, self.seed = dimensions, settings, seed
        self.theta: list[Tensor] = []
        self.values: list[Tensor] = []

    def tell(self, theta: Tensor, values: Tensor, weight: int = 1) -> None:
        """Add values of F ``(B,)`` at θ ``(B, n)``; those of larger weight are surer."""
        self.theta.append(theta.repeat(weight, 1))
        self.values.append(values.detach().float().repeat(weight))

    def ask(self, F: TestingFunction, betas: Sequence[float]) -> None:
        """Ask F, which may be noisy as long as its mean is right, on the way to the level sets."""
        generator = stream(self.seed, "learn", len(self.theta))
        if self.theta:
            taught = self._train(self.settings.steps, generator)
            asked = _ask(taught, betas, self.dimensions, self.settings, generator)
        else:
            asked = torch.rand(self.settings.draws, self.dimensions, generator=generator)
        with torch.no_grad():
            self.tell(asked, F(asked))

    def surrogate(self) -> Surrogate:
        """Return what can be asked in place of F."""
        return self._train(3 * self.settings.steps, stream(self.seed, "learnt", len(self.theta)))

    def _train(self, steps: int, generator: Generator) -> Surrogate:
        settings = self.settings
        theta, values = torch.cat(self.theta), torch.cat(self.values)
        surrogate = Surrogate(self.dimensions, settings, generator)
        optimiser = torch.optim.AdamW(
            surrogate.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps
        )
        for _ in range(steps):
            size = (settings.networks, settings.batch)
            rows = torch.randint(len(theta), size, generator=generator)
            loss = binary_cross_entropy_with_logits(surrogate.logits(theta[rows]), values[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return surrogate.requires_grad_(False)


def _ask(
    surrogate: Surrogate,
    betas: Sequence[float],
    dimensions: int,
    settings: LearningSettings,
    generator: Generator,
) -> Tensor:
    """Return the θ of which a round wants to know.

    Half of them lie on the ways of populations to the lowest β, one for what each network thinks,
    the others on the ways of islands from there to the highest: one from each cluster of the
    populations, which climbs as high as it can, so that a mode that is rated too low is looked at
    nonetheless.
    """

    def way(F: TestingFunction, goals: Sequence[float], start: Tensor | None = None) -> list[Rung]:
        rungs: list[Rung] = []
        for rung in climb(F, goals, dimensions, climbers, generator, start=start):
            rungs.append(rung)
            if rung.level >= goals[-1] or len(rungs) > MOST_RUNGS:
                break
        return rungs

    climbers = SmcSettings(particles=settings.climbers, sweeps=settings.sweeps)
    ways = [way(surrogate.member(i), betas[:1]) for i in range(settings.networks)]
    base = torch.cat([rungs[-1].draws for rungs in ways])
    near = clusters(probit(base), settings.islands)[1]
    islands = [
        way(surrogate, betas, base[near == i])
        for i in range(settings.islands)
        if bool((near == i).any())
    ]
    half = settings.draws // 2
    return torch.cat(
        [_pick(ways, settings.draws - half, generator), _pick(islands, half, generator)]
    )


def _pick(ways: list[list[Rung]], count: int, generator: Generator) -> Tensor:
    """Return draws of ways, equally many of each, and of its rungs as many as the level rises."""
    picked: list[Tensor] = []
    for rungs in ways:
        rises = torch.tensor([b.level - a.level for a, b in pairwise(rungs)] or [1.0])
        draws = torch.stack([rung.draws for rung in rungs[1:] or rungs])
        each = -(-count // len(ways))
        rung = torch.multinomial(rises, each, replacement=True, generator=generator)
        picked.append(draws[rung, torch.randint(draws.shape[1], (each,), generator=generator)])
    return torch.cat(picked)[:count]


def _uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return bound * (2 * torch.rand(*shape, generator=generator) - 1)
