"""The guard of a repair: images kept back, every state watched, the best one taken.

An attempt trains a copy of the network by a recipe. Meanwhile the guard looks at it on images of
the defender that are never trained on: how much accuracy it has lost, and how often the triggers
still work. If accuracy has fallen by too much at the end, the best earlier state counts; if there
is none, or triggers still work, the next attempt is gentler. Where no state will do, the states
are what is left: the trade-off between accuracy and the triggers' rate.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unbackdoor.repairing.lookout import Lookout
from unbackdoor.repairing.settings import Attempt, GuardSettings
from unbackdoor.repairing.ways import Way
from unbackdoor.results import Attempted, Watched
from unbackdoor.runtime.journal import Journal
from unbackdoor.runtime.work import Work
from unbackdoor.training import DivergedError, Watch

ALIKE = 0.5
"""Difference of two losses, as a share of what is allowed, that decides nothing."""
MOST_TURNED_DOWN = 2
"""How often the images that a repair has not seen may turn down what was taken."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the guard has let through, and all that it has seen.

    Args:
        network: the state that was taken; the network as it came where none was.
        attempt: the attempt that it is of; the first where none was taken.
        gently: whether the state is less than the end of an attempt that is not gentle; false where
            no triggers are unlearnt.
        weakened: whether stronger triggers still favour their class in it.
        attempts: that were made.
        states: every look.
        taken: index of the state; None where none was good enough.
        turned_down: indices of states that were taken before it and lost too much accuracy on
            images that the repair had not seen.
        passes: images through networks.

    """

    network: nn.Module
    attempt: Attempt
    gently: bool
    weakened: bool
    attempts: list[Attempted]
    states: list[Watched]
    taken: int | None
    turned_down: list[int]
    passes: int


@dataclass(frozen=True)
class _Candidate:
    """A state that has kept accuracy, with its weights."""

    state: Watched
    attempt: Attempt
    tensors: dict[str, Tensor]
    end: bool = False

    @property
    def gentle(self) -> bool:
        """Whether the backdoor may be hidden rather than unlearnt."""
        return self.attempt.gentle or not self.end


class _Log:
    """Watches one attempt, and keeps the weights of its best state so far."""

    def __init__(self, lookout: Lookout, network: nn.Module, number: int, journal: Journal) -> None:
        self.lookout, self.network, self.number = lookout, network, number
        self.journal = journal
        kept: Any = journal.read("watched", _Kept)
        self.kept: _Kept = kept or _Kept([], None, {}, 0)

    def look(self, seen: int, mixed: float = 1.0) -> str:
        """Look at the network after so many images, unless that is known from before a kill."""
        states, best, tensors = self.kept.states, self.kept.best, self.kept.tensors
        now = (seen, mixed)
        if all((state.images_seen, state.mixed) != now for state in states):
            before = self.lookout.passes
            state = self.lookout.look(self.network, self.number, seen, mixed)
            passes = self.kept.passes + self.lookout.passes - before
            cost = self.lookout.cost
            if self.lookout.keeps(state) and (best is None or cost(state) <= cost(best)):
                best, tensors = state, _copied(self.network)
            self.kept = _Kept([*states, state], best, tensors, passes)
            self.journal.write("watched", self.kept)
        state = next(one for one in self.kept.states if (one.images_seen, one.mixed) == now)
        works = "" if state.asr is None else f", triggers {state.asr:.1%}"
        if self.lookout.weakened(state):
            works += f", stronger ones {state.stronger:.1%} ahead"
        return f"accuracy −{state.accuracy_lost:.1%}{works}".replace("−-", "+")


@dataclass(frozen=True)
class _Kept:
    """What is known of an attempt, and how many images passed to know it."""

    states: list[Watched]
    best: Watched | None
    tensors: dict[str, Tensor]
    passes: int


class Guard:
    """Makes attempts, from the strongest on, and takes the best state of them.

    Args:
        model: the network, not changed.
        lookout: what is measured meanwhile.
        way: how an attempt trains.
        settings: the attempts, and what is allowed.
        work: seed, progress and journal.

    """

    def __init__(
        self, model: nn.Module, lookout: Lookout, way: Way, settings: GuardSettings, work: Work
    ) -> None:
        self.model, self.lookout, self.way = model, lookout, way
        self.settings, self.work = settings, work
        self._attempts, self._states = list[Attempted](), [lookout.before]
        self._passes = lookout.passes
        self._candidates, self._turned_down = list[_Candidate](), list[_Candidate]()
        self._taken: _Candidate | None = None
        self._done = False

    def choose(self) -> Chosen:
        """Return a repaired copy of the network, or one as it came where no state is good enough.

        Attempts are made until one ends well; those that were made already are not made again.
        """
        lookout = self.lookout
        while len(self._attempts) < len(self.settings.attempts) and not self._ends_well():
            self._try(len(self._attempts))
        best = _best(self._left(), lookout)
        taken = best if best is not None and lookout.helps(best.state) else None
        if taken is None and self._turned_down:  # there is nothing better
            taken = self._turned_down.pop()
            self._done = True
        self._taken = taken
        network = copy.deepcopy(self.model).requires_grad_(True)
        if taken is not None:
            network.load_state_dict(taken.tensors)
        return Chosen(
            network=network.eval(),
            attempt=taken.attempt if taken else self.settings.attempts[0],
            gently=taken is not None and taken.gentle and bool(lookout.charges),
            weakened=taken is not None and lookout.weakened(taken.state),
            attempts=[*self._attempts],
            states=[*self._states],
            taken=self._states.index(taken.state) if taken else None,
            turned_down=[self._states.index(one.state) for one in self._turned_down],
            passes=self._passes,
        )

    def turn_down(self) -> bool:
        """Rule out the state that was taken last, and return whether another may be chosen."""
        if self._taken is None or self._done or len(self._turned_down) == MOST_TURNED_DOWN:
            return False
        self._turned_down.append(self._taken)
        return True

    def _left(self) -> list[_Candidate]:
        """Return the candidates that are gentler than what was turned down, or have lost less."""
        return [
            one
            for one in self._candidates
            if all(
                one.state.attempt > other.state.attempt
                or one.state.accuracy_lost < other.state.accuracy_lost
                for other in self._turned_down
            )
        ]

    def _ends_well(self) -> bool:
        lookout = self.lookout
        return any(
            one.end and lookout.heals(one.state) and lookout.keeps(one.state)
            for one in self._left()
        )

    def _try(self, number: int) -> None:
        """Make an attempt, of which its end or its best state is a candidate."""
        attempt, lookout = self.settings.attempts[number], self.lookout
        network = copy.deepcopy(self.model)
        train_last(network, attempt.layers)
        own = self.work.within(f"attempt {number}")
        log = _Log(lookout, network, number, own.journal)
        ended, passes = True, 0
        try:
            passes = self.way(
                network, attempt, Watch(look=log.look, looks=self.settings.looks), own
            )
        except DivergedError:
            ended = False
        end = next((one for one in reversed(log.kept.states) if one.mixed == 1), None)
        candidate: _Candidate | None = None
        if ended and end is not None and lookout.may_keep(end):
            candidate = _Candidate(end, attempt, _copied(network), end=True)
        elif ended and end is not None:
            last = _copied(network)
            for weight in self.settings.mixes:
                network.load_state_dict(mixture(self.model.state_dict(), last, weight))
                log.look(end.images_seen, weight)
        kept = log.kept
        if candidate is None and kept.best is not None:
            candidate = _Candidate(kept.best, attempt, kept.tensors)
        self._attempts.append(self.way.describe(attempt))
        self._states += kept.states
        self._passes += passes + kept.passes
        if candidate is not None:
            self._candidates.append(candidate)


def _best(candidates: Sequence[_Candidate], lookout: Lookout) -> _Candidate | None:
    """Return the best of the states that attempts, from the strongest on, have left.

    What gentler attempts unlearn comes back sooner, so of those that end well a gentler one has to
    keep more accuracy, and one that hides a backdoor rather than unlearns it is taken where no
    other ends well, nor brings down the triggers that are unlearnt, if not stronger ones. They are
    watched on the same images, so their losses are compared better than any is known.
    """
    ends = [one for one in candidates if one.end and lookout.heals(one.state)]
    if lookout.charges:
        whole = [one for one in candidates if one.end and not one.gentle]
        lowered = [one for one in whole if lookout.lowers(one.state) and lookout.helps(one.state)]
        healed = [one for one in whole if lookout.heals(one.state)]
        if lowered and not healed:
            return min(_keeping(lowered, lookout), key=lambda one: lookout.cost(one.state))
        ends = healed or ends
    if not ends:
        return min(candidates, key=lambda one: lookout.cost(one.state), default=None)
    return _keeping(ends, lookout)[0]


def _keeping(ends: Sequence[_Candidate], lookout: Lookout) -> list[_Candidate]:
    """Return those whose loss of accuracy is about the least of all."""
    least = min(one.state.accuracy_lost for one in ends)
    near = least + ALIKE * lookout.allowed
    return [one for one in ends if one.state.accuracy_lost <= near]


def mixture(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Return the mean of two states of a network; what is no fraction is the other's.

    Args:
        one: a state.
        other: another one.
        weight: of the other.

    """
    return {
        name: one[name].lerp(tensor, weight) if tensor.is_floating_point() else tensor
        for name, tensor in other.items()
    }


def train_last(network: nn.Module, share: float) -> None:
    """Leave only the last weight tensors of a network to be trained: a share of them, at least one.

    Args:
        network: whose parameters are in order from the input to the output.
        share: in (0, 1].

    """
    parameters = list(network.parameters())
    fixed = len(parameters) - max(1, math.ceil(share * len(parameters)))
    for number, parameter in enumerate(parameters):
        parameter.requires_grad_(number >= fixed)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
