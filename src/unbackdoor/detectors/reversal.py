"""The one loop of Adam by which triggers are reversed: on x = logit θ, from a start in the cube.

What is descended is the caller's affair: a slope is asked for at each step and adds its gradient to
x, as many images at a time as it likes, so that memory does not grow with the number of triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Task
from unbackdoor.runtime.snapshot import Snapshot, take

OFTEN = 20
"""Steps after which the search is kept."""
EDGE = 1e-3
"""How near to 0 and 1 a start may be."""

Slope = Callable[[Tensor], None]
"""Takes x and adds the gradient of what is descended to ``x.grad``."""


def descend(
    start: Tensor,
    slope: Slope,
    *,
    steps: int,
    learning_rate: float,
    generators: Sequence[Generator] = (),
    task: Task | None = None,
    journal: Journal = FORGETFUL,
) -> tuple[Tensor, int]:
    """Return θ of the shape of ``start`` after some steps, and how many of them were kept before.

    Args:
        start: θ in [0, 1], of any shape.
        slope: of what is descended.
        steps: of Adam.
        learning_rate: on the logit of θ.
        generators: what the slope draws from, so that a search that was killed goes on alike.
        task: where to report; one step each.
        journal: keeps the search every :data:`OFTEN` steps.

    """
    x = torch.logit(start, eps=EDGE).requires_grad_()
    optimiser = torch.optim.Adam([x], lr=learning_rate)
    first = 0
    if (kept := journal.read("search", Snapshot)) is not None:
        x.data.copy_(kept.tensors["x"])
        kept.restore(optimiser, generators)
        first = kept.done
    if task is not None:
        task.advance(first)
    for step in range(first, steps):
        optimiser.zero_grad()
        slope(x)
        optimiser.step()
        if (step + 1) % OFTEN == 0:
            journal.write("search", take(step + 1, {"x": x}, optimiser, generators))
        if task is not None:
            task.advance()
    return torch.sigmoid(x.detach()), first
