"""``unbackdoor calibrate``: scan reference networks, and write down what scans say of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from unbackdoor import data, models
from unbackdoor.app import options
from unbackdoor.app.commands.common import prepare, reporting
from unbackdoor.app.discovery import find_models
from unbackdoor.app.exit_codes import DONE
from unbackdoor.app.inputs import files_read, input_settings
from unbackdoor.app.outputs import check_outputs
from unbackdoor.app.terminal import Terminal
from unbackdoor.data import Split
from unbackdoor.detectors.evidence import Evidence
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.runtime.files import write_bytes
from unbackdoor.runtime.journal import Journal, state_folder
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import BUDGETS
from unbackdoor.subject import InputSettings, Subject
from unbackdoor.triggers.registry import check_spaces, family_of
from unbackdoor.verdict.bag import Bag, Reference
from unbackdoor.verdict.judge import ByRate

CLEAN, BACKDOORED = "clean", "backdoored"
"""Folders in the folder of --bag."""


def calibrate(typed: options.Calibrate) -> int:
    """Scan each reference network, and write the bag.

    Raises:
        ArgumentError: a path or an option is wrong.
        ContentError: a model cannot be used, or answers no better than one that guesses.

    """
    named = _models(typed.bag)
    check_outputs(
        {"-o": typed.output},
        {
            "--bag": [path for path, _ in named],
            "--labels": [typed.labels],
            **files_read(typed.data, typed.arch, typed.config),
        },
    )
    check_spaces(typed.space)
    if typed.arch is not None:
        models.check_architecture(typed.arch)
    fitting = input_settings(typed.size, typed.mean, typed.std, typed.labels)
    prepare(typed)
    scans = _Scans(typed=typed, fitting=fitting, progress=reporting(typed))
    with ExitStack() as locks:
        made = [scans.reference(path, backdoored, locks) for path, backdoored in named]
        networks = [network for network, _ in made]
        bag = Bag(name=typed.output.stem, budget=typed.budget, space=typed.space, networks=networks)
        if not bag.clean:
            raise ContentError(f"--bag: there is no model in {typed.bag / CLEAN} to compare with.")
        write_bytes(typed.output, msgspec.json.format(msgspec.json.encode(bag), indent=1) + b"\n")
        for _, journal in made:
            journal.discard()
    Terminal(quiet=typed.quiet).print(_said(bag, typed.output), markup=False)
    return DONE


def _said(bag: Bag, path: Path) -> str:
    """Return what a bag is worth, in sentences."""
    highest = max(bag.clean, key=lambda one: one.score)
    standing = bag.compared(1.0)
    return (
        f"{path}: {len(bag.clean)} clean and {len(bag.backdoored)} backdoored reference networks. "
        f"{standing.above} of the clean ones score as a backdoored one does (1.00); at most "
        f"{standing.false_alarms:.1%} of clean networks like these do (95 % upper bound). The "
        f"highest is {highest.name} ({highest.score:.2f})."
    )


def _models(folder: Path) -> list[tuple[str, bool]]:
    """Return each network of a bag, and whether it is in the folder of backdoored ones."""
    if not (folder / CLEAN).is_dir():
        raise ArgumentError(
            f"--bag: expected a folder with a folder {CLEAN!r} of models, came {folder}; "
            f"mkdir -p {folder / CLEAN} and put them there."
        )
    found = [(path, False) for path in find_models([str(folder / CLEAN)])[0]]
    if (folder / BACKDOORED).is_dir():
        found += [(path, True) for path in find_models([str(folder / BACKDOORED)])[0]]
    return found


@dataclass(frozen=True, kw_only=True)
class _Scans:
    """Scans one network after another in the same way."""

    typed: options.Calibrate
    fitting: InputSettings
    progress: Progress

    @cached_property
    def images(self) -> Split:
        """The images, loaded once."""
        fitting = self.fitting
        return data.load(self.typed.data, fitting.size, absent=fitting.labels is not None)

    def reference(self, path: str, backdoored: bool, locks: ExitStack) -> tuple[Reference, Journal]:
        """Return what a scan says of a network, and the journal that keeps it until then."""
        typed = self.typed
        subject = Subject.of(
            models.load(path, typed.arch),
            self.images,
            fitting=self.fitting,
            device=typed.device,
            progress=self.progress,
        )
        key = (backdoored, typed.space, BUDGETS[typed.budget], typed.seed)
        journal = locks.enter_context(subject.journal(state_folder(), "calibrate", *key))
        made = journal.keep("reference", Reference, lambda: self._of(subject, backdoored, journal))
        return made, journal

    def _of(self, subject: Subject, backdoored: bool, journal: Journal) -> Reference:
        typed = self.typed
        settings = BUDGETS[typed.budget]
        heard: list[Evidence] = []
        subject.scan(typed.space, settings, typed.seed, journal=journal, hear=heard.append)
        name = subject.loaded.name
        if not heard:
            raise ContentError(
                f"--bag: {name} answers no better than one that guesses; leave it out, or check "
                f"--mean, --std and --labels."
            )
        (evidence,) = heard
        asr = subject.loaded.facts.get("asr")
        planted = [family_of(one.trigger.space.name) for one in subject.planted]
        return Reference(
            name=Path(name).stem,
            backdoor=(planted or ["unknown"])[0] if backdoored else "",
            works=(asr if isinstance(asr, float) else 1.0) if backdoored else 0.0,
            score=ByRate(settings.thresholds)(evidence).score,
            accuracy=evidence.accuracy,
            classes=len(subject.images.defend.classes),
            side=evidence.pictures.side,
        )
