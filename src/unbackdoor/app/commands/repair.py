"""``unbackdoor repair``: remove a backdoor that a scan finds or a user knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from unbackdoor import data, models, preflight, results
from unbackdoor.app import options
from unbackdoor.app.commands.common import prepare, reporting
from unbackdoor.app.exit_codes import exit_code
from unbackdoor.app.inputs import files_read, input_settings, terms_of
from unbackdoor.app.outputs import PAGE, RESULT, check_outputs, write_and_print
from unbackdoor.data import Images
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError
from unbackdoor.metrics import answers
from unbackdoor.models import Loaded, device_of
from unbackdoor.repairing import Asked, How
from unbackdoor.repairing.plan import check_asked, check_target, suspected
from unbackdoor.repairing.settings import GUARD
from unbackdoor.results import RepairResult, Result, ScanResult
from unbackdoor.runtime.journal import state_folder
from unbackdoor.scanning import FEWEST_PER_CLASS, data_hash
from unbackdoor.scanning.settings import BUDGETS
from unbackdoor.subject import Subject
from unbackdoor.triggers import DEFAULT_SPACE
from unbackdoor.triggers.notation import file_of, parse_trigger, read_trigger
from unbackdoor.triggers.registry import check_spaces

MOST_POINTS = 100


def repair(typed: options.Repair) -> int:
    """Scan unless a scan is given, repair, write and print, and return the exit code.

    If there is nothing to unlearn, the scan is the result. Then no model is written, nor where no
    repair keeps accuracy.
    """
    how = _check(typed)
    fitting = input_settings(typed.size, typed.mean, typed.std, typed.labels)
    prepare(typed)
    progress = reporting(typed)
    loaded = models.load(typed.model, typed.arch)
    models.check_suffix(typed.output, loaded.module)
    given = read_scan(typed.scan, loaded) if typed.scan else None
    clean = load_reference(typed.reference, typed.arch) if typed.reference else None
    subject = Subject.of(
        loaded,
        data.load(typed.data, fitting.size, absent=fitting.labels is not None),
        fitting=fitting,
        device=typed.device,
        progress=progress,
    )
    subject.say_findings()
    reference = fit_reference(clean, subject) if clean else None
    subject.reserve.require(FEWEST_PER_CLASS)
    if given and typed.scan:
        check_scan(given, typed.scan, subject)
    asked = _asked(typed, subject.images.defend)
    space, seed = _space(typed, asked), typed.seed
    key = (given, reference and reference.state_dict(), space, how, asked.key, seed)
    with subject.journal(state_folder(), "repair", *key) as journal:
        found = given or subject.scan(
            space, how.scanning, seed, terms=how.terms, journal=journal.within("scan")
        )
        result: Result = found
        if found.targets or asked != Asked() or suspected(found):
            module, repaired = subject.repair(
                found, how, seed, reference, asked=asked, journal=journal
            )
            result = repaired
            if repaired.rescan is not None:
                result = subject.save(module, repaired, typed.output)
        write_and_print(
            result, file=typed.result, page=typed.report, form=typed.format, quiet=typed.quiet
        )
        if result is found:
            progress.say(
                f"there is nothing to unlearn; {_unwritten(typed.output)}. Where you know "
                f"better, name a --trigger with its --target, a --target, or --blind."
            )
        elif not (isinstance(result, RepairResult) and result.output):
            progress.say(f"no repair was good enough; {_unwritten(typed.output)}.")
        journal.discard()
    return exit_code([result])


def _unwritten(path: Path) -> str:
    """Return that the repaired model is not written, and whether an older file has its name."""
    older = ", and the file of that name is an older one" if path.exists() else ""
    return f"{path} is not written{older}"


def _check(typed: options.Repair) -> How:
    """Check everything that can be checked before anything is loaded; return how to repair."""
    models.check_readable(typed.model)
    if typed.reference:
        models.check_readable(typed.reference, "--reference")
    if typed.arch is not None:
        models.check_architecture(typed.arch)
    file = file_of(typed.trigger) if typed.trigger else None
    check_outputs(
        {"-o": typed.output, "--result": typed.result, "--report": typed.report},
        {
            "MODEL": [typed.model],
            "--scan": [typed.scan],
            "--bag": [typed.bag],
            "--labels": [typed.labels],
            "--reference": [typed.reference],
            "--trigger": [file],
            **files_read(typed.data, typed.arch, typed.config),
        },
        forms={"--result": RESULT, "--report": PAGE},
    )
    models.check_suffix(typed.output)
    check_spaces(typed.space)
    if typed.trigger is not None:
        read_trigger(typed.trigger)
    check_asked(typed.trigger, typed.target, blind=typed.blind)
    if not 0 <= typed.max_accuracy_loss <= MOST_POINTS:
        raise ArgumentError(
            f"--max-accuracy-loss: expected 0 to {MOST_POINTS} percentage points, came "
            f"{typed.max_accuracy_loss:g}."
        )
    guard = replace(GUARD, max_accuracy_lost=typed.max_accuracy_loss / 100)
    return How(guard=guard, scanning=BUDGETS[typed.budget], terms=terms_of(typed.bag))


def _asked(typed: options.Repair, images: Images) -> Asked:
    """Return what the user knows of the backdoor.

    Raises:
        ArgumentError: there is no such class, or the trigger does not fit the images.

    """
    check_target(typed.target, len(images.classes))
    trigger = parse_trigger(typed.trigger, images.shape) if typed.trigger is not None else None
    return Asked(trigger=trigger, target=typed.target, blind=typed.blind)


def _space(typed: options.Repair, asked: Asked) -> str:
    """Return where to look: with a trigger that is known, at its own kind unless it is said."""
    if asked.trigger is not None and typed.space == DEFAULT_SPACE:
        return asked.trigger.space.name
    return typed.space


def load_reference(spec: str, arch: str | None) -> Loaded:
    """Load the clean network; ``arch`` is used only if its file names no architecture."""
    try:
        try:
            return models.load(spec)
        except ArgumentError:
            return models.load(spec, arch)
    except UnbackdoorError as error:
        raise type(error)(str(error).replace("MODEL:", "--reference:", 1)) from error


def fit_reference(loaded: Loaded, subject: Subject) -> nn.Module:
    """Return the clean network, adapted to the images of the model.

    Raises:
        ContentError: it takes images of another shape, or has other classes.

    """
    module = loaded.module.to(device_of(subject.network))
    adapted = preflight.adapt(module, subject.images, subject.input.normalisation)
    want, wanted = subject.images.defend.shape, adapted.images.defend.shape
    if wanted != want:
        raise ContentError(
            f"--reference: {loaded.name} takes images of shape {wanted}, MODEL of {want}; take one "
            f"of the same size."
        )
    classes = len(subject.images.defend.classes)
    came = answers(adapted.network, adapted.images.defend).shape[-1]
    if came != classes:
        raise ContentError(f"--reference: expected {classes} classes, {loaded.name} has {came}.")
    return adapted.network


def read_scan(path: Path, loaded: Loaded) -> ScanResult:
    """Read the scan that a repair starts from.

    Raises:
        ArgumentError: there is no such file.
        ContentError: it is no scan, or a scan of another model.

    """
    found = results.read(path, "--scan")
    if not isinstance(found, ScanResult):
        raise ContentError(f"--scan: {path} is the result of a repair; expected that of a scan.")
    if found.model.sha256 != loaded.sha256:
        raise ContentError(
            f"--scan: {path} is of another model (SHA-256 {found.model.sha256[:16]}…, this one has "
            f"{loaded.sha256[:16]}…); scan this model first."
        )
    return found


def check_scan(found: ScanResult, path: Path, subject: Subject) -> None:
    """Raise unless a scan used the images of a subject, fitted in the same way.

    Raises:
        ContentError: it used other images, or images fitted in another way.

    """
    own = (data_hash(subject.images), list(subject.images.defend.classes))
    if own != (found.data.sha256, found.data.classes):
        raise ContentError(
            f"--scan: {path} was made with other images than these ({found.data.name}); repair "
            f"with the data of the scan, so that no image of the scan is used to measure."
        )
    if found.settings.get("input") != subject.input_record:
        raise ContentError(
            f"--scan: {path} was made with another --size, --mean, --std or --labels; repair with "
            f"those of the scan."
        )
