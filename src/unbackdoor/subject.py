"""A model with the images to look at it with: what the commands and the benchmarks work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from unbackdoor import data, models, preflight, results
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError, printable
from unbackdoor.metrics import answers
from unbackdoor.models import Loaded, Normalise, bare, freeze
from unbackdoor.repairing import repair as repair_model
from unbackdoor.repairing.settings import RepairSettings
from unbackdoor.results import Finding, RepairResult, RepairRow, ScanResult, versions
from unbackdoor.runtime.files import sha256_of
from unbackdoor.runtime.journal import FORGETFUL, Journal
from unbackdoor.runtime.progress import Bars, Progress
from unbackdoor.scanning import Described, data_hash, with_planted
from unbackdoor.scanning import scan as scan_model
from unbackdoor.scanning.settings import ScanSettings
from unbackdoor.triggers.planted import Planted, Trigger, parse_trigger
from unbackdoor.triggers.registry import parse_space

FIRST_SHARE = 0.8
"""Of all clean images, the share that a scan and a repair use; the rest is for the scan after."""


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """How images are fitted to a network that somebody else prepared them for.

    Args:
        size: side of the network's square input, to which images are scaled (the shorter side) and
            cropped (the middle); as they are when left out.
        mean: per channel, subtracted from images in [0, 1] before the network.
        std: per channel, divides what is left.
        labels: index in the network's answer of each class of the data, for networks with another
            order of classes, or with more of them.

    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: dict[str, int] | None = None


AS_IT_IS = InputSettings()
"""Images in [0, 1], of the size and with the classes that they have."""


@dataclass(frozen=True)
class Subject:
    """A model, the images to look at it with, and its planted trigger where its file says it.

    Args:
        loaded: the model.
        images: for the scan and the repair.
        reserve: for the scan of the repaired model.
        network: the model as it takes images in [0, 1]; it shares its parameters with the loaded
            one.
        findings: what was seen before any work.
        input: how images are fitted to the model.
        progress: where to report.

    """

    loaded: Loaded
    images: Split
    reserve: Split
    network: nn.Module
    findings: tuple[Finding, ...] = ()
    input: InputSettings = AS_IT_IS
    progress: Progress = field(default_factory=Bars)

    @classmethod
    def open(
        cls,
        model: str,
        arch: str | None,
        images: str | Split,
        device: str = "cpu",
        fitting: InputSettings = AS_IT_IS,
        progress: Progress | None = None,
    ) -> Subject:
        """Load a model and clean images, or take images that are loaded.

        Raises:
            ArgumentError: a name, path or device is wrong.
            ContentError: a file exists and cannot be used.

        """
        loaded = models.load(model, arch)
        split = data.load(images, fitting.size) if isinstance(images, str) else images
        cleared = preflight.adapt(loaded.module, split, preparation(fitting))
        split = cleared.images
        if fitting.labels is not None:
            logits = answers(cleared.network, split.defend)
            split = split.relabelled(fitting.labels, logits.shape[-1])
        prepared = fitting.mean is not None or fitting.std is not None
        findings = (
            *(
                Finding(check="format", severity="note", sentence=note, remedy="")
                for note in loaded.notes
            ),
            *cleared.findings,
            *preflight.check(cleared.network, split, prepared=prepared),
        )
        progress = progress or Bars()
        for finding in findings:
            progress.say(f"{finding.severity}: {finding.sentence} {finding.remedy}".strip())
        network = cleared.network.to(device)
        return cls(loaded, *split.divide(FIRST_SHARE), network, findings, fitting, progress)

    @property
    def identity(self) -> object:
        """What determines a result beside its settings: model, images and machine."""
        frozen = freeze(self.network)
        answered = answers(frozen, self.images.defend)
        machine = (str(frozen.device), torch.get_num_threads(), versions())
        held = (data_hash(self.images), data_hash(self.reserve))
        model = (self.loaded.name, self.loaded.sha256, self.loaded.arch)
        return (model, answered, self.input, held, machine)

    @property
    def planted(self) -> Planted | None:
        """What the model's file says was planted: shown beside what is found, not used for it."""
        return planted_in(self.loaded.facts, len(self.images.defend.classes))

    @property
    def truth(self) -> Planted:
        """The same, for a benchmark that cannot do without.

        Raises:
            ContentError: the file does not say it.

        """
        if self.planted is None:
            name = self.loaded.name
            raise ContentError(f"--models: {name} does not say what was planted in it.")
        return self.planted

    @property
    def fitting(self) -> dict[str, Any] | None:
        """How images are fitted, as a result says it; None for as they are."""
        if self.input == AS_IT_IS:
            return None
        return msgspec.json.decode(msgspec.json.encode(self.input))

    def scan(
        self,
        space: str,
        settings: ScanSettings,
        seed: int,
        *,
        half: bool | None = None,
        journal: Journal = FORGETFUL,
    ) -> ScanResult:
        """Scan the model, in bfloat16 or float32 or what is faster where ``half`` is left out."""
        described = Described(
            model=freeze(self.network, half=half),
            path=printable(self.loaded.name),
            sha256=self.loaded.sha256,
            arch=self.loaded.arch,
            findings=self.findings,
        )
        found = scan_model(
            described,
            self.images,
            parse_space(space),
            settings,
            seed=seed,
            progress=self.progress,
            journal=journal,
        )
        if self.fitting:
            settings_kept = {**found.settings, "input": self.fitting}
            found = msgspec.structs.replace(found, settings=settings_kept)
        return with_planted(found, self.planted) if self.planted else found

    def repair(
        self,
        found: ScanResult,
        scanning: ScanSettings,
        seed: int,
        reference: nn.Module | None,
        journal: Journal = FORGETFUL,
    ) -> tuple[nn.Module, RepairResult]:
        """Repair the model with what a scan found."""
        return repair_model(
            self.network,
            found,
            self.images,
            self.reserve,
            parse_space(found.space),
            RepairSettings(),
            scanning,
            seed=seed,
            planted=self.planted,
            reference=reference,
            progress=self.progress,
            journal=journal,
        )

    def save(self, module: nn.Module, result: RepairResult, path: Path) -> RepairResult:
        """Write a repaired model as it came; return the result that says where and what it is."""
        facts = {
            "arch": self.loaded.arch,
            "repaired_from": self.loaded.sha256,
            "accuracy": row_of(result, "repaired").accuracy,
            "versions": result.versions,
        }
        models.save(bare(module), path, facts)
        return msgspec.structs.replace(result, output=str(path), sha256=sha256_of(path))


def reference_for(spec: str, arch: str | None, subject: Subject) -> nn.Module:
    """Load the clean network, whose own word for its architecture goes before the user's."""
    try:
        try:
            loaded = models.load(spec)
        except ArgumentError:
            loaded = models.load(spec, arch)
    except UnbackdoorError as error:
        raise type(error)(str(error).replace("MODEL:", "--reference:", 1)) from error
    cleared = preflight.adapt(loaded.module, subject.images, preparation(subject.input))
    want, wanted = subject.images.defend.shape, cleared.images.defend.shape
    if wanted != want:
        raise ContentError(
            f"--reference: {spec} takes images of shape {wanted}, MODEL of {want}; take one of the "
            f"same size."
        )
    classes = len(subject.images.defend.classes)
    if (came := answers(cleared.network, cleared.images.defend).shape[-1]) != classes:
        raise ContentError(f"--reference: expected {classes} classes, {spec} has {came}.")
    return cleared.network


def scan_of(subject: Subject, path: Path) -> ScanResult:
    """Read the scan that a repair starts from.

    Raises:
        ContentError: it is of another model, of other images, or of images fitted in another way.

    """
    found = results.read(path, "--scan")
    if not isinstance(found, ScanResult):
        raise ContentError(f"--scan: {path} is the result of a repair; expected that of a scan.")
    if found.model.sha256 != subject.loaded.sha256:
        raise ContentError(
            f"--scan: {path} is of another model (SHA-256 {found.model.sha256[:16]}…, this one has "
            f"{subject.loaded.sha256[:16]}…); scan this model first."
        )
    own = (data_hash(subject.images), list(subject.images.defend.classes))
    if own != (found.data.sha256, found.data.classes):
        raise ContentError(
            f"--scan: {path} was made with other images than these ({found.data.name}); repair "
            f"with the data of the scan, so that nothing that it saw is used to measure."
        )
    if found.settings.get("input") != subject.fitting:
        raise ContentError(
            f"--scan: {path} was made with another --size, --mean, --std or --labels; repair with "
            f"those of the scan."
        )
    return found


def preparation(fitting: InputSettings) -> nn.Module | None:
    """Return what prepares images in [0, 1] for a network, None where nothing has to."""
    if not fitting.mean and not fitting.std:
        return None
    channels = len(fitting.mean or fitting.std or ())
    return Normalise(fitting.mean or (0.0,) * channels, fitting.std or (1.0,) * channels)


def planted_in(facts: Mapping[str, Any], classes: int) -> Planted | None:
    """Return the trigger that a checkpoint's provenance names, None where it names none.

    Anybody can write a header, so what does not fit is passed over, and no file is opened.
    """
    name, target, theta = (facts.get(key) for key in ("trigger", "target", "trigger_theta"))
    if not isinstance(name, str) or type(target) is not int or not 0 <= target < classes:
        return None
    try:
        if isinstance(theta, str):
            return Planted(Trigger.from_hex(printable(name), theta), target)
        if name.startswith(("bw:", "rgb:")):
            return Planted(parse_trigger(name), target)
    except (UnbackdoorError, ValueError):
        pass
    return None


def row_of(result: RepairResult, name: str) -> RepairRow:
    """Return the row of that name."""
    return next(row for row in result.rows if row.name == name)
