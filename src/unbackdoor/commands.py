"""What the commands do, once parsed: check everything first, then work, then write and print."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from unbackdoor import attack as attacking
from unbackdoor import cpu, data, models, preflight, results
from unbackdoor.data import Split
from unbackdoor.errors import ArgumentError, ContentError, UnbackdoorError, printable
from unbackdoor.files import check_output, read_bytes, sha256_of, write_bytes
from unbackdoor.metrics import answers
from unbackdoor.models import Loaded, Normalise, bare, check_suffix, freeze
from unbackdoor.progress import Bars
from unbackdoor.repairing import repair as repair_model
from unbackdoor.report.page import write_page
from unbackdoor.report.sarif import encode_sarif
from unbackdoor.report.table import show
from unbackdoor.results import Finding, RepairResult, Result, ScanResult
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

    """

    loaded: Loaded
    images: Split
    reserve: Split
    network: nn.Module
    findings: tuple[Finding, ...] = ()
    input: InputSettings = AS_IT_IS

    @classmethod
    def open(
        cls,
        model: str,
        arch: str | None,
        images: str,
        device: str = "cpu",
        fitting: InputSettings = AS_IT_IS,
    ) -> Case:
        """Load a model and clean images.

        Raises:
            ArgumentError: a name, path or device is wrong.
            ContentError: a file exists and cannot be used.

        """
        loaded = models.load(model, arch)
        split = data.load(images, fitting.size)
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
        network = cleared.network.to(device)
        return cls(loaded, *split.divide(FIRST_SHARE), network, findings, fitting)

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
        self, space: str, settings: ScanSettings, seed: int, *, half: bool | None = None
    ) -> ScanResult:
        """Scan the model, in bfloat16 or float32 or what is faster where ``half`` is left out."""
        subject = Subject(
            model=freeze(self.network, half=half),
            path=self.loaded.name,
            sha256=self.loaded.sha256,
            arch=self.loaded.arch,
            findings=self.findings,
        )
        found = scan_model(
            subject, self.images, parse_space(space), settings, seed=seed, progress=Bars()
        )
        if self.fitting:
            settings_kept = {**found.settings, "input": self.fitting}
            found = msgspec.structs.replace(found, settings=settings_kept)
        return with_planted(found, self.planted) if self.planted else found

    def repair(
        self, found: ScanResult, scanning: ScanSettings, seed: int, reference: nn.Module | None
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
            progress=Bars(),
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


def scan(options: cli.Scan) -> ScanResult:
    """Scan, write what was asked for, print."""
    _check_outputs({"-o": options.output, "--report": options.report})
    parse_space(options.space)
    prepare(options)
    case = _open(options)
    result = case.scan(options.space, BUDGETS[options.budget], options.seed)
    _deliver(result, options.format, options.output, options.report)
    return result


def repair(options: cli.Repair) -> ScanResult | None:
    """Scan unless a scan is given, repair, write, print.

    Returns:
        None, or the scan where it found nothing to unlearn and is all that there is.

    """
    _check_outputs({"-o": options.output, "--result": options.result, "--report": options.report})
    check_suffix(options.output)
    parse_space(options.space)
    prepare(options)
    case = _open(options)
    check_suffix(options.output, case.loaded.module)
    reference: nn.Module | None = None
    if options.reference:
        reference = _reference(options.reference, options.arch, case)
    case.reserve.require(FEWEST_PER_CLASS)
    scanning = BUDGETS[options.budget]
    if options.scan:
        found = _scan_of(case, options.scan)
    else:
        found = case.scan(options.space, scanning, options.seed)
    if not found.targets:
        _deliver(found, options.format, options.result, options.report)
        print(f"unbackdoor: nothing to unlearn, {options.output} is not written.", file=sys.stderr)
        return found
    module, result = case.repair(found, scanning, options.seed, reference)
    result = case.save(module, result, options.output)
    _deliver(result, options.format, options.result, options.report)
    return None


def attack(options: cli.Attack) -> None:
    """Train, write the checkpoint, print its provenance."""
    prepare(options)
    facts = attacking.attack(
        options.settings(),
        options.output,
        command=shlex.join(["unbackdoor", *sys.argv[1:]]),
        progress=Bars(),
    )
    asr = "" if facts["asr"] is None else f", ASR {facts['asr']:.4f}"
    print(f"{options.output}: accuracy {facts['accuracy']:.4f}{asr} on held-back images")


def demo(options: cli.Demo) -> RepairResult | ScanResult:
    """Scan a shipped model, repair it, write everything into a folder, print."""
    folder = options.folder
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"--folder: {folder} is a file; name a folder.")
    check_output(folder.absolute() / "report.html") if folder.is_dir() else check_output(folder)
    prepare(options)
    case = Case.open(options.model, None, "cifar10-sample", options.device)
    reference = models.load(REFERENCE).module
    console = Console()
    console.print(
        f"{options.model}: is there a backdoor? {len(case.images.defend)} clean images to search "
        f"with, {len(case.images.evaluate)} held back to measure on; nothing else is known.",
        markup=False,
    )
    settings = ScanSettings()
    result: Result = case.scan("patch:3", settings, options.seed)
    folder.mkdir(exist_ok=True)
    results.write(result, folder / "scan.json")
    show(result, console)
    if result.targets:
        console.print("\nRetraining on draws of these triggers, and the controls beside it …\n")
        module, repaired = case.repair(result, settings, options.seed, reference)
        result = case.save(module, repaired, folder / "repaired.safetensors")
        results.write(result, folder / "repair.json")
        show(result, console)
    write_page(result, folder / "report.html")
    console.print(f"The page: {folder / 'report.html'}", soft_wrap=True)
    return result


def bench(options: cli.Bench) -> None:
    """Measure what the store lacks of a benchmark, and print it."""
    from unbackdoor.experiments import BENCHMARKS, Request, markdown

    if options.name not in BENCHMARKS:
        raise ArgumentError(
            f"NAME: unknown benchmark {options.name!r}; there are: {', '.join(BENCHMARKS)}."
        )
    if options.seeds < 1:
        raise ArgumentError(f"--seeds: expected at least 1, came {options.seeds}.")
    prepare(options)
    request = Request(
        models=options.models or tuple(f"shipped:{name}" for name in models.shipped()),
        seeds=range(options.seed, options.seed + options.seeds),
        store=options.store,
        reference=REFERENCE,
        device=options.device,
    )
    outcome = BENCHMARKS[options.name](request)
    if options.format == "json":
        print(json.dumps(outcome.rows, indent=1))
    elif options.format == "markdown":
        print(markdown(outcome.lines))
    elif options.format == "svg":
        if outcome.figure is None:
            raise ArgumentError(f"-f svg: {options.name} has no figure; toys has one.")
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


def _open(options: cli.Scan | cli.Repair) -> Case:
    if options.size is not None and not 1 <= options.size <= LARGEST_SIDE:
        raise ArgumentError(f"--size: expected 1 to {LARGEST_SIDE}, came {options.size}.")
    if options.std is not None and not min(options.std) > 0:
        raise ArgumentError(f"--std: expected values above 0, came {options.std}.")
    fitting = InputSettings(
        size=options.size,
        mean=options.mean,
        std=options.std,
        labels=options.labels and _read_labels(options.labels),
    )
    case = Case.open(options.model, options.arch, options.data, options.device, fitting)
    for finding in case.findings:
        said = printable(f"{finding.sentence} {finding.remedy}".strip())
        print(f"unbackdoor: {finding.severity}: {said}", file=sys.stderr)
    return case


def _reference(spec: str, arch: str | None, case: Case) -> nn.Module:
    """Load the clean network, whose own word for its architecture goes before the user's."""
    try:
        loaded = models.load(spec)
    except ArgumentError:
        loaded = models.load(spec, arch)
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
    found = results.read(path)
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


def _check_outputs(paths: Mapping[str, Path | None]) -> None:
    taken: dict[Path, str] = {}
    for argument, path in paths.items():
        if path is not None:
            check_output(path, argument)
            if (other := taken.setdefault(path.resolve(), argument)) != argument:
                raise ArgumentError(f"{argument}: {path} is also named by {other}; name another.")


def _deliver(result: Result, form: str, output: Path | None, page: Path | None) -> None:
    if output and output.suffix == ".sarif" and isinstance(result, ScanResult):
        write_bytes(output, encode_sarif(result))
    elif output:
        results.write(result, output)
    if page:
        write_page(result, page)
    if form == "json":
        sys.stdout.write(results.encode(result).decode())
    elif form == "sarif" and isinstance(result, ScanResult):
        sys.stdout.write(encode_sarif(result).decode())
    else:
        show(result, Console())
