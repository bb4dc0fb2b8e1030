"""The stages of the paper's experiment as specs: networks, recovered triggers, rows of defences.

A clean network is trained; a backdoor is implanted in it (or trained in from scratch); the triggers
towards the attacked class, which is known here, are recovered; a defence works with clean images
that the network has never seen; the planted trigger is measured on others, before and after.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, Protocol

import msgspec
import torch
from torch import nn

from unbackdoor import data
from unbackdoor.attack import beginning, fresh, implant
from unbackdoor.attack.settings import AttackSettings
from unbackdoor.bench.framework.spec import Spec, journal_of
from unbackdoor.data import Images
from unbackdoor.detectors.recovery import first_look, focus, panel_of, recover
from unbackdoor.detectors.stairs import to_records
from unbackdoor.metrics import accuracy, attack_success
from unbackdoor.models import decode, encode, freeze
from unbackdoor.repairing.settings import REPAIR, RepairSettings
from unbackdoor.results import StairRecord, versions
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import Journal, key_of
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import SCAN, ScanSettings
from unbackdoor.training import FINE_TUNING, TrainingSettings
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger, parse_trigger

SPACE = Patch(3)
ROUNDS = 3
IMAGES, TRAINING = 50_000, 4
"""For the bar of progress: images in a training set; passes forward that one of training costs."""

training_images = cache(data.load_training)
clean_images = cache(data.load)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network; its file is the result.

    Args:
        data: what it is trained on.
        arch: its architecture.
        training: the recipe.
        seed: of every draw.
        start: the network that it is fine-tuned from; from scratch when left out.
        trigger: what is planted in it; nothing when left out.
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
        """What it is fine-tuned from."""
        return (self.start,) if self.start else ()

    @property
    def work(self) -> float:
        """Every image of every epoch, trained."""
        return IMAGES * TRAINING * self.training.epochs

    @property
    def planted(self) -> Trigger | None:
        """The trigger itself."""
        return parse_trigger(self.trigger) if self.trigger else None

    @property
    def attack(self) -> AttackSettings:
        """What is done, as the attack takes it."""
        return AttackSettings(
            data=self.data,
            arch=self.arch,
            trigger=self.trigger,
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
        """Train it; one that was killed goes on after the last epoch that was finished here."""
        images = training_images(self.data)
        module = self.begin(inputs, device)
        begun = beginning(module, images, self.planted, f"--arch: {self.arch}")
        with training_journal(self, device, *begun) as journal:
            passes = implant(module, images, self.planted, self.attack, journal=journal)
        facts = {
            "arch": self.arch,
            "data": self.data,
            "data_sha256": images.defend.sha256,
            "target": self.target if self.trigger else None,
            "trigger": self.trigger,
            "trigger_theta": self.planted and self.planted.to_hex(),
            "rate": self.rate if self.trigger else None,
            "seed": self.seed,
            "training": asdict(self.training),
            "image_passes": passes,
            "versions": versions(),
        }
        return encode(module, facts)


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured before any defence; rates are of the planted trigger.

    Args:
        network: SHA-256 of the backdoored network's file.
        asr: on the backdoored network.
        accuracy: of the backdoored network.
        asr_clean: on the clean network, the floor that no defence can be expected to cross.
        accuracy_clean: of the clean network.

    """

    network: str
    asr: float
    accuracy: float
    asr_clean: float
    accuracy_clean: float


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A backdoored network beside the clean one, before any defence."""

    network: Network
    clean: Network

    table: ClassVar[str] = "paper-before"
    result: ClassVar[type] = Before
    version: ClassVar[int] = 1

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Both networks."""
        return self.network, self.clean

    @property
    def work(self) -> float:
        """Every held-back image, stamped in each round, and as it is."""
        return 2 * 2_000 * (ROUNDS + 1)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Before:
        """Measure both."""
        bad, clean = (
            decode(inputs[one], one.arch).to(device) for one in (self.network, self.clean)
        )
        asr, correct = measure(bad, self.network)
        floor, correct_clean = measure(clean, self.network)
        return Before(
            network=sha256(inputs[self.network]),
            asr=asr,
            accuracy=correct,
            asr_clean=floor,
            accuracy_clean=correct_clean,
        )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A recovered staircase and what it cost.

    Args:
        network: SHA-256 of the network's file.
        stairs: one for each level.
        passes: images forward.
        backward: images backward.
        seconds: wall-clock time.

    """

    network: str = ""
    stairs: list[StairRecord]
    passes: int
    backward: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The staircase of triggers towards the attacked class.

    Args:
        network: the backdoored one.
        scanning: levels and work.
        count: how many of the clean images are looked at; all when left out.
        seed: of every draw.

    """

    network: Network
    scanning: ScanSettings = SCAN
    count: int | None = None
    seed: int = 0

    table: ClassVar[str] = "paper-staircases"
    result: ClassVar[type] = Found
    version: ClassVar[int] = 1

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network."""
        return (self.network,)

    @property
    def work(self) -> float:
        """About what a scan asks for one class."""
        return 60_000

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Found:
        """Recover it, as a scan does once it knows the class."""
        began = time.perf_counter()
        model = freeze(decode(inputs[self.network], self.network.arch).to(device))
        images = defender(self.network.data, self.count)
        panel = panel_of(model, images, SPACE, self.scanning, self.seed)
        target = self.network.target
        screening, known = first_look(panel, images, self.scanning, self.seed, Silent(), [target])
        on = focus(panel, images, screening.theta[0], known, target, self.scanning, self.seed)
        stairs = recover(on, self.scanning, self.seed)
        return Found(
            network=sha256(inputs[self.network]),
            stairs=to_records(stairs),
            passes=model.passes,
            backward=model.backward_passes,
            seconds=time.perf_counter() - began,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a defence says of itself.

    Args:
        passes: images through a network, shared work included.
        seconds: of shared work that was done before.
        restart: which of several that differ by chance alone.
        separation: of poisoned and clean training images, as the area under the curve.

    """

    passes: int = 0
    seconds: float = 0.0
    restart: int = 0
    separation: float | None = None


class Defence(Protocol):
    """What is done to a backdoored network; a frozen dataclass of its settings derives from it."""

    @property
    def name(self) -> str:
        """In the table."""
        ...

    def suits(self, network: Network) -> bool:
        """Return whether it can be asked to defend a network; most can, always."""
        del network
        return True

    def needs(self, case: Defended) -> tuple[Spec, ...]:
        """Return what it takes beside the network: nothing, for most."""
        del case
        return ()

    def __call__(self, module: nn.Module, case: Defended, inputs: Mapping[Spec, Any]) -> Outcome:
        """Change the network in place.

        Args:
            module: the backdoored network.
            case: the clean images, how to retrain, the seed, and whom the attack aims at; the
                planted trigger is there for the ideal alone.
            inputs: the results of what it takes.

        """
        ...


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One defence of one network; rates are of the planted trigger on held-back images.

    Args:
        data: the data set.
        arch: of the network.
        variant: ``implanted`` or ``scratch``, how the backdoor got in.
        trigger: what was planted.
        target: towards which class.
        rate: share of poisoned training images.
        network: SHA-256 of the backdoored network's file.
        defence: its name.
        restart: of several that differ by chance alone.
        seed: of the defence.
        images: clean images that it worked with.
        evaluated: held-back images of other classes, each stamped in three rounds.
        asr_before: before it.
        asr_after: after it.
        asr_clean: on the clean network.
        excess: ``asr_after − asr_clean``.
        accuracy_clean: of the clean network.
        accuracy_before: before it.
        accuracy_after: after it.
        separation: of poisoned and clean training images, where the defence looks at them.
        passes: images through a network, shared work included.
        seconds: wall-clock time, shared work included.
        device: where networks ran.
        versions: of what the figures depend on.

    """

    data: str
    arch: str
    variant: str
    trigger: str
    target: int
    rate: float
    network: str
    defence: str
    restart: int
    seed: int
    images: int
    evaluated: int
    asr_before: float
    asr_after: float
    asr_clean: float
    excess: float
    accuracy_clean: float
    accuracy_before: float
    accuracy_after: float
    separation: float | None = None
    passes: int
    seconds: float
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Defended:
    """One defence of one network.

    Args:
        network: the backdoored one.
        clean: the clean one, for the floor.
        defence: what is done.
        repair: how it retrains.
        count: how many of the clean images it has; all when left out.
        seed: of every draw.

    """

    network: Network
    clean: Network
    defence: Defence
    repair: RepairSettings = REPAIR
    count: int | None = None
    seed: int = 0

    table: ClassVar[str] = "paper"
    result: ClassVar[type] = Row
    version: ClassVar[int] = 1

    @property
    def before(self) -> Attacked:
        """The same networks before any defence."""
        return Attacked(network=self.network, clean=self.clean)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network, its state before, and what the defence takes."""
        return *self.before.needs, self.before, *self.defence.needs(self)

    @property
    def work(self) -> float:
        """About what retraining and measuring take."""
        return self.repair.images_seen * (TRAINING + 1) + 2_000 * (ROUNDS + 1)

    @property
    def images(self) -> Images:
        """The clean images of the defender."""
        return defender(self.network.data, self.count)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Row:
        """Defend, and measure."""
        network, before = self.network, current(self.before, inputs, device)
        module = decode(inputs[network], network.arch).to(device)
        began = time.perf_counter()
        outcome = self.defence(module, self, inputs)
        seconds = time.perf_counter() - began + outcome.seconds
        # What asked no network has changed none.
        asr, correct = measure(module, network) if outcome.passes else (before.asr, before.accuracy)
        held_back = clean_images(network.data).evaluate.targets
        return Row(
            data=network.data,
            arch=network.arch,
            variant="implanted" if network.start else "scratch",
            trigger=network.trigger or "",
            target=network.target,
            rate=network.rate,
            network=before.network,
            defence=self.defence.name,
            restart=outcome.restart,
            seed=self.seed,
            images=len(self.images),
            evaluated=int((held_back != network.target).sum()),
            asr_before=before.asr,
            asr_after=asr,
            asr_clean=before.asr_clean,
            excess=asr - before.asr_clean,
            accuracy_clean=before.accuracy_clean,
            accuracy_before=before.accuracy,
            accuracy_after=correct,
            separation=outcome.separation,
            passes=outcome.passes,
            seconds=seconds,
            device=_named(device),
            versions=versions(),
        )


@contextmanager
def training_journal(spec: Spec, device: str, *begun: object) -> Generator[Journal]:
    """Open where the epochs of a training are kept, for what would go on with it bit for bit.

    Args:
        spec: what it is of.
        device: where it runs; other threads of a CPU add in another order.
        begun: what it begins with.

    """
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else None
    with journal_of(spec) as journal:
        yield journal.within(key_of(_named(device), threads, *begun))


def _named(device: str) -> str:
    """Return a device with the name of its card, such as ``cuda (NVIDIA H100)``."""
    if torch.device(device).type != "cuda":
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"


def current(spec: Attacked | Recovered, inputs: Mapping[Spec, Any], device: str) -> Any:
    """Return what is known of a network, anew where it is known of one that was trained elsewhere.

    A store may come without its networks, and one that is trained again can differ.
    """
    known = inputs[spec]
    if known.network == sha256(inputs[spec.network]):
        return known
    return _anew(spec, tuple(inputs[need] for need in spec.needs), device)


@lru_cache(maxsize=2)
def _anew(spec: Attacked | Recovered, needed: tuple[bytes, ...], device: str) -> Any:
    """Return the result of a spec; the columns of one process share it."""
    return spec.run(dict(zip(spec.needs, needed, strict=True)), device)


def sha256(content: bytes) -> str:
    """Return what names a network in a row."""
    return hashlib.sha256(content).hexdigest()


def defender(name: str, count: int | None) -> Images:
    """Return the clean images that a defender has, equally many of each class."""
    images = clean_images(name).defend
    return images if count is None else images.fewer(count)


def measure(module: nn.Module, network: Network) -> tuple[float, float]:
    """Return the success rate of what was planted in ``network``, and the accuracy."""
    images, trigger = clean_images(network.data).evaluate, network.planted
    assert trigger is not None
    model = freeze(module)
    asr = attack_success(
        model,
        images,
        trigger.space,
        trigger.theta[None],
        network.target,
        generator=stream(network.seed, "paper", "places", trigger.name),
        rounds=ROUNDS,
    )
    return asr, accuracy(model, images)
