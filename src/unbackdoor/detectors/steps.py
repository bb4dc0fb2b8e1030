"""The steps of a scan: each is done once, and its passes always count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from torch import Generator, Tensor

from unbackdoor.models import Frozen
from unbackdoor.runtime.journal import FORGETFUL, Journal

T = TypeVar("T")


@dataclass(frozen=True)
class _Step(Generic[T]):
    """A finished step: its result, its passes, and the state of the generators after it."""

    value: T
    passes: int
    backward_passes: int
    generators: list[Tensor]


@dataclass(frozen=True)
class Steps:
    """Steps that use one model.

    Args:
        model: counts its passes.
        journal: where finished steps are kept.
        until: moment of the monotonic clock from which a step may end before it is finished, so
            that it is not kept.

    """

    model: Frozen
    journal: Journal = FORGETFUL
    until: float = inf

    def keep(
        self,
        name: str,
        kind: type[T],
        compute: Callable[[], T],
        generators: Sequence[Generator] = (),
    ) -> T:
        """Return the result of a step: read one that an earlier process wrote, or compute it.

        Args:
            name: of the step.
            kind: type of its result.
            compute: does the step.
            generators: those that it draws from, if later steps draw from them too.

        """
        model = self.model
        if (step := self.journal.read(name, _Step[kind])) is not None:
            model.passes += step.passes
            model.backward_passes += step.backward_passes
            for generator, state in zip(generators, step.generators, strict=True):
                generator.set_state(state)
            return step.value
        forward, backward = model.passes, model.backward_passes
        value = compute()
        states = [generator.get_state() for generator in generators]
        passes = (model.passes - forward, model.backward_passes - backward)
        if time.monotonic() < self.until:
            self.journal.write(name, _Step(value, *passes, states))
        return value
