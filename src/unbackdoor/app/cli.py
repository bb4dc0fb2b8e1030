"""The command line: parse what was typed, run the command, turn errors into exit codes."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, assert_never, get_args

import tyro
from tyro.conf import Positional, arg, subcommand

from unbackdoor.app.exit_codes import BAD_ARGUMENT, DONE, NO_READER, UNUSABLE
from unbackdoor.app.options import (
    Attack,
    Data,
    Demo,
    Machine,
    Models,
    Number,
    Repair,
    Report,
    Scan,
    Schema,
    Text,
)
from unbackdoor.app.settings_file import with_settings
from unbackdoor.errors import UnbackdoorError, printable


@dataclass(frozen=True, kw_only=True)
class Bench(Machine):
    """Measure what the README states and print its table."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """shipped, profile, toys, modes, reference, robust, panels, or paper, paper-features,
    paper-robust."""
    models: Annotated[tuple[str, ...], arg(metavar="MODEL")] = ()
    """Which models; every shipped one when left out."""
    seeds: int | None = None
    """How many seeds, counted up from --seed; 5 when left out, of paper and paper-features 1."""
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
    """Where their pieces run: one after the other, side by side here, or through Ray."""
    workers: Number = None
    """How many processes run pieces side by side, with the processors shared among them; as many as
    there are processors for --threads each when left out."""
    address: Text = None
    """Of a Ray cluster; this machine when left out."""
    minutes: float | None = None
    """Of paper, paper-features and paper-robust, begin no further piece after so many; 0 shows what
    is there."""
    format: Annotated[Literal["table", "json", "markdown", "svg"], arg(aliases=["-f"])] = "table"
    """What is printed; json has every figure, svg is the picture of toys, paper or paper-robust."""

    def run(self) -> int:
        """Measure what is missing and print all rows."""
        from unbackdoor.app.commands.bench import bench
        from unbackdoor.app.exit_codes import INCONCLUSIVE

        return INCONCLUSIVE if bench(self) else DONE


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

        terminal.print_nowhere()
        return NO_READER
    except UnbackdoorError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:  # a file or folder that cannot be looked at, or a full disk
        where = f"{error.filename}: " if error.filename else ""
        code = UNUSABLE if error.errno == errno.ENOSPC else BAD_ARGUMENT
        return _failed(f"{where}{error.strerror or error}; check the path.", code)
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        notes = dict.fromkeys(getattr(stop, "__notes__", ()))
        return _failed("; ".join(["interrupted", *notes]) + ".", 128 + number)
    except Exception as error:
        return _failed(f"internal error ({type(error).__name__}: {error}).", UNUSABLE)
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
    return _call(command)


def _call(typed: Command) -> int:
    """Run a command, which is imported for it alone: help needs none of them."""
    match typed:
        case Scan():
            from unbackdoor.app.commands.scan import scan

            return scan(typed)
        case Repair():
            from unbackdoor.app.commands.repair import repair

            return repair(typed)
        case Attack():
            from unbackdoor.app.commands.attack import attack

            return attack(typed)
        case Demo():
            from unbackdoor.app.commands.demo import demo

            return demo(typed)
        case Report():
            from unbackdoor.app.commands.report import report

            return report(typed)
        case Data():
            from unbackdoor.app.commands.data import get_data

            return get_data(typed)
        case Models():
            from unbackdoor.app.commands.models import list_models

            return list_models(typed)
        case Schema():
            from unbackdoor.app.commands.schema import print_schema

            return print_schema(typed)
        case Bench():
            return typed.run()
        case _:
            assert_never(typed)


def _bare(annotated: object) -> type:
    return get_args(annotated)[0]


def _failed(sentence: str, code: int) -> int:
    print(f"unbackdoor: {printable(sentence)}", file=sys.stderr)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
