"""A model with its clean images, on which commands, benchmarks and the Python interface work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from unbackdoor import data, models, preflight
from unbackdoor.attack import planted_in
from unbackdoor.data import Split
from unbackdoor.detectors.evidence import Evidence
from unbackdoor.errors import ContentError, printable
from unbackdoor.metrics import answers
from unbackdoor.models import Loaded, Normalise, Stated, bare, device_of, freeze
from unbackdoor.repairing import Asked, Controls, How, Parts, Planner
from unbackdoor.repairing import repair as repair_model
from unbackdoor.results import Finding, RepairResult, ScanResult, versions
from unbackdoor.runtime.files import sha256_of
from unbackdoor.runtime.journal import FORGETFUL, Journal, opened
from unbackdoor.runtime.progress import Bars, Progress, Silent
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import Described, data_hash, with_planted
from unbackdoor.scanning import scan as scan_model
from unbackdoor.scanning.settings import FIRST_SHARE, PLAIN, ScanSettings, Terms
from unbackdoor.triggers.planted import Planted


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """How images are fitted to a network that was trained on differently prepared ones.

    Args:
        size: side of the network's square input. Images are scaled so that their shorter side has
            this size, and their middle is cropped. When left out, they stay as they are.
        mean: per channel, subtracted from images in [0, 1] before the network.
        std: per channel, divides the difference.
        labels: for each class of the data, its index among the network's logits; for networks with
            another order of classes, or with more classes.

    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: dict[str, int] | None = None

    @property
    def normalisation(self) -> nn.Module | None:
        """The layer before the network that normalises images in [0, 1]; None if there is none."""
        if not self.mean and not self.std:
            return None
        channels = len(self.mean or self.std or ())
        return Normalise(self.mean or (0.0,) * channels, self.std or (1.0,) * channels)

    def completed(
        self, stated: Stated, classes: Sequence[str]
    ) -> tuple[InputSettings, tuple[str, ...]]:
        """Return these settings with what a model's folder says where the user said nothing.

        Args:
            stated: by the files beside the weights.
            classes: of the data.

        """
        new: dict[str, Any] = {}
        notes: list[str] = []
        if self.mean is None and self.std is None and stated.mean and stated.std:
            new |= {"mean": stated.mean, "std": stated.std}
            shown = [" ".join(f"{value:.4g}" for value in x) for x in (stated.mean, stated.std)]
            notes.append(
                f"Its folder states the input: --mean {shown[0]} --std {shown[1]} is used."
            )
        if self.size is None and stated.size:
            new["size"] = stated.size
            notes.append(f"Its folder states pictures of {stated.size} pixels: --size is that.")
        indices = None if self.labels is not None else stated.indices(classes)
        if indices is not None:
            new["labels"] = indices
            notes.append("Its folder names the classes, so that their order is known: it is used.")
        return dataclasses.replace(self, **new), tuple(notes)


AS_IT_IS = InputSettings()
"""Images in [0, 1], with their own size and classes."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, its clean images, and its planted trigger if its file names one.

    Args:
        loaded: the model as it was loaded.
        network: the same model with input in [0, 1]; it shares the parameters of ``loaded``.
        images: for the scan and the repair.
        reserve: for the scan of the repaired model.
        findings: those of the preflight.
        input: how images are fitted to the model.
        progress: where to report.

    """

    loaded: Loaded
    network: nn.Module
    images: Split
    reserve: Split
    findings: tuple[Finding, ...]
    input: InputSettings
    progress: Progress

    @classmethod
    def open(
        cls,
        model: str,
        arch: str | None,
        images: str,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Subject:
        """Load a model and clean images by their names, prepare them, and report the findings.

        Args:
            model: see :func:`unbackdoor.models.load`.
            arch: the same.
            images: see :func:`unbackdoor.data.load`.
            device: where the model runs.
            progress: where to report; on standard error when left out.

        Raises:
            ArgumentError: a name, path or device is wrong.
            ContentError: a file exists and cannot be used.

        """
        progress = progress or Bars()
        loaded = models.load(model, arch)
        subject = cls.of(loaded, data.load(images), device=device, progress=progress)
        subject.say_findings()
        return subject

    @classmethod
    def of(
        cls,
        loaded: Loaded,
        images: Split,
        *,
        fitting: InputSettings = AS_IT_IS,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> Subject:
        """Prepare a model and clean images for each other, and check both before any work.

        Args:
            loaded: the model; if it was passed from Python, it has neither a name nor a file.
            images: all clean images.
            fitting: how images are fitted to the model.
            device: where the model runs; when left out, it stays where it is.
            progress: where to report.

        Raises:
            ContentError: they do not fit, or a scan would mean nothing.
            InsufficientDataError: there are too few images of a class.

        """
        fitting, believed = fitting.completed(loaded.stated, images.defend.classes)
        images = images.resized(fitting.size)
        adapted = preflight.adapt(loaded.module, images, fitting.normalisation)
        images = adapted.images
        if fitting.labels is not None:
            logits = answers(adapted.network, images.defend)
            images = images.relabelled(fitting.labels, logits.shape[-1])
        prepared = fitting.normalisation is not None
        with preflight.reported(adapted.network, progress or Silent()):
            checked = preflight.check(adapted.network, images, prepared=prepared)
        findings = (
            *(preflight.note("format", text) for text in (*loaded.notes, *believed)),
            *adapted.findings,
            *checked,
        )
        network = adapted.network if device is None else adapted.network.to(device)
        first, reserve = images.to(device_of(network)).divide(FIRST_SHARE)
        return cls(
            loaded=loaded,
            network=network,
            images=first,
            reserve=reserve,
            findings=findings,
            input=fitting,
            progress=progress or Silent(),
        )

    def say_findings(self) -> None:
        """Report the findings of the preflight."""
        for finding in self.findings:
            self.progress.say(f"{finding.severity}: {finding.sentence} {finding.remedy}".strip())

    @property
    def identity(self) -> object:
        """Everything but the settings that determines a result: model, images and machine.

        A model from a file is identified by the file, a model from Python by its weights. The
        answers of either to some images belong to the identity too, because the code that computes
        them is not part of file or weights.
        """
        frozen = freeze(self.network)
        loaded = self.loaded
        model = (loaded.name, loaded.arch, loaded.sha256 or self.network.state_dict())
        answered = answers(frozen, self.images.defend)
        held = (data_hash(self.images), data_hash(self.reserve))
        machine = (str(frozen.device), torch.get_num_threads(), versions())
        return (model, answered, self.input, held, machine)

    def journal(
        self, state: Path | None, work: str, *settings: object
    ) -> AbstractContextManager[Journal]:
        """Open the journal of some work on this subject; see :func:`~.runtime.journal.opened`.

        Args:
            state: the folder of journals; None keeps nothing.
            work: the name of the work.
            settings: everything else that determines its result.

        """
        key = (work, self.identity, *settings) if state else ()
        return opened(state, *key, progress=self.progress)

    @property
    def planted(self) -> tuple[Planted, ...]:
        """What was planted, as far as the model's file says so; a scan never uses it."""
        return planted_in(self.loaded.facts, self.images.defend)

    @property
    def truth(self) -> Planted:
        """The first planted trigger, for a benchmark that needs one.

        Raises:
            ContentError: the file names none.

        """
        if not self.planted:
            name = self.loaded.name
            raise ContentError(f"--models: {name} does not say what was planted in it.")
        return self.planted[0]

    @property
    def input_record(self) -> dict[str, Any] | None:
        """How images are fitted, in the form that a result stores; None if they are not changed."""
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
        terms: Terms = PLAIN,
        journal: Journal = FORGETFUL,
        hear: Callable[[Evidence], None] = lambda _: None,
    ) -> ScanResult:
        """Scan the model.

        Args:
            space: where to look, as on the command line.
            settings: how much work, and the thresholds.
            seed: of every draw.
            half: whether in bfloat16; when left out, in the faster precision.
            terms: what the verdict is held to.
            journal: keeps each finished step.
            hear: is given all evidence before it is judged.

        """
        described = Described(
            model=freeze(self.network, half=half),
            path=printable(self.loaded.name),
            sha256=self.loaded.sha256,
            arch=self.loaded.arch,
            findings=self.findings,
            network=self.network,
        )
        found = scan_model(
            described,
            self.images,
            space,
            settings,
            Work(seed=seed, progress=self.progress, journal=journal),
            terms=terms,
            hear=hear,
        )
        if self.input_record:
            settings_kept = {**found.settings, "input": self.input_record}
            found = msgspec.structs.replace(found, settings=settings_kept)
        for planted in reversed(self.planted):
            found = with_planted(found, planted)
        return found

    def repair(
        self,
        found: ScanResult,
        how: How,
        seed: int,
        reference: nn.Module | None = None,
        *,
        asked: Asked | None = None,
        journal: Journal = FORGETFUL,
    ) -> tuple[nn.Module, RepairResult]:
        """Unlearn triggers under guard, and scan the model again.

        Args:
            found: the result of the scan.
            how: the recipe, how much accuracy it may cost, and how to scan again.
            seed: of every draw.
            reference: a clean network, which shows how often triggers cause an error without a
                backdoor.
            asked: what is known of the backdoor beyond the scan.
            journal: keeps each finished step.

        Raises:
            ArgumentError: there is no such class.
            InsufficientDataError: there is nothing to unlearn, or there are too few images.

        """
        work = Work(seed=seed, progress=self.progress, journal=journal)
        planner = Planner(
            model=freeze(self.network),
            images=self.images.defend,
            scanning=how.scanning,
            work=work,
        )
        network, result = repair_model(
            self.network,
            planner(found, asked or Asked()),
            Parts(self.images, self.reserve),
            how,
            Controls(planted=self.planted, reference=reference),
            work,
        )
        passes = result.image_passes + planner.model.passes
        return network, msgspec.structs.replace(result, image_passes=passes)

    def save(self, module: nn.Module, result: RepairResult, path: Path) -> RepairResult:
        """Write a repaired model in the original's format; add its path and hash to the result."""
        repaired = next(row for row in result.rows if row.name == "repaired")
        facts = {
            "arch": self.loaded.arch,
            "repaired_from": self.loaded.sha256,
            "accuracy": repaired.accuracy,
            "versions": result.versions,
        }
        models.save(bare(module), path, facts)
        return msgspec.structs.replace(result, output=str(path), sha256=sha256_of(path))
