"""The optimiser that reverse-engineers triggers: Adam on x = logit θ, from a start in the cube.

The caller chooses the loss: at each step its function adds the gradient to x, for as many images at
a time as it likes, so that memory does not grow with the number of triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from unbackdoor.mesa.adam import Adam
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Task
from unbackdoor.runtime.snapshot import Snapshot, take

OFTEN = 20
"""The search is saved each time after so many steps."""
EDGE = 1e-3
"""A start is clipped to [EDGE, 1 − EDGE]."""

AddGradient = Callable[[Tensor], None]
"""Takes x and adds the gradient of the loss to ``x.grad``."""


def descend(
    start: Tensor,
    add_gradient: AddGradient,
    *,
    steps: int,
    learning_rate: float,
    generators: Sequence[Generator] = (),
    task: Task | None = None,
    journal: Journal = FORGETFUL,
) -> tuple[Tensor, int]:
    """Return θ ``(like start)`` after all steps, and how many steps an earlier process had done.

    Args:
        start: θ in [0, 1], of any shape.
        add_gradient: adds the gradient of the loss.
        steps: of Adam.
        learning_rate: on the logit of θ.
        generators: those that ``add_gradient`` draws from; they are saved too, so that a search
            that was killed continues with the same draws.
        task: where each step is reported.
        journal: saves the search every :data:`OFTEN` steps.

    """
    x = torch.logit(start, eps=EDGE).requires_grad_()
    optimiser = Adam([x], learning_rate)
    first = 0
    if (kept := journal.read("search", Snapshot)) is not None:
        x.data.copy_(kept.tensors["x"])
        kept.restore(optimiser, generators)
        first = kept.done
    if task is not None:
        task.advance(first)
    for step in range(first, steps):
        optimiser.zero_grad()
        add_gradient(x)
        optimiser.step()
        if (step + 1) % OFTEN == 0:
            journal.write("search", take(step + 1, {"x": x}, optimiser, generators))
        if task is not None:
            task.advance()
    return torch.sigmoid(x.detach()), first
