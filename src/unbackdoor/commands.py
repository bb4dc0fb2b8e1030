"""What the commands do, once parsed: check everything first, then work, then write and print."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from unbackdoor import attack as attacking
from unbackdoor import cpu, data, gate, models, preflight, results
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError, printable
from unbackdoor.files import check_folder, check_output, read_bytes, sha256_of, write_bytes
from unbackdoor.journal import FORGETFUL, Journal, opened, state_folder
from unbackdoor.metrics import answers
from unbackdoor.models import Loaded, Normalise, bare, check_suffix, freeze
from unbackdoor.progress import Bars, Progress, Silent
from unbackdoor.repairing import repair as repair_model
from unbackdoor.report.page import write_page, write_pages
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.report.table import show, show_one_of_several, show_summary
from unbackdoor.results import (
    FileRecord,
    Finding,
    RepairResult,
    Result,
    Scanned,
    ScanResult,
    Unscanned,
    versions,
)
from unbackdoor.scanning import FEWEST_PER_CLASS, Subject, data_hash, with_planted
from unbackdoor.scanning import scan as scan_model
from unbackdoor.settings import (
    AS_IT_IS,
    BUDGETS,
    FIRST_SHARE,
    InputSettings,
    RepairSettings,
    ScanSettings,
)
from unbackdoor.triggers import Planted, Trigger, parse_space, parse_trigger

if TYPE_CHECKING:
    from unbackdoor import cli

REFERENCE = "shipped:clean"
LARGEST_SIDE = 1024
LARGEST_LABELS = 16 << 20


@dataclass(frozen=True)
class Case:
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
    ) -> Case:
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
        subject = Subject(
            model=freeze(self.network, half=half),
            path=printable(self.loaded.name),
            sha256=self.loaded.sha256,
            arch=self.loaded.arch,
            findings=self.findings,
        )
        found = scan_model(
            subject,
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
            "accuracy": _row(result, "repaired").accuracy,
            "versions": result.versions,
        }
        models.save(bare(module), path, facts)
        return msgspec.structs.replace(result, output=str(path), sha256=sha256_of(path))


def scan(options: cli.Scan) -> list[Scanned]:
    """Scan each model, write what was asked for, print."""
    parse_space(options.space)
    names, several = _named(options.models)
    outputs = {"-o": options.output, "--report": options.report}
    _check_outputs(outputs, {"MODEL": names, "--labels": [options.labels]}, several=several)
    prepare(options)
    fitting = _fitting(options)
    images = data.load(options.data, fitting.size)
    progress = reporting(options)
    console = Console(quiet=options.quiet)
    outcomes: list[Scanned] = []
    with ExitStack() as kept:
        finished: list[Journal] = []
        for name in names:
            try:
                outcome, journal = _scan_one(name, images, fitting, options, progress, kept)
                finished.append(journal)
            except Exception as error:
                if not several:
                    raise
                outcome = _unscanned(name, error)
            outcomes.append(outcome)
            if several and options.format == "table":
                show_one_of_several(outcome, console)
        if several:
            _deliver_several(outcomes, options, console)
        else:
            _deliver(cast(ScanResult, outcomes[0]), options, options.output)
        for journal in finished:
            journal.discard()
    return outcomes


def repair(options: cli.Repair) -> ScanResult | None:
    """Scan unless a scan is given, repair, write, print.

    Returns:
        None, or the scan where it found nothing to unlearn and is all that there is.

    """
    _check_outputs(
        {"-o": options.output, "--result": options.result, "--report": options.report},
        {"MODEL": [options.model], "--scan": [options.scan], "--labels": [options.labels]},
    )
    check_suffix(options.output)
    parse_space(options.space)
    prepare(options)
    progress = reporting(options)
    case = Case.open(
        options.model, options.arch, options.data, options.device, _fitting(options), progress
    )
    check_suffix(options.output, case.loaded.module)
    reference = _reference(options.reference, options.arch, case) if options.reference else None
    case.reserve.require(FEWEST_PER_CLASS)
    scanning = BUDGETS[options.budget]
    given = _scan_of(case, options.scan) if options.scan else None
    beside = reference and reference.state_dict()
    parts = (case.identity, given, beside, options.space, scanning, options.seed)
    with opened(state_folder(), "repair", *parts, progress=progress) as journal:
        found = given or case.scan(
            options.space, scanning, options.seed, journal=journal.within("scan")
        )
        if found.targets:
            module, result = case.repair(found, scanning, options.seed, reference, journal)
            result = case.save(module, result, options.output)
            _deliver(result, options, options.result)
        else:
            _deliver(found, options, options.result)
            progress.say(f"nothing to unlearn, {options.output} is not written.")
        journal.discard()
    return None if found.targets else found


def attack(options: cli.Attack) -> None:
    """Train, write the checkpoint, print its provenance."""
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
    console = Console(quiet=options.quiet)
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


def bench(options: cli.Bench) -> None:
    """Measure what the store lacks of a benchmark, and print it."""
    from unbackdoor.experiments import BENCHMARKS, SWEEPS, Ray, Request, Serial, markdown

    if options.name not in BENCHMARKS:
        raise ArgumentError(
            f"NAME: unknown benchmark {options.name!r}; there are: {', '.join(BENCHMARKS)}."
        )
    if options.seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {options.seeds}.")
    through_ray = options.engine == "ray" or options.address is not None
    if through_ray and options.name not in SWEEPS:
        raise ArgumentError(
            f"--engine: ray runs {' and '.join(SWEEPS)}; {options.name} takes serial alone."
        )
    prepare(options)
    engine = Serial()
    if through_ray:
        engine = Ray(options.address, torch.get_num_threads(), options.device)
    request = Request(
        models=options.models or tuple(f"shipped:{name}" for name in models.shipped()),
        seeds=range(options.seed, options.seed + options.seeds),
        store=options.store,
        reference=REFERENCE,
        device=options.device,
        progress=reporting(options),
        engine=engine,
        only=options.only,
        columns=options.columns,
        variant=options.variant,
        arch=options.arch,
    )
    try:
        outcome = BENCHMARKS[options.name](request)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("finished rows are kept, the same command goes on from there")
        raise
    if options.format == "json":
        print(json.dumps(outcome.rows, indent=1))
    elif options.format == "markdown":
        print(markdown(outcome.lines))
    elif options.format == "svg":
        if outcome.figure is None:
            raise ArgumentError(f"-f svg: {options.name} has no figure; toys and paper have one.")
        print(outcome.figure)
    else:
        table = Table(*outcome.lines[0])
        for line in outcome.lines:
            table.add_row(*(Text(cell) for cell in line.values()))
        _print_wide(table)


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
    if machine.threads is not None and machine.threads < 1:
        raise ArgumentError(f"--threads: expected at least 1, came {machine.threads}.")
    try:
        torch.zeros(1, device=machine.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ArgumentError(
            f"--device: {machine.device!r} cannot be used here; try cpu."
        ) from error
    cpu.prepare(machine.threads)


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
    for one in models:
        if not Path(one).is_dir():
            names.append(one)
            continue
        found = gate.models_in(Path(one))
        folders |= found != [str(Path(one))]
        names += found
    return names, folders or len(names) > 1


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


def _reference(spec: str, arch: str | None, case: Case) -> nn.Module:
    """Load the clean network, whose own word for its architecture goes before the user's."""
    try:
        try:
            loaded = models.load(spec)
        except ArgumentError:
            loaded = models.load(spec, arch)
    except UnbackdoorError as error:
        raise type(error)(str(error).replace("MODEL:", "--reference:", 1)) from error
    cleared = preflight.adapt(loaded.module, case.images, preparation(case.input))
    classes = len(case.images.defend.classes)
    if (came := answers(cleared.network, cleared.images.defend).shape[-1]) != classes:
        raise ContentError(f"--reference: expected {classes} classes, {spec} has {came}.")
    return cleared.network


def _read_labels(path: Path) -> dict[str, int]:
    content = read_bytes(path, "--labels", LARGEST_LABELS)
    try:
        return msgspec.json.decode(content, type=dict[str, int])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContentError(
            f'--labels: expected {{"class of the data": index, …}} in {path}, came {error}.'
        ) from error


def _scan_of(case: Case, path: Path) -> ScanResult:
    found = results.read(path, "--scan")
    if not isinstance(found, ScanResult):
        raise ContentError(f"--scan: {path} is the result of a repair; expected that of a scan.")
    if found.model.sha256 != case.loaded.sha256:
        raise ContentError(
            f"--scan: {path} is of another model (SHA-256 {found.model.sha256[:16]}…, this one has "
            f"{case.loaded.sha256[:16]}…); scan this model first."
        )
    own = (data_hash(case.images), list(case.images.defend.classes))
    if own != (found.data.sha256, found.data.classes):
        raise ContentError(
            f"--scan: {path} was made with other images than these ({found.data.name}); repair "
            f"with the data of the scan, so that nothing that it saw is used to measure."
        )
    if found.settings.get("input") != case.fitting:
        raise ContentError(
            f"--scan: {path} was made with another --size, --mean, --std or --labels; repair with "
            f"those of the scan."
        )
    return found


def _row(result: RepairResult, name: str) -> results.RepairRow:
    return next(row for row in result.rows if row.name == name)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _print_wide(table: Table) -> None:
    """Print to a terminal as wide as it is, elsewhere without breaking a line."""
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def _check_outputs(
    paths: Mapping[str, Path | None],
    inputs: Mapping[str, Sequence[str | Path | None]],
    *,
    several: bool = False,
) -> None:
    """Check that everything can be written, and that nothing is written over what is read.

    Args:
        paths: argument → where it wants something written.
        inputs: argument → what it names.
        several: whether the report is a folder.

    """
    taken = {
        Path(path).resolve(): argument
        for argument, named in inputs.items()
        for path in named
        if path is not None
    }
    for argument, path in paths.items():
        if path is not None:
            folder = several and argument == "--report"
            check_folder(path, argument) if folder else check_output(path, argument)
            if (other := taken.setdefault(path.resolve(), argument)) != argument:
                raise ArgumentError(f"{argument}: {path} is also named by {other}; name another.")


def _deliver(result: Result, options: cli.Scan | cli.Repair, output: Path | None) -> None:
    """Write and print one result."""
    if output and output.suffix.lower() == ".sarif" and isinstance(result, ScanResult):
        write_bytes(output, encode_sarif([result]))
    elif output:
        results.write(result, output)
    if options.report:
        write_page(result, options.report)
    if options.format == "json":
        sys.stdout.write(results.encode(result).decode())
    elif options.format == "sarif" and isinstance(result, ScanResult):
        sys.stdout.write(encode_sarif([result]).decode())
    else:
        show(result, Console(quiet=options.quiet))


def _deliver_several(outcomes: Sequence[Scanned], options: cli.Scan, console: Console) -> None:
    """Write and print the results of several models; their tables are printed already."""
    if output := options.output:
        sarif = output.suffix.lower() == ".sarif"
        write_bytes(output, encode_sarif(outcomes) if sarif else results.encode(outcomes))
    if options.report:
        write_pages(outcomes, options.report)
    if options.format == "json":
        sys.stdout.write(results.encode(outcomes).decode())
    elif options.format == "sarif":
        sys.stdout.write(encode_sarif(outcomes).decode())
    else:
        show_summary(outcomes, console)
