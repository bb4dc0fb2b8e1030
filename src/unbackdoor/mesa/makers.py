"""The networks of ``mine``: published and corrected generators of θ, and the statistics network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import leaky_relu, one_hot

from unbackdoor.mesa.normal import NORMAL, mixture, probit
from unbackdoor.mesa.perceptron import perceptron

PARTS, SLOPE = 4, 0.2


class Maker(nn.Module):
    """G: noise to θ."""

    inputs: int
    """Dimensions of the noise."""

    def noise(self, count: int, generator: Generator) -> Tensor:
        """Draw noise ``(count, inputs)``."""
        raise NotImplementedError


class Published(Maker):
    """The authors': four layers, batch normalisation between them, and a sigmoid.

    The noise is uniform on the cube, and each layer gets a quarter of it besides the previous
    layer.

    Args:
        inputs: dimensions of the noise, a multiple of four.
        hidden: width of a layer.
        dimensions: n.

    """

    def __init__(self, inputs: int, hidden: int, dimensions: int) -> None:
        super().__init__()
        self.inputs = inputs
        part = inputs // PARTS
        widths = [0, *[hidden] * (PARTS - 1), dimensions]
        self.layers = nn.ModuleList(
            nn.Linear(before + part, after) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(PARTS - 1))

    def noise(self, count: int, generator: Generator) -> Tensor:
        """Draw noise ``(count, inputs)``."""
        return torch.rand(count, self.inputs, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise to θ ``(count, n)``."""
        first, *others = z.chunk(PARTS, 1)
        x = self.layers[0](first)
        for norm, layer, part in zip(self.norms, list(self.layers)[1:], others, strict=True):
            x = layer(torch.cat([leaky_relu(norm(x), SLOPE), part], 1))
        return x.sigmoid()


class Mixture(Maker):
    """Φ of a mixture of Gaussians at the clusters of a population, moved by a perceptron.

    G(z, k) = Φ(m_k + s_k (z + M(z, k))), where M is 0 at first.

    Args:
        population: ``(N, n)`` in [0, 1].
        components: of the mixture.
        hidden: width of the perceptron's layers.

    """

    def __init__(self, population: Tensor, components: int, hidden: int) -> None:
        super().__init__()
        self.means, log_scales, logits = mixture(probit(population), components)
        self.scales, self.shares = log_scales.exp(), logits.softmax(0)
        components, dimensions = self.means.shape
        self.inputs = dimensions + components
        self.body = perceptron(self.inputs, hidden, dimensions)
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


def statistics(inputs: int, hidden: int) -> nn.Module:
    """Return the authors' T of draw and noise: a perceptron whose output is a leaky rectifier's."""
    return nn.Sequential(perceptron(inputs, hidden, 1), nn.LeakyReLU(SLOPE))
