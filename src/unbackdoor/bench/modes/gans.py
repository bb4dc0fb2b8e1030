"""Generators that learn from samples, for comparison with MESA: GAN, GWN, DoPaNet.

Each is a small version of the idea of its paper; all have the same perceptrons, batches and steps:

- GAN: a generator against a discriminator, with the loss that does not saturate (Goodfellow et al.,
2014). - GWN: several generators train against one shared adversary, and collaborate to stay apart:
a second network guesses which generator made a draw, and they are rewarded if it is right (Zhang et
al., *Generative Warfare Nets*, 2018). - DoPaNet: several discriminators, and a classifier that
sends each sample, real or made, to one of them; the generator gets a code that the classifier must
be able to read from the draw (Csaba et al., *Domain Partitioning Network*, 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softplus

from unbackdoor.mesa.perceptron import perceptron
from unbackdoor.rng import initialised_by

NOISE = 16


@dataclass(frozen=True, kw_only=True)
class GanSettings:
    """How a generator is trained.

    Args:
        steps: of every network.
        batch: samples and draws in a step.
        hidden: width of the two hidden layers.
        parts: generators of GWN, discriminators of DoPaNet.
        diversity: weight of the loss that keeps the parts apart.
        learning_rate: of Adam.

    """

    steps: int = 3000
    batch: int = 256
    hidden: int = 128
    parts: int = 4
    diversity: float = 0.1
    learning_rate: float = 1e-3


Sampler = Callable[[int, Generator], Tensor]
Learner = Callable[[Tensor, GanSettings, Generator], Sampler]


def gan(samples: Tensor, settings: GanSettings, generator: Generator) -> Sampler:
    """Train a generator against a discriminator on samples ``(N, n)``, and return its sampler."""
    n = samples.shape[1]
    with initialised_by(generator):
        maker = perceptron(NOISE, settings.hidden, n)
        critic = perceptron(n, settings.hidden, 1)
    making, judging = _optimiser(maker, settings), _optimiser(critic, settings)
    for _ in range(settings.steps):
        real = _batch(samples, settings.batch, generator)
        made = maker(_noise(settings.batch, generator))
        _step(judging, softplus(-critic(real)).mean() + softplus(critic(made.detach())).mean())
        _step(making, softplus(-critic(made)).mean())

    def sample(count: int, generator: Generator) -> Tensor:
        return _to_cube(maker(_noise(count, generator)))

    return torch.no_grad()(sample)


def gwn(samples: Tensor, settings: GanSettings, generator: Generator) -> Sampler:
    """Train several generators that share an adversary and a collaborator."""
    n, parts = samples.shape[1], settings.parts
    with initialised_by(generator):
        makers = nn.ModuleList(perceptron(NOISE, settings.hidden, n) for _ in range(parts))
        critic = perceptron(n, settings.hidden, 1)
        guess = perceptron(n, settings.hidden, parts)
    making, judging = _optimiser(makers, settings), _optimiser(critic, settings)
    guessing = _optimiser(guess, settings)
    each = settings.batch // parts
    owner = torch.arange(parts).repeat_interleave(each)
    for _ in range(settings.steps):
        real = _batch(samples, len(owner), generator)
        made = torch.cat([maker(_noise(each, generator)) for maker in makers])
        _step(judging, softplus(-critic(real)).mean() + softplus(critic(made.detach())).mean())
        _step(guessing, cross_entropy(guess(made.detach()), owner))
        apart = cross_entropy(guess(made), owner)
        _step(making, softplus(-critic(made)).mean() + settings.diversity * apart)

    def sample(count: int, generator: Generator) -> Tensor:
        each = -(-count // parts)
        made = torch.cat([maker(_noise(each, generator)) for maker in makers])
        return _to_cube(made[torch.randperm(len(made), generator=generator)[:count]])

    return torch.no_grad()(sample)


def dopanet(samples: Tensor, settings: GanSettings, generator: Generator) -> Sampler:
    """Train a generator with a code against discriminators among which a classifier chooses."""
    n, parts = samples.shape[1], settings.parts
    with initialised_by(generator):
        maker = perceptron(NOISE + parts, settings.hidden, n)
        critics = nn.ModuleList(perceptron(n, settings.hidden, 1) for _ in range(parts))
        classifier = perceptron(n, settings.hidden, parts)
    making, judging = _optimiser(maker, settings), _optimiser(critics, settings)
    sorting = _optimiser(classifier, settings)

    def draw(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        code = torch.randint(parts, (count,), generator=generator)
        return maker(torch.cat([_noise(count, generator), one_hot(code, parts)], 1)), code

    def told(x: Tensor) -> Tensor:
        """Return the logit of the discriminator to which the classifier sends x."""
        every = torch.cat([critic(x) for critic in critics], 1)
        return every.gather(1, classifier(x).argmax(1, keepdim=True))

    for _ in range(settings.steps):
        real = _batch(samples, settings.batch, generator)
        made, code = draw(settings.batch, generator)
        _step(judging, softplus(-told(real)).mean() + softplus(told(made.detach())).mean())
        _step(sorting, cross_entropy(classifier(made.detach()), code))
        apart = cross_entropy(classifier(made), code)
        _step(making, softplus(-told(made)).mean() + settings.diversity * apart)

    def sample(count: int, generator: Generator) -> Tensor:
        return _to_cube(draw(count, generator)[0])

    return torch.no_grad()(sample)


def _batch(samples: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw samples with replacement, moved from [0, 1] to [−1, 1]."""
    return 2 * samples[torch.randint(len(samples), (count,), generator=generator)] - 1


def _to_cube(x: Tensor) -> Tensor:
    return ((x + 1) / 2).clamp(0, 1)


def _noise(count: int, generator: Generator) -> Tensor:
    return torch.randn(count, NOISE, generator=generator)


def _optimiser(network: nn.Module, settings: GanSettings) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), settings.learning_rate, betas=(0.5, 0.9))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


GANS: dict[str, Learner] = {"GAN": gan, "GWN": gwn, "DoPaNet": dopanet}
"""By name in the table."""
