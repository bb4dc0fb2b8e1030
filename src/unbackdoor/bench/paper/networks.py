"""The networks of the paper's experiment, clean and backdoored, and their images."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import nn

from unbackdoor import data
from unbackdoor.attack import backdoor_of, beginning, fresh, implant, provenance
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.bench.framework.spec import Spec, journal_of
from unbackdoor.data import Images
from unbackdoor.models import decode, encode
from unbackdoor.runtime.journal import Journal, key_of
from unbackdoor.training import FINE_TUNING, TrainingSettings
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.planted import Trigger
from unbackdoor.triggers.registry import parse_space

SPACE = parse_space("patch:3")
SHAPE = (3, 32, 32)
"""Of the pictures of both data sets."""
ROUNDS = 3
IMAGES, TRAINING = 50_000, 4
"""For the progress bar: images in a training set, and the cost of a training pass in forward
passes."""

training_images = cache(data.load_training)
clean_images = cache(data.load)


@dataclass(frozen=True, kw_only=True)
class Network(Spec):
    """A trained network; its file is the result.

    Args:
        data: its training data.
        arch: its architecture.
        training: the recipe.
        seed: of every draw.
        start: the network that it is fine-tuned from; from scratch when left out.
        trigger: the trigger planted in it; none when left out.
        target: the class that triggered images are sent to.
        rate: share of the training images that is poisoned.

    """

    data: str
    arch: str
    training: TrainingSettings = FINE_TUNING
    seed: int = 0
    start: Network | None = None
    trigger: str | None = None
    target: int = 0
    rate: float = 0.01

    table: ClassVar[str] = "networks"
    result: ClassVar[type] = bytes
    version: ClassVar[int] = 1

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network that it is fine-tuned from, if any."""
        return (self.start,) if self.start else ()

    @property
    def work(self) -> float:
        """The training passes of all epochs."""
        return IMAGES * TRAINING * self.training.epochs

    @property
    def planted(self) -> Trigger | None:
        """The trigger itself."""
        return parse_trigger(self.trigger, SHAPE) if self.trigger else None

    @property
    def attack(self) -> AttackSettings:
        """The settings of the attack."""
        return AttackSettings(
            data=self.data,
            arch=self.arch,
            triggers=(self.trigger,) if self.trigger else (),
            target=self.target,
            rate=self.rate,
            training=self.training,
            seed=self.seed,
        )

    def begin(self, inputs: Mapping[Spec, Any], device: str) -> nn.Module:
        """Return the network before it is trained."""
        if self.start:
            module = decode(inputs[self.start], self.start.arch)
        else:
            module = fresh(self.arch, len(training_images(self.data).defend.classes), self.seed)
        return module.to(device)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> bytes:
        """Train it; after a kill, training continues after the last finished epoch."""
        images = training_images(self.data)
        module = self.begin(inputs, device)
        backdoor = backdoor_of(self.attack, images.defend)
        begun = beginning(module, images, backdoor, f"--arch: {self.arch}")
        with training_journal(self, device, *begun) as journal:
            passes = implant(module, images, backdoor, self.attack, journal=journal)
        return encode(module, provenance(self.attack, images, backdoor, passes))


@contextmanager
def training_journal(spec: Spec, device: str, *begun: object) -> Generator[Journal]:
    """Open the journal of a training's epochs, which only an identical training can continue.

    Args:
        spec: of the network.
        device: where it runs; on a CPU another number of threads adds in another order.
        begun: what the training starts from.

    """
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else None
    with journal_of(spec) as journal:
        yield journal.within(key_of(named_device(device), threads, *begun))


def named_device(device: str) -> str:
    """Return a device with the name of its card, such as ``cuda (NVIDIA H100)``."""
    if torch.device(device).type != "cuda":
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"


def sha256(content: bytes) -> str:
    """Return the hash that identifies a network in a row."""
    return hashlib.sha256(content).hexdigest()


def defender(name: str, count: int | None) -> Images:
    """Return the clean images of a defender, equally many of each class."""
    images = clean_images(name).defend
    return images if count is None else images.fewer(count)
