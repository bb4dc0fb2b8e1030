"""Adam without PyTorch's compiler, which every ``torch.optim.Optimizer`` loads when it is made.

Loading it takes most of a second, as long as many a search. The arithmetic is PyTorch's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

SLOW, FAST = 0.95, 0.85
"""Weight of earlier gradients at the ends and in the middle of a cycle."""
RISING = 0.3
"""Share of a cycle in which the rate rises."""


class Adam:
    """AdamW on some tensors (Kingma and Ba, 2015; Loshchilov and Hutter, 2019).

    Args:
        parameters: changed in place by each step, as their gradients say.
        rate: of learning; a step may be given another one.
        decay: of the weights.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> optimiser = Adam([x], 0.1)
        >>> x.square().sum().backward()
        >>> optimiser.step()
        >>> round(x.item(), 3)
        1.9

    """

    def __init__(self, parameters: Sequence[Tensor], rate: float, decay: float = 0.0) -> None:
        self.parameters, self.rate, self.decay = [*parameters], rate, decay
        self._mean = [torch.zeros_like(one) for one in self.parameters]
        self._square = [torch.zeros_like(one) for one in self.parameters]
        self._steps = [torch.zeros((), device=one.device) for one in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self.parameters:
            one.grad = None

    @torch.no_grad()
    def step(self, rate: float | None = None, momentum: float = 0.9) -> None:
        """Make a step, with another rate and weight of earlier gradients than usual if given."""
        gradients = [one.grad for one in self.parameters]
        assert all(one is not None for one in gradients)
        adamw(
            self.parameters,
            gradients,  # pyright: ignore[reportArgumentType]
            self._mean,
            self._square,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=momentum,
            beta2=0.999,
            lr=self.rate if rate is None else rate,
            weight_decay=self.decay,
            eps=1e-8,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that further steps depend on, in the form of PyTorch's optimisers."""
        states = zip(self._mean, self._square, self._steps, strict=True)
        names = ("exp_avg", "exp_avg_sq", "step")
        return {
            "state": {row: dict(zip(names, one, strict=True)) for row, one in enumerate(states)},
            "param_groups": [],
        }

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put a state back."""
        for row, one in state_dict["state"].items():
            self._mean[row].copy_(one["exp_avg"])
            self._square[row].copy_(one["exp_avg_sq"])
            self._steps[row].copy_(one["step"])


def one_cycle(step: int, steps: int, peak: float) -> tuple[float, float]:
    """Return the rate and momentum of a step of a cycle (Smith and Topin, 2019).

    The rate rises from a 25th of its peak, and then falls to nearly nothing.

    Args:
        step: from 0.
        steps: of the cycle.
        peak: of the rate.

    Example:
        >>> [round(one_cycle(step, 11, 1.0)[0], 2) for step in (0, 2, 6, 10)]
        [0.04, 0.96, 0.53, 0.0]

    """
    top = RISING * steps - 1
    if step <= top:
        return (
            _between(peak / 25, peak, step / top),
            _between(SLOW, FAST, step / top),
        )
    along = (step - top) / (steps - 1 - top)
    return _between(peak, peak / 25e4, along), _between(FAST, SLOW, along)


def _between(start: float, end: float, along: float) -> float:
    """Return a value on half a cosine between two."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * along))
