"""The command line: parse the arguments, run the command, turn errors into exit codes."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, assert_never, get_args

import tyro
from tyro.conf import subcommand

from unbackdoor.app.exit_codes import BAD_ARGUMENT, DONE, NO_READER, UNUSABLE
from unbackdoor.app.options import (
    Attack,
    Bench,
    Calibrate,
    Data,
    Demo,
    Models,
    Repair,
    Report,
    Scan,
    Schema,
)
from unbackdoor.app.settings_file import with_settings
from unbackdoor.app.typed import as_meant
from unbackdoor.errors import UnbackdoorError, printable
from unbackdoor.runtime import stop

Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Scan, subcommand("scan")]
    | Annotated[Repair, subcommand("repair")]
    | Annotated[Calibrate, subcommand("calibrate")]
    | Annotated[Attack, subcommand("attack")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Schema, subcommand("schema")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    stop.listen()
    for name in ("stdout", "stderr"):  # None where whoever started this has closed it
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # replace symbols that the terminal lacks
    try:
        code = _unless_stopped(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has closed it
        from unbackdoor.app import terminal

        terminal.print_nowhere()
        return NO_READER
    except UnbackdoorError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:  # an unreadable file or folder, or a full disk
        where = f"{error.filename}: " if error.filename else ""
        code = UNUSABLE if error.errno == errno.ENOSPC else BAD_ARGUMENT
        return _failed(f"{where}{error.strerror or error}; check the path.", code)
    except KeyboardInterrupt as came:
        number = signal.SIGTERM if isinstance(came, stop.Terminated) else signal.SIGINT
        notes = dict.fromkeys(getattr(came, "__notes__", ()))
        return _failed("; ".join(["interrupted", *notes]) + ".", 128 + number)
    except Exception as error:
        return _failed(f"internal error ({type(error).__name__}: {error}).", UNUSABLE)
    return code


def _unless_stopped(arguments: list[str]) -> int:
    """Run the command line; an error of work that was stopped is none."""
    try:
        return _run(arguments)
    except Exception:
        stop.check()
        raise


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"unbackdoor {version('unbackdoor')}")
        return DONE
    commands = {command.__name__.lower(): command for command in map(_bare, get_args(Command))}
    together = as_meant(with_settings(arguments, commands))
    try:
        command = tyro.cli(
            Command,  # pyright: ignore[reportArgumentType]
            prog="unbackdoor",
            description="Find, model and remove backdoors in image classifiers. With --version "
            "alone it prints its version.",
            args=together,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
        )
    except SystemExit as left:
        if left.code and together != as_meant(arguments):
            print("unbackdoor: some of these arguments come from a settings file.", file=sys.stderr)
        return BAD_ARGUMENT if left.code else DONE
    return _call(command)


def _call(typed: Command) -> int:
    """Run a command. Only this command is imported, so that ``--help`` is fast."""
    match typed:
        case Scan():
            from unbackdoor.app.commands.scan import scan

            return scan(typed)
        case Repair():
            from unbackdoor.app.commands.repair import repair

            return repair(typed)
        case Calibrate():
            from unbackdoor.app.commands.calibrate import calibrate

            return calibrate(typed)
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
            from unbackdoor.app.commands.bench import bench

            return bench(typed)
        case _:
            assert_never(typed)


def _bare(annotated: object) -> type:
    return get_args(annotated)[0]


def _failed(sentence: str, code: int) -> int:
    print(f"unbackdoor: {printable(sentence)}", file=sys.stderr)
    return code
