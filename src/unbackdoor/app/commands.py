"""What the commands do, once parsed: check everything first, then work, then write and print."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from rich.table import Table
from rich.text import Text

from unbackdoor import attack as attacking
from unbackdoor import data, models, results
from unbackdoor.app import gate
from unbackdoor.app.outputs import check_outputs, deliver, deliver_several
from unbackdoor.app.terminal import Terminal
from unbackdoor.data import Split
from unbackdoor.detectors.settings import BUDGETS, ScanSettings
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError, printable
from unbackdoor.models import check_suffix
from unbackdoor.report.page import write_page
from unbackdoor.report.table import show, show_one_of_several
from unbackdoor.results import FileRecord, RepairResult, Result, Scanned, ScanResult, Unscanned
from unbackdoor.runtime import cpu
from unbackdoor.runtime.files import check_folder, read_bytes, sha256_of
from unbackdoor.runtime.journal import Journal, opened, state_folder
from unbackdoor.runtime.progress import Bars, Progress, Silent
from unbackdoor.scanning import FEWEST_PER_CLASS
from unbackdoor.subject import Case, InputSettings, reference_for, scan_of
from unbackdoor.triggers import parse_space

if TYPE_CHECKING:
    from unbackdoor.app import cli
    from unbackdoor.bench.framework.engine import Engine

REFERENCE = "shipped:clean"
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
    case = Case.open(
        options.model, options.arch, options.data, options.device, _fitting(options), progress
    )
    check_suffix(options.output, case.loaded.module)
    reference = reference_for(options.reference, options.arch, case) if options.reference else None
    case.reserve.require(FEWEST_PER_CLASS)
    scanning = BUDGETS[options.budget]
    given = scan_of(case, options.scan) if options.scan else None
    beside = reference and reference.state_dict()
    parts = (case.identity, given, beside, options.space, scanning, options.seed)
    with opened(state_folder(), "repair", *parts, progress=progress) as journal:
        found = given or case.scan(
            options.space, scanning, options.seed, journal=journal.within("scan")
        )
        if found.targets:
            module, result = case.repair(found, scanning, options.seed, reference, journal)
            result = case.save(module, result, options.output)
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
    case = Case.open(options.model, None, "cifar10-sample", options.device, progress=progress)
    reference = models.load(REFERENCE).module
    console = Terminal(quiet=options.quiet)
    console.print(
        f"{options.model}: is there a backdoor? {len(case.images.defend)} clean images to search "
        f"with, {len(case.images.evaluate)} held back to measure on; nothing else is known.",
        markup=False,
    )
    settings = ScanSettings()
    parts = (case.identity, settings, options.seed)
    with opened(state_folder(), "demo", *parts, progress=progress) as journal:
        scanning = journal.within("scan")
        result: Result = case.scan("patch:3", settings, options.seed, journal=scanning)
        folder.mkdir(exist_ok=True)
        results.write(result, folder / "scan.json")
        show(result, console)
        if result.targets:
            console.print("\nRetraining on draws of these triggers, and the controls beside it …\n")
            module, repaired = case.repair(result, settings, options.seed, reference, journal)
            result = case.save(module, repaired, folder / "repaired.safetensors")
            results.write(result, folder / "repair.json")
            show(result, console)
        write_page(result, folder / "report.html")
        journal.discard()
    console.print(f"The page: {folder / 'report.html'}", soft_wrap=True)
    return result


def bench(options: cli.Bench) -> int:
    """Measure what the store lacks of a benchmark, print it, and return how many rows it lacks."""
    from unbackdoor.bench import BENCHMARKS, DRAWN, ONCE, SWEEPS, Request, markdown

    if options.name not in BENCHMARKS:
        raise ArgumentError(
            f"NAME: unknown benchmark {options.name!r}; there are: {', '.join(BENCHMARKS)}."
        )
    if options.format == "svg" and options.name not in DRAWN:
        raise ArgumentError(f"-f svg: {options.name} has no figure; {_listed(DRAWN, 'and')} have.")
    for flag, given, own in (
        ("--models", bool(options.models), set(BENCHMARKS) - {*SWEEPS, "toys", "modes"}),
        ("--only", options.only is not None, SWEEPS),
        ("--variant", options.variant != "implanted", SWEEPS),
        ("--arch", options.arch is not None, SWEEPS),
        ("--columns", options.columns != "main", ("paper",)),
    ):
        if given and options.name not in own:
            raise ArgumentError(f"{flag}: {options.name} does not have it; leave it out.")
    seeds = options.seeds if options.seeds is not None else 1 if options.name in ONCE else 5
    if seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {seeds}.")
    kind = _engine_kind(options)
    if kind != "serial" and options.name not in SWEEPS:
        raise ArgumentError(
            f"--engine: {kind} runs {_listed(SWEEPS, 'and')}; {options.name} takes serial alone."
        )
    limit = math.inf
    if options.minutes is not None:
        if options.name not in SWEEPS or not options.minutes >= 0:
            raise ArgumentError(
                f"--minutes: expected 0 or more, for {_listed(SWEEPS, 'or')}, came "
                f"{options.minutes:g} for {options.name}."
            )
        limit = 60 * options.minutes
    prepare(options)
    request = Request(
        models=options.models or tuple(f"shipped:{name}" for name in models.shipped()),
        seeds=range(options.seed, options.seed + seeds),
        store=options.store,
        reference=REFERENCE,
        device=options.device,
        progress=reporting(options),
        engine=_engine(kind, options),
        only=options.only,
        columns=options.columns,
        variant=options.variant,
        arch=options.arch,
        limit=limit,
    )
    try:
        outcome = BENCHMARKS[options.name](request)
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", []):
            interrupt.add_note("finished rows are kept, the same command goes on from there")
        raise
    if options.format == "json":
        print(json.dumps(outcome.rows, indent=1))
    elif not outcome.lines:
        pass
    elif options.format == "markdown":
        print(markdown(outcome.lines))
    elif options.format == "svg":
        if outcome.figure is None:
            raise ArgumentError(
                f"--store: {options.store} has no staircases of the networks that were defended; "
                f"take the store where they were measured, or an empty one."
            )
        print(outcome.figure)
    else:
        table = Table(*outcome.lines[0])
        for line in outcome.lines:
            table.add_row(*(Text(cell) for cell in line.values()))
        _print_wide(table)
    if outcome.missing:
        print(
            f"{outcome.missing} of {outcome.missing + len(outcome.rows)} rows are missing; the "
            f"same command goes on from there.",
            file=sys.stderr,
        )
    return outcome.missing


def _engine_kind(options: cli.Bench) -> str:
    """Return the name of the engine that is asked for, also by what belongs to it alone."""
    kind = options.engine
    for flag, value, own in (
        ("--address", options.address, "ray"),
        ("--workers", options.workers, "processes"),
    ):
        if value is None:
            continue
        if kind not in {"serial", own}:
            raise ArgumentError(f"{flag}: it is of --engine {own}, came {kind} too; leave one out.")
        kind = own
    return kind


def _engine(kind: str, options: cli.Bench) -> Engine:
    """Return the engine; processes share the processors that are there."""
    from unbackdoor.bench import Processes, Ray, Serial

    if kind == "ray":
        return Ray(options.address, torch.get_num_threads(), options.device)
    if kind == "processes":
        processors = os.cpu_count() or 1
        each = 1 if options.threads is None else options.threads
        workers = max(1, processors // each) if options.workers is None else options.workers
        engine = Processes(workers)
        if options.threads is None:
            torch.set_num_threads(max(1, processors // workers))
        return engine
    return Serial()


def _listed(names: Sequence[str], word: str) -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


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
    _print_wide(table)


def reporting(machine: cli.Machine) -> Progress:
    """Return where long work reports itself."""
    return Silent() if machine.quiet else Bars(shown=machine.progress)


def prepare(machine: cli.Machine) -> None:
    """Check the device and set the CPU up.

    Raises:
        ArgumentError: no such device, or no positive number of threads.

    """
    most = max(16, 4 * (os.cpu_count() or 1))  # OpenMP ends a process that cannot have its threads
    if machine.threads is not None and not 1 <= machine.threads <= most:
        raise ArgumentError(f"--threads: expected 1 to {most} here, came {machine.threads}.")
    try:
        torch.zeros(1, device=machine.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ArgumentError(
            f"--device: {machine.device!r} cannot be used here; try cpu."
        ) from error
    cpu.prepare(machine.threads)


def _scan_one(
    name: str,
    images: Split,
    fitting: InputSettings,
    options: cli.Scan,
    progress: Progress,
    kept: ExitStack,
) -> tuple[ScanResult, Journal]:
    """Return a scan, and its journal, locked by ``kept``, to be discarded when it is delivered."""
    case = Case.open(name, options.arch, images, options.device, fitting, progress)
    settings = BUDGETS[options.budget]
    parts = (case.identity, options.space, settings, options.seed)
    journal = kept.enter_context(opened(state_folder(), "scan", *parts, progress=progress))
    result = journal.keep(
        "result",
        ScanResult,
        lambda: case.scan(options.space, settings, options.seed, journal=journal),
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


def _print_wide(table: Table) -> None:
    """Print to a terminal as wide as it is, elsewhere without breaking a line."""
    Terminal(width=None if sys.stdout.isatty() else 400).print(table)
