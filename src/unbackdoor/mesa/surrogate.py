"""A surrogate for an expensive F: an ensemble that learns F near its level sets.

Each value of a network's F costs many images, and an estimator needs a hundred thousand values. So
a few small perceptrons learn logit F by cross-entropy from noisy values, in rounds: a population
climbs the level sets of the F that is learnt so far, the true F is evaluated along its way, and the
next round learns from these values. A value over two random images is enough, because neighbours
average the noise, and no gradient of F is needed. (Active learning of a limit state, as in AK-MCS:
Echard, Gayton and Lemaire, 2011, with an ensemble for the Gaussian process.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from unbackdoor.mesa.adam import Adam, one_cycle
from unbackdoor.mesa.normal import clusters, probit
from unbackdoor.mesa.settings import LearningSettings, SmcSettings, SwiftSettings
from unbackdoor.mesa.smc import Rung, climb
from unbackdoor.mesa.testing import TestingFunction
from unbackdoor.rng import stream

MOST_RUNGS = 100


class Surrogate(nn.Module):
    """The learnt F: the sigmoid of the mean logit of an ensemble of perceptrons that take 2θ − 1.

    Where F is a mean of parts, the perceptrons have an output for each, and F is the mean of the
    sigmoids.

    Args:
        dimensions: n.
        settings: how many perceptrons, and their width.
        generator: initial weights.
        parts: of F.

    """

    def __init__(
        self,
        dimensions: int,
        settings: LearningSettings | SwiftSettings,
        generator: Generator,
        parts: int = 1,
    ) -> None:
        super().__init__()
        count, hidden = settings.networks, settings.hidden
        sizes = ((dimensions, hidden), (hidden, hidden), (hidden, parts))
        self.weights = nn.ParameterList(
            _uniform((count, a, b), a**-0.5, generator) for a, b in sizes
        )
        self.biases = nn.ParameterList(
            _uniform((count, 1, b), a**-0.5, generator) for a, b in sizes
        )

    def logits(self, theta: Tensor, which: slice = slice(None)) -> Tensor:
        """Return the logits of each perceptron at θ, ``(networks, B, parts)``.

        Args:
            theta: ``(B, n)``, or ``(networks, B, n)`` where each perceptron gets its own θ.
            which: of the perceptrons; all when left out.

        """
        *hidden, last = [
            (weight[which], bias[which])
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        x = (2 * theta.float() - 1).expand(len(last[0]), -1, -1)
        for weight, bias in hidden:
            x = gelu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(last[1], x, last[0])

    def forward(self, theta: Tensor) -> Tensor:
        """Return F ``(B,)`` for θ ``(B, n)``."""
        return torch.sigmoid(self.logits(theta).mean(0)).mean(1)

    def member(self, index: int) -> TestingFunction:
        """Return F as one of the perceptrons has learnt it."""
        return lambda theta: torch.sigmoid(self.logits(theta, slice(index, index + 1))[0]).mean(1)


class Learner:
    """All values of F so far (``theta``, ``values``, in order of arrival); collects more.

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
        """Add values of F ``(B,)`` at θ ``(B, n)``; more precise values have a larger weight."""
        self.theta.append(theta.repeat(weight, 1))
        self.values.append(values.detach().float().repeat(weight))

    def ask(self, F: TestingFunction, betas: Sequence[float]) -> None:
        """Evaluate F on the way to its level sets; it may be noisy as long as its mean is right."""
        generator = stream(self.seed, "learn", len(self.theta))
        if self.theta:
            learnt = self._train(self.settings.steps, generator)
            chosen = _choose(learnt, betas, self.dimensions, self.settings, generator)
        else:
            chosen = torch.rand(self.settings.draws, self.dimensions, generator=generator)
        with torch.no_grad():
            self.tell(chosen, F(chosen))

    def surrogate(self) -> Surrogate:
        """Return the learnt F, to be evaluated in place of F."""
        return self._train(3 * self.settings.steps, stream(self.seed, "learnt", len(self.theta)))

    def _train(self, steps: int, generator: Generator) -> Surrogate:
        settings = self.settings
        theta, values = torch.cat(self.theta), torch.cat(self.values)
        surrogate = Surrogate(self.dimensions, settings, generator)
        optimiser = Adam([*surrogate.parameters()], settings.learning_rate, settings.weight_decay)
        for step in range(steps):
            size = (settings.networks, settings.batch)
            rows = torch.randint(len(theta), size, generator=generator)
            logits = surrogate.logits(theta[rows])[..., 0]
            loss = binary_cross_entropy_with_logits(logits, values[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(*one_cycle(step, steps, settings.learning_rate))
        return surrogate.requires_grad_(False)


def _choose(
    surrogate: Surrogate,
    betas: Sequence[float],
    dimensions: int,
    settings: LearningSettings,
    generator: Generator,
) -> Tensor:
    """Return the θ at which F is evaluated in this round.

    Half of them are taken from populations that climb to the lowest β, one population for the F
    that each network has learnt. The others are taken from islands that climb from there towards
    the highest β. There is one island for each cluster of the populations, and each climbs as high
    as it can, so a mode that the networks rate too low is still explored.
    """

    def climbed(
        F: TestingFunction, goals: Sequence[float], start: Tensor | None = None
    ) -> list[Rung]:
        rungs: list[Rung] = []
        for rung in climb(F, goals, dimensions, climbers, generator, start=start):
            rungs.append(rung)
            if rung.level >= goals[-1] or len(rungs) > MOST_RUNGS:
                break
        return rungs

    climbers = SmcSettings(particles=settings.climbers, sweeps=settings.sweeps)
    climbs = [climbed(surrogate.member(i), betas[:1]) for i in range(settings.networks)]
    base = torch.cat([rungs[-1].draws for rungs in climbs])
    near = clusters(probit(base), settings.islands)[1]
    islands = [
        climbed(surrogate, betas, base[near == i])
        for i in range(settings.islands)
        if bool((near == i).any())
    ]
    half = settings.draws // 2
    return torch.cat(
        [_pick(climbs, settings.draws - half, generator), _pick(islands, half, generator)]
    )


def _pick(climbs: list[list[Rung]], count: int, generator: Generator) -> Tensor:
    """Return draws from climbs, equally many from each.

    A rung of a climb is chosen with a probability proportional to its rise in level.
    """
    picked: list[Tensor] = []
    for rungs in climbs:
        rises = torch.tensor([b.level - a.level for a, b in pairwise(rungs)] or [1.0])
        draws = torch.stack([rung.draws for rung in rungs[1:] or rungs])
        each = -(-count // len(climbs))
        rung = torch.multinomial(rises, each, replacement=True, generator=generator)
        picked.append(draws[rung, torch.randint(draws.shape[1], (each,), generator=generator)])
    return torch.cat(picked)[:count]


def _uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return bound * (2 * torch.rand(*shape, generator=generator) - 1)
