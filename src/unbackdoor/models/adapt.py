"""What stands around a foreign network so that it maps images in [0, 1] to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST = 1e-30
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class Adapted(nn.Module):
    """A network with steps before and after it, which share nothing with its state dict.

    Args:
        network: as it came.
        before: modules that the images pass first.
        after: modules that its answers pass.

    """

    def __init__(
        self,
        network: nn.Module,
        *,
        before: Sequence[nn.Module] = (),
        after: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.network = network
        self.after = nn.Sequential(*after)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, H, W)`` in [0, 1] to logits ``(B, classes)``."""
        return self.after(self.network(self.before(images)))


class Grey(nn.Module):
    """Red, green and blue to one channel."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, 1, H, W)``."""
        red, green, blue = (images[:, [channel]] for channel in range(3))
        return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


class ChannelsLast(nn.Module):
    """Channels behind rows and columns."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, H, W, C)``."""
        return images.permute(0, 2, 3, 1)


class Plane(nn.Module):
    """Grey pictures without an axis of channels."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 1, H, W)`` to ``(B, H, W)``."""
        return images.squeeze(1)


class Row(nn.Module):
    """Answers with empty axes behind the classes, as convolutional heads give them, without."""

    def forward(self, answers: Tensor) -> Tensor:
        """Map ``(B, classes, 1, 1)`` to ``(B, classes)``."""
        return answers.flatten(1)


class Pick(nn.Module):
    """One tensor of an answer that holds several, as tuples, dictionaries and outputs do.

    Args:
        path: keys and indices that lead to it; an attribute is a key with a dot before it.

    """

    def __init__(self, path: Sequence[str | int]) -> None:
        super().__init__()
        self.path = tuple(path)

    def forward(self, answer: Any) -> Tensor:
        """Return the tensor."""
        for key in self.path:
            if isinstance(key, str) and key.startswith("."):
                answer = getattr(answer, key[1:])
            else:
                answer = answer[key]
        return answer


class Pair(nn.Module):
    """The one logit z of a network for two classes to two: 0 and z."""

    def forward(self, answers: Tensor) -> Tensor:
        """Map ``(B, 1)`` or ``(B,)`` to ``(B, 2)``."""
        column = answers.reshape(-1, 1)
        return torch.cat([torch.zeros_like(column), column], 1)


class Odds(nn.Module):
    """The one probability p of a network for two classes to two logits: log(1 − p) and log p."""

    def forward(self, answers: Tensor) -> Tensor:
        """Map ``(B, 1)`` or ``(B,)`` in [0, 1] to ``(B, 2)``."""
        column = answers.reshape(-1, 1)
        return torch.cat([1 - column, column], 1).clamp_min(SMALLEST).log()


class Log(nn.Module):
    """Probabilities to logits: log p, which softmax maps back to p."""

    def forward(self, answers: Tensor) -> Tensor:
        """Map ``(B, classes)`` in [0, 1] to log-probabilities."""
        return answers.clamp_min(SMALLEST).log()


def bare(module: nn.Module) -> nn.Module:
    """Return the network as it came, without what was put around it."""
    return module.network if isinstance(module, Adapted) else module
