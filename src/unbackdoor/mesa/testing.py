"""The testing function F, the only input of MESA, and how far a draw falls short of β.

F maps trigger parameters θ ∈ [0, 1]^n to [0, 1]: how well θ works. Its level sets are V_β = {θ :
F(θ) ≥ β}. Nothing here depends on pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unbackdoor.errors import ArgumentError

TestingFunction = Callable[[Tensor], Tensor]
"""θ ``(B, n)`` in [0, 1] → F(θ) ``(B,)`` in [0, 1], differentiable where an estimator needs it."""


@runtime_checkable
class Impatient(Protocol):
    """An expensive F, which can stop early where θ does not reach a level."""

    def __call__(self, theta: Tensor) -> Tensor:
        """Return F(θ) ``(B,)`` for θ ``(B, n)``."""
        ...

    def at_least(self, theta: Tensor, level: float) -> Tensor:
        """Return F(θ) ``(B,)`` where it reaches ``level``, elsewhere anything below it."""
        ...


def at_least(F: TestingFunction, theta: Tensor, level: float) -> Tensor:
    """Return F(θ) ``(B,)``, exact only where it reaches ``level`` if F is :class:`Impatient`.

    Below the level such an F may return any value below it.

    Example:
        >>> at_least(lambda theta: theta[:, 0], torch.tensor([[0.25], [0.75]]), 0.5).tolist()
        [0.25, 0.75]

    """
    return F.at_least(theta, level) if isinstance(F, Impatient) else F(theta)


def logit(values: Tensor) -> Tensor:
    """Return log(F / (1 − F)), finite also where F reaches 0 or 1 within rounding."""
    limits = torch.finfo(values.dtype)
    return torch.log(values.clamp(min=limits.tiny)) - torch.log1p(
        -values.clamp(max=1 - limits.eps / 2)
    )


def check_betas(betas: Sequence[float], highest: float = 1.0) -> None:
    """Raise unless levels rise and lie in (0, ``highest``].

    Raises:
        ArgumentError: they do not.

    """
    if not betas or not betas[0] > 0 or any(a >= b for a, b in pairwise(betas)):
        raise ArgumentError(
            f"betas: expected rising levels above 0, came {tuple(betas)}; sort them."
        )
    if not betas[-1] <= highest:
        raise ArgumentError(f"betas: expected levels up to {highest:g}, came {betas[-1]}.")


def shortfall(values: Tensor, beta: float) -> Tensor:
    """Return the hinge max(0, logit β − logit F), zero exactly on V_β.

    On the scale of the logit, F has a gradient even where it is close to 0, and the penalty has no
    upper bound, so it outweighs the entropy however small the level set is. The hinge of F itself,
    which Qiao et al. (2019) use, outweighs at most β / α nats of entropy.

    Args:
        values: F(θ), ``(B,)``.
        beta: the level, in (0, 1).

    Example:
        >>> shortfall(torch.tensor([0.5, 0.9]), 0.5).tolist()
        [0.0, 0.0]

    """
    return (logit(torch.tensor(beta)) - logit(values)).clamp(min=0)
