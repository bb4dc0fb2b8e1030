"""A loop of gradient steps at one moment: all that its next step depends on, kept and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Generator, Tensor
from torch.optim.lr_scheduler import LRScheduler


class Optimiser(Protocol):
    """What has a state in the form of PyTorch's optimisers."""

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put it back."""
        ...


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What :func:`take` took.

    Args:
        done: how far the loop was.
        tensors: what is trained, by name.
        optimiser: its state, for each parameter.
        groups: its settings, which a schedule changes.
        schedule: the state of the schedule, empty without one.
        generators: the state of each.

    """

    done: int
    tensors: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]
    groups: list[dict[str, Any]]
    schedule: dict[str, Any]
    generators: list[Tensor]

    def restore(
        self,
        optimiser: Optimiser,
        generators: Sequence[Generator],
        schedule: LRScheduler | None = None,
    ) -> None:
        """Put everything back but :attr:`tensors`, whose place the caller knows."""
        optimiser.load_state_dict({"state": self.optimiser, "param_groups": self.groups})
        if schedule is not None:
            schedule.load_state_dict(self.schedule)
        for generator, state in zip(generators, self.generators, strict=True):
            generator.set_state(state)


def take(
    done: int,
    tensors: Mapping[str, Tensor],
    optimiser: Optimiser,
    generators: Sequence[Generator],
    schedule: LRScheduler | None = None,
) -> Snapshot:
    """Return the loop as it is.

    Args:
        done: how far it is.
        tensors: what is trained, by name.
        optimiser: of them.
        generators: of every draw in the loop.
        schedule: of the learning rate.

    """
    state = optimiser.state_dict()
    return Snapshot(
        done=done,
        tensors=dict(tensors),
        optimiser=state["state"],
        groups=state["param_groups"],
        schedule=schedule.state_dict() if schedule else {},
        generators=[generator.get_state() for generator in generators],
    )
