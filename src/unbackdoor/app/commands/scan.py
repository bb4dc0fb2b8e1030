"""``unbackdoor scan``: look for backdoors in one or several models."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unbackdoor import data, models, preflight
from unbackdoor.app import options
from unbackdoor.app.commands.common import prepare, reporting
from unbackdoor.app.discovery import find_models
from unbackdoor.app.exit_codes import UNUSABLE, exit_code
from unbackdoor.app.inputs import files_read, input_settings, terms_of
from unbackdoor.app.outputs import (
    PAGE,
    SCAN,
    check_outputs,
    print_one_of_several,
    write_and_print,
)
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, SizesError, UnbackdoorError, printable
from unbackdoor.results import FileRecord, Scanned, ScanResult, Unscanned
from unbackdoor.runtime import stop
from unbackdoor.runtime.files import sha256_of, solid_bytes
from unbackdoor.runtime.journal import Journal, state_folder
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning.settings import BUDGETS, ScanSettings, Terms
from unbackdoor.subject import InputSettings, Subject
from unbackdoor.triggers.registry import check_spaces


def scan(typed: options.Scan) -> int:
    """Scan each model, write and print the results, and return the exit code."""
    names, several = find_models(typed.models)
    check_outputs(
        {"-o": typed.output, "--report": typed.report},
        {
            "MODEL": names,
            "--labels": [typed.labels],
            "--bag": [typed.bag],
            **files_read(typed.data, typed.arch, typed.config),
        },
        folder="--report" if several else None,
        forms={"-o": SCAN, "--report": PAGE},
    )
    check_spaces(typed.space)
    if typed.arch is not None:
        models.check_architecture(typed.arch)
    fitting = input_settings(typed.size, typed.mean, typed.std, typed.labels)
    power = typed.power_check or typed.budget == "thorough"
    terms = terms_of(typed.bag, power=power, seconds=typed.max_seconds)
    prepare(typed)
    scanner = _Scanner(
        data=typed.data,
        arch=typed.arch,
        fitting=fitting,
        device=typed.device,
        space=typed.space,
        settings=BUDGETS[typed.budget],
        terms=terms,
        seed=typed.seed,
        progress=reporting(typed),
    )
    attempts: list[_Attempt] = []
    with ExitStack() as locks:
        for name in names:
            attempt = scanner.scan(name, locks)
            if isinstance(attempt.error, ArgumentError) and not several:
                raise attempt.error
            attempts.append(attempt)
            if several and typed.format == "table":
                print_one_of_several(attempt.outcome, quiet=typed.quiet)
        outcomes = [attempt.outcome for attempt in attempts]
        write_and_print(
            outcomes if several else outcomes[0],
            file=typed.output,
            page=typed.report,
            form=typed.format,
            quiet=typed.quiet,
        )
        for attempt in attempts:
            if attempt.journal:
                attempt.journal.discard()
    if not several and attempts[0].error:
        raise attempts[0].error
    return exit_code(outcomes, typed.fail_on)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """The outcome for one model.

    Args:
        outcome: its result, or a record of the failure.
        error: the cause of the failure.
        journal: its finished steps, to be discarded once the result is written.

    """

    outcome: Scanned
    error: Exception | None = None
    journal: Journal | None = None


@dataclass(frozen=True, kw_only=True)
class _Scanner:
    """Scans one model after another in the same way."""

    data: str
    arch: str | None
    fitting: InputSettings
    device: str
    space: str
    settings: ScanSettings
    terms: Terms
    seed: int
    progress: Progress

    @cached_property
    def images(self) -> Split:
        """The images, loaded once, at their first use."""
        fitting = self.fitting
        return data.load(self.data, fitting.size, absent=fitting.labels is not None)

    def scan(self, name: str, locks: ExitStack) -> _Attempt:
        """Scan a model; a failure of this model does not stop the others.

        An error of the images is raised, because it concerns all models. They are loaded after the
        model, so that an unusable model is reported first.

        Args:
            name: of the model.
            locks: holds the lock of its journal until all results are written.

        """
        try:
            loaded = models.load(name, self.arch)
        except Exception as error:
            return _failed(name, error)
        try:
            images = self.images
        except SizesError as error:
            if (side := preflight.only_side(loaded.module)) is not None:
                raise error.known(side) from error
            raise
        try:
            subject = Subject.of(
                loaded, images, fitting=self.fitting, device=self.device, progress=self.progress
            )
            subject.say_findings()
            key = (self.space, self.settings, self.seed)
            kept = subject.journal(state_folder(), "scan", *key, self.terms)
            journal = locks.enter_context(kept)
            result = journal.keep(
                "result",
                ScanResult,
                lambda: subject.scan(*key, terms=self.terms, journal=journal),
            )
        except Exception as error:
            return _failed(name, error)
        return _Attempt(outcome=result, journal=journal)


def _failed(name: str, error: Exception) -> _Attempt:
    stop.check()
    try:
        path = Path(name)
        whole = path.is_file() and solid_bytes(path) == path.stat().st_size
        sha256 = sha256_of(path) if whole else ""
    except OSError:
        sha256 = ""
    sentence, code = str(error), UNUSABLE
    if isinstance(error, UnbackdoorError):
        code = error.exit_code
    else:
        sentence = f"internal error ({type(error).__name__}: {error})."
    record = FileRecord(path=printable(name), sha256=sha256)
    outcome = Unscanned(model=record, error=printable(sentence), exit_code=code)
    return _Attempt(outcome=outcome, error=error)
