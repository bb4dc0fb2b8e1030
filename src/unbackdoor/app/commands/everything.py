"""What the commands do, once parsed: check everything first, then work, then write and print."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from unbackdoor import attack as attacking
from unbackdoor import data, models, results
from unbackdoor.app import gate
from unbackdoor.app.commands.common import REFERENCE, prepare, print_wide, reporting
from unbackdoor.app.outputs import check_outputs, deliver, deliver_several
from unbackdoor.app.terminal import Terminal
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError, printable
from unbackdoor.models import check_suffix
from unbackdoor.report.page import write_page
from unbackdoor.report.table import show, show_one_of_several
from unbackdoor.results import FileRecord, RepairResult, Result, Scanned, ScanResult, Unscanned
from unbackdoor.runtime.files import check_folder, read_bytes, sha256_of
from unbackdoor.runtime.journal import Journal, opened, state_folder
from unbackdoor.runtime.progress import Progress
from unbackdoor.scanning import FEWEST_PER_CLASS
from unbackdoor.scanning.settings import BUDGETS, ScanSettings
from unbackdoor.subject import InputSettings, Subject, reference_for, scan_of
from unbackdoor.triggers.registry import parse_space

if TYPE_CHECKING:
    from unbackdoor.app import cli

LARGEST_SIDE = 1024
LARGEST_LABELS = 16 << 20


def scan(options: cli.Scan) -> list[Scanned]:
    """Scan each model, write what was asked for, print."""
    parse_space(options.space)
    names, several = _named(options.models)
    outputs = {"-o": options.output, "--report": options.report}
    inputs = {"MODEL": names, "--labels": [options.labels], **_sources(options)}
    check_outputs(outputs, inputs, folder="--report" if several else None)
    prepare(options)
    fitting = _fitting(options)
    images = data.load(options.data, fitting.size)
    progress = reporting(options)
    console = Terminal(quiet=options.quiet)
    outcomes: list[Scanned] = []
    failures: list[Exception] = []
    with ExitStack() as kept:
        finished: list[Journal] = []
        for name in names:
            try:
                outcome, journal = _scan_one(name, images, fitting, options, progress, kept)
                finished.append(journal)
            except Exception as error:
                if not several and isinstance(error, ArgumentError):
                    raise
                outcome = _unscanned(name, error)
                failures.append(error)
            outcomes.append(outcome)
            if several and options.format == "table":
                show_one_of_several(outcome, console)
        if several:
            deliver_several(outcomes, options, console)
        else:
            deliver(outcomes[0], options, options.output)
        for journal in finished:
            journal.discard()
    if failures and not several:
        raise failures[0]
    return outcomes


def repair(options: cli.Repair) -> Result:
    """Scan unless a scan is given, repair, write, print.

    Returns:
        The result; the scan where it found nothing to unlearn and is all that there is.

    """
    check_outputs(
        {"-o": options.output, "--result": options.result, "--report": options.report},
        {
            "MODEL": [options.model],
            "--scan": [options.scan],
            "--labels": [options.labels],
            "--reference": [options.reference],
            **_sources(options),
        },
    )
    check_suffix(options.output)
    parse_space(options.space)
    prepare(options)
    progress = reporting(options)
    subject = Subject.open(
        options.model, options.arch, options.data, options.device, _fitting(options), progress
    )
    check_suffix(options.output, subject.loaded.module)
    reference = (
        reference_for(options.reference, options.arch, subject) if options.reference else None
    )
    subject.reserve.require(FEWEST_PER_CLASS)
    scanning = BUDGETS[options.budget]
    given = scan_of(subject, options.scan) if options.scan else None
    beside = reference and reference.state_dict()
    parts = (subject.identity, given, beside, options.space, scanning, options.seed)
    with opened(state_folder(), "repair", *parts, progress=progress) as journal:
        found = given or subject.scan(
            options.space, scanning, options.seed, journal=journal.within("scan")
        )
        if found.targets:
            module, result = subject.repair(found, scanning, options.seed, reference, journal)
            result = subject.save(module, result, options.output)
        else:
            result = found
        deliver(result, options, options.result)
        if not found.targets:
            progress.say(f"nothing to unlearn, {options.output} is not written.")
        journal.discard()
    return result


def attack(options: cli.Attack) -> None:
    """Train, write the checkpoint, print its provenance."""
    check_outputs(
        {"-o": options.output},
        {"--from": [options.start], "--trigger": [options.trigger], **_sources(options)},
    )
    usual = (type(options).target, type(options).rate)
    if options.trigger is None and (options.target, options.rate) != usual:
        raise ArgumentError(
            "--trigger: --target and --rate are of a trigger, and none came; name one, or leave "
            "them out for a clean network."
        )
    if options.epochs is not None and options.epochs < 1:
        raise ArgumentError(f"--epochs: expected at least 1, came {options.epochs}.")
    prepare(options)
    facts = attacking.attack(
        options.settings(),
        options.output,
        command=shlex.join(["unbackdoor", *sys.argv[1:]]),
        progress=reporting(options),
        state=state_folder(),
    )
    asr = "" if facts["asr"] is None else f", ASR {facts['asr']:.4f}"
    if not options.quiet:
        print(f"{options.output}: accuracy {facts['accuracy']:.4f}{asr} on held-back images")


def demo(options: cli.Demo) -> RepairResult | ScanResult:
    """Scan a shipped model, repair it, write everything into a folder, print."""
    folder = options.folder
    check_folder(folder, "--folder")
    prepare(options)
    progress = reporting(options)
    subject = Subject.open(options.model, None, "cifar10-sample", options.device, progress=progress)
    reference = models.load(REFERENCE).module
    console = Terminal(quiet=options.quiet)
    console.print(
        f"{options.model}: is there a backdoor? {len(subject.images.defend)} clean images to "
        f"search with, {len(subject.images.evaluate)} held back to measure on; nothing else is "
        f"known.",
        markup=False,
    )
    settings = ScanSettings()
    parts = (subject.identity, settings, options.seed)
    with opened(state_folder(), "demo", *parts, progress=progress) as journal:
        scanning = journal.within("scan")
        result: Result = subject.scan("patch:3", settings, options.seed, journal=scanning)
        folder.mkdir(exist_ok=True)
        results.write(result, folder / "scan.json")
        show(result, console)
        if result.targets:
            console.print("\nRetraining on draws of these triggers, and the controls beside it …\n")
            module, repaired = subject.repair(result, settings, options.seed, reference, journal)
            result = subject.save(module, repaired, folder / "repaired.safetensors")
            results.write(result, folder / "repair.json")
            show(result, console)
        write_page(result, folder / "report.html")
        journal.discard()
    console.print(f"The page: {folder / 'report.html'}", soft_wrap=True)
    return result


def list_models(*, as_json: bool) -> None:
    """Print the shipped models with their truth."""
    keys = ("arch", "data", "target", "trigger", "accuracy", "asr")
    rows = [
        {"name": f"shipped:{name}", **{key: facts.get(key) for key in keys}}
        for name, facts in models.shipped().items()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("name", *keys)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    print_wide(table)


def _scan_one(
    name: str,
    images: Split,
    fitting: InputSettings,
    options: cli.Scan,
    progress: Progress,
    kept: ExitStack,
) -> tuple[ScanResult, Journal]:
    """Return a scan, and its journal, locked by ``kept``, to be discarded when it is delivered."""
    subject = Subject.open(name, options.arch, images, options.device, fitting, progress)
    settings = BUDGETS[options.budget]
    parts = (subject.identity, options.space, settings, options.seed)
    journal = kept.enter_context(opened(state_folder(), "scan", *parts, progress=progress))
    result = journal.keep(
        "result",
        ScanResult,
        lambda: subject.scan(options.space, settings, options.seed, journal=journal),
    )
    return result, journal


def _named(models: Sequence[str]) -> tuple[list[str], bool]:
    """Return every model that was named, also by its folder, and whether there may be several.

    Raises:
        ArgumentError: none was named, or one by an empty name.

    """
    if not models or not all(models):
        raise ArgumentError("MODEL: expected a file or a folder, came no name; name one.")
    names: list[str] = []
    folders = False
    for one in dict.fromkeys(models):
        if not Path(one).is_dir():
            names.append(one)
            continue
        found = gate.models_in(Path(one))
        folders |= found != [str(Path(one))]
        names += found
    return names, folders or len(models) > 1


def _unscanned(name: str, error: Exception) -> Unscanned:
    try:
        sha256 = sha256_of(Path(name)) if Path(name).is_file() else ""
    except OSError:
        sha256 = ""
    sentence, code = str(error), gate.UNUSABLE
    if isinstance(error, UnbackdoorError):
        code = error.exit_code
    else:
        sentence = f"internal error ({type(error).__name__}: {error})."
    record = FileRecord(path=printable(name), sha256=sha256)
    return Unscanned(model=record, error=printable(sentence), exit_code=code)


def _sources(options: cli.Scan | cli.Repair | cli.Attack) -> dict[str, list[str | Path | None]]:
    """Return what else a command reads."""
    code = options.arch and options.arch.rpartition(":")[0]
    return {"--data": [options.data], "--arch": [code or None], "--config": [options.config]}


def _fitting(options: cli.Scan | cli.Repair) -> InputSettings:
    if options.size is not None and not 1 <= options.size <= LARGEST_SIDE:
        raise ArgumentError(f"--size: expected 1 to {LARGEST_SIDE}, came {options.size}.")
    if options.std is not None and not min(options.std) > 0:
        raise ArgumentError(f"--std: expected values above 0, came {options.std}.")
    return InputSettings(
        size=options.size,
        mean=options.mean,
        std=options.std,
        labels=options.labels and _read_labels(options.labels),
    )


def _read_labels(path: Path) -> dict[str, int]:
    content = read_bytes(path, "--labels", LARGEST_LABELS)
    try:
        return msgspec.json.decode(content, type=dict[str, int])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(
            f'--labels: expected {{"class of the data": index, …}} in {path}, came {error}.'
        ) from error


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
