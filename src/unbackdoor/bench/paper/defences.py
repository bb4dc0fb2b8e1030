"""The columns of the paper's table: the same retraining on triggers from different sources.

They differ only in the source of the triggers; the schedule, the images and their order are the
same for all. So the comparison shows the effect of the triggers alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Generator, Tensor, nn

from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.paper.attacked import Found, Recovered, current
from unbackdoor.bench.paper.defended import Defence, Defended, Outcome
from unbackdoor.bench.paper.networks import SPACE, Network, sha256, training_journal
from unbackdoor.bench.paper.poisoned import Poisoned
from unbackdoor.detectors.neural_cleanse import reverse
from unbackdoor.detectors.objective import probability
from unbackdoor.detectors.settings import REVERSAL, ReversalSettings
from unbackdoor.detectors.stairs import from_records
from unbackdoor.mesa import Mine
from unbackdoor.mesa.settings import MINE_PAPER, MineSettings
from unbackdoor.models import decode, freeze
from unbackdoor.repairing import Lesson, Recalled, unlearn
from unbackdoor.repairing.rivals.registry import RIVALS, RivalSettings
from unbackdoor.repairing.rivals.spectral import scores, separation, suspects
from unbackdoor.repairing.unlearn import Sampler
from unbackdoor.rng import stream
from unbackdoor.runtime.work import Work
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.training import fit

NOTHING = Outcome()
"""The outcome of a defence that passed no image through a network."""


@dataclass(frozen=True)
class Undefended(Defence):
    """Nothing is done."""

    @property
    def name(self) -> str:
        """In the table."""
        return "none"

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Leave the network as it is."""
        del module, defended, inputs
        return NOTHING


@dataclass(frozen=True)
class FineTuned(Defence):
    """The control: the same schedule without any trigger.

    Args:
        plain: whether labels are used without the answers of the network itself, as in usual
            fine-tuning.

    """

    plain: bool = False

    @property
    def name(self) -> str:
        """In the table."""
        return "fine-tuning on labels alone" if self.plain else "fine-tuning"

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Retrain on clean images alone."""
        if self.plain:
            alone = replace(defended.repair, keep=0.0)
            defended = replace(defended, repair=alone)
        return _retrain(module, defended, inputs, None)


@dataclass(frozen=True)
class Ideal(Defence):
    """The optimum: retraining with the trigger that was planted."""

    @property
    def name(self) -> str:
        """In the table."""
        return "original trigger"

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Retrain on the planted trigger."""
        planted = defended.network.planted
        assert planted is not None
        return _retrain(module, defended, inputs, Lesson(planted.space, _always(planted.theta)))


@dataclass(frozen=True, kw_only=True)
class Reversed(Defence):
    """One trigger that Neural Cleanse finds.

    Args:
        restart: another one finds another trigger.
        settings: of the search.

    """

    restart: int = 0
    settings: ReversalSettings = REVERSAL

    @property
    def name(self) -> str:
        """In the table."""
        return "one reversed trigger"

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Search it, and retrain on it."""
        model = freeze(module)
        theta = reverse(
            model,
            defended.images,
            SPACE,
            defended.network.target,
            self.settings,
            generator=stream(defended.seed, "paper", "reversed", self.restart),
        )
        search = Outcome(passes=model.passes, restart=self.restart)
        return _retrain(module, defended, inputs, Lesson(SPACE, _always(theta)), search)


@dataclass(frozen=True, kw_only=True)
class Mesa(Defence):
    """Draws of the recovered staircase; in equal parts of each stair as in ``repair``.

    Args:
        beta: level of the only stair that is used; all stairs when left out.
        equal: whether the stairs are mixed in equal parts rather than by γ.
        scanning: how the staircase is recovered; the columns share one.

    """

    beta: float | None = None
    equal: bool = False
    scanning: ScanSettings = SCAN

    @property
    def name(self) -> str:
        """Which stairs."""
        if self.beta is not None:
            return f"β = {self.beta:g}"
        return "equal weights" if self.equal else "ensemble"

    def needs(self, defended: Defended) -> tuple[Spec, ...]:
        """Return the staircase."""
        return (self.recovered(defended),)

    def recovered(self, defended: Defended) -> Recovered:
        """Return the spec of the staircase from which the triggers are drawn."""
        return Recovered(
            network=defended.network,
            scanning=self.scanning,
            count=defended.count,
            seed=defended.seed,
        )

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Retrain on draws."""
        device = str(next(module.parameters()).device)
        recovered = self.recovered(defended)
        began = time.perf_counter()
        found: Found = current(recovered, inputs, device)
        # If the staircase is recovered only now, the timer of the defence includes that time
        # already.
        seconds = max(0.0, found.seconds - (time.perf_counter() - began))
        law = from_records(
            [record for record in found.stairs if self.beta in {None, record.beta}],
            SPACE.dimensions(defended.images.shape),
            equal=self.equal,
        )
        recovery = Outcome(passes=found.passes, seconds=seconds)
        return _retrain(module, defended, inputs, Lesson(SPACE, law.sample), recovery)


@dataclass(frozen=True, kw_only=True)
class Generated(Defence):
    """Draws of the paper's own generators, without selection, in equal parts of every β.

    Args:
        settings: of the estimator.
        betas: the levels.
        draws: number of draws that are kept of each generator.

    """

    settings: MineSettings = MINE_PAPER
    betas: tuple[float, ...] = (0.5, 0.8, 0.9)
    draws: int = 1000

    @property
    def name(self) -> str:
        """In the table."""
        alpha = "as published" if self.settings == MINE_PAPER else f"α = {self.settings.alpha:g}"
        return f"mine, {alpha}"

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Fit the generators, and retrain on their draws."""
        model = freeze(module)
        F = probability(
            model,
            defended.images,
            SPACE,
            defended.network.target,
            stream(defended.seed, "paper", "mine"),
        )
        stairs = Mine(self.settings, draws=self.draws)(
            F, self.betas, SPACE.dimensions(defended.images.shape), seed=defended.seed
        )
        draws = torch.cat([stair.draws for stair in stairs])

        def sampler(count: int, generator: Generator) -> Tensor:
            return draws[torch.randint(len(draws), (count,), generator=generator)]

        fitting = Outcome(passes=model.passes)
        return _retrain(module, defended, inputs, Lesson(SPACE, sampler), fitting)


@dataclass(frozen=True)
class SpectralFilter(Defence):
    """Remove the training images with the highest spectral signatures, and train again.

    Unlike the others it needs the training set, the number of poisoned images in it, and, for an
    implanted backdoor, the network from which the attacker started.
    """

    @property
    def name(self) -> str:
        """In the table."""
        return "spectral signatures"

    def suits(self, network: Network) -> bool:
        """Return False for CIFAR-100, where it would remove more images than a class has."""
        return network.data != "cifar100"

    def needs(self, defended: Defended) -> tuple[Spec, ...]:
        """Return the network from which the backdoored one was fine-tuned, if any."""
        return defended.network.needs

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Score, remove, and train as the backdoored network was trained."""
        network = defended.network
        trained = Poisoned.of(network)
        images, labels, poison = trained.images, trained.labels, trained.poison
        features = trained.features(module, torch.arange(len(images)))
        own = (labels == network.target).nonzero()[:, 0]
        told = separation(scores(features[own]), poison.poisoned[own])
        kept = (~suspects(features, labels, int(poison.poisoned.sum()))).nonzero()[:, 0]
        device = str(next(module.parameters()).device)
        again = network.begin(inputs, device)
        with training_journal(defended, device, sha256(inputs[network]), kept) as journal:
            passes = fit(
                again,
                images.subset(kept),
                network.training,
                generator=stream(network.seed, "attack", "training"),
                change=poison.within(kept),
                draws=(poison.generator,),
                journal=journal,
            )
        module.load_state_dict(again.state_dict())
        return Outcome(passes=len(images) + passes, separation=told)


@dataclass(frozen=True)
class Rival(Defence):
    """A repair by other authors.

    Args:
        settings: of the method; their type selects it.

    """

    settings: RivalSettings

    @property
    def name(self) -> str:
        """In the table."""
        return RIVALS[type(self.settings)].name

    def __call__(
        self, module: nn.Module, defended: Defended, inputs: Mapping[Spec, Any]
    ) -> Outcome:
        """Repair with the clean images alone."""
        del inputs
        rival = RIVALS[type(self.settings)]
        generator = stream(defended.seed, "paper", rival.name)
        return Outcome(passes=rival(module, defended.images, self.settings, generator=generator))


def _retrain(
    module: nn.Module,
    defended: Defended,
    inputs: Mapping[Spec, Any],
    lesson: Lesson | None,
    after: Outcome = NOTHING,
) -> Outcome:
    """Retrain a network that is unchanged so far, and add the work to that of ``after``."""
    device = str(next(module.parameters()).device)
    original = _original(inputs[defended.network], defended.network.arch, device)
    before = original.spared
    passes = unlearn(
        module,
        defended.images,
        lesson,
        defended.repair,
        Work(seed=defended.seed),
        original=original,
    )
    return replace(
        after,
        passes=after.passes + passes,
        seconds=after.seconds + original.spared - before,
    )


@lru_cache(maxsize=1)
def _original(content: bytes, arch: str, device: str) -> Recalled:
    """Return a backdoored network with a cache of its answers for the columns of one process."""
    return Recalled(freeze(decode(content, arch).to(device)))


def _always(theta: Tensor) -> Sampler:
    return lambda count, _: theta.expand(count, -1)
