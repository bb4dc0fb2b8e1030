"""Options from a TOML file, with the names of the command line, which overrides them.

They are added to the typed arguments, so that the same parser checks both.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec
from tyro.conf import Positional, UseAppendAction

from unbackdoor.errors import ArgumentError, ContentError, printable

PROJECT = Path("pyproject.toml")
FLAG = "--config"
TRUSTED_ALONE = "arch"
"""This option can name code to execute, so the pyproject.toml of the working folder must not set
it."""
ONE_ALONE = "data"
"""This option has one value, so that a list for it is an error."""
LISTS = "list"
"""The file that this option names can name code too."""
WRITTEN = {"folder", "output", "report", "result", "store"}
"""These options name files to overwrite, so it must not set them either."""


class _Tool(msgspec.Struct, frozen=True):
    unbackdoor: dict[str, Any] = {}


class _Project(msgspec.Struct, frozen=True):
    tool: _Tool = _Tool()


def with_settings(arguments: list[str], commands: Mapping[str, type]) -> list[str]:
    """Return the arguments, and the options of the settings file that were not typed.

    The file has a table of options for each command; options outside the tables are for every
    command that has them. Options that a pyproject.toml adds without being named by ``--config``
    are reported on standard error.

    Args:
        arguments: as typed, the command first.
        commands: name → dataclass of its options.

    Raises:
        ArgumentError: the file does not exist.
        ContentError: it is no TOML, or holds something that is no option.

    """
    if not arguments or (command := arguments[0]) not in commands:
        return arguments
    named = [*_values(arguments)]
    source, settings = _read(Path(named[-1]) if named else None)
    own = _options(commands[command])
    if not settings or FLAG.lstrip("-") not in own:
        return arguments
    known = {name: _options(kind) for name, kind in commands.items()}
    every = {option for options in known.values() for option in options}
    common: dict[str, Any] = {}
    special: dict[str, Any] = {}
    for name, value in settings.items():
        if name in known and isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            for option in table:
                _check(option, known[name], f"the table {name} of {source}")
            special |= table if name == command else {}
        else:
            _check(name, every, source)
            common |= {name: value} if name in own else {}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    typed = {flag for argument in arguments[:end] for flag in _flags(argument)}
    taken = {
        name: value for name, value in (common | special).items() if not typed & set(own[name])
    }
    code = LISTS if LISTS in taken else TRUSTED_ALONE if ".py:" in str(taken) else None
    if not named and code:
        raise ContentError(
            f"{source}: {code} must not name a file there, because code would be executed that it "
            f"names, came {taken.get(code, taken)!r}; type --{code}, or name this settings file "
            f"with {FLAG}."
        )
    if not named and (written := sorted(WRITTEN & set(taken))):
        raise ContentError(
            f"{source}: an option that names a file to write must not be set there, because any "
            f"folder you work in could set it, came {', '.join(written)}; type --{written[0]}, or "
            f"name this settings file with {FLAG}."
        )
    switches = {name for name, kind in get_type_hints(commands[command]).items() if kind is bool}
    hints = get_type_hints(commands[command], include_extras=True)
    repeated = {name for name in taken if _marked(hints.get(name), UseAppendAction[int])}
    added: list[str] = []
    for name, value in taken.items():
        if name == ONE_ALONE and isinstance(value, list):
            raise ContentError(
                f"{source}: expected one text for {name}, came a list; name one data set, or "
                f"several files of one by a pattern, such as 'set-{{00..12}}.tar'."
            )
        several = name in repeated and isinstance(value, list)
        for one in cast("list[object]", value if several else [value]):
            added += _arguments(name, one, source, switch=name.replace("-", "_") in switches)
    if added and not named and "--quiet" not in typed:
        print(f"unbackdoor: {source} adds {printable(' '.join(added))}", file=sys.stderr)
    return [*arguments[:end], *added, *arguments[end:]]


def _read(named: Path | None) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of the file; no options if there is no such file."""
    path = named or PROJECT
    if not named and not path.is_file():
        return str(path), {}
    text = b""
    try:
        text = path.read_bytes()
        content = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise ArgumentError(
            f"{FLAG}: {path} cannot be read ({error.strerror}); check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        if not named and b"unbackdoor" not in text:  # not our file; its own tools will report it
            return str(path), {}
        raise ContentError(f"{FLAG}: {path} is no TOML ({error}); correct it.") from error
    if path.name != PROJECT.name:
        return str(path), content
    try:
        return str(path), msgspec.convert(content, _Project).tool.unbackdoor
    except msgspec.ValidationError as error:
        raise ContentError(
            f"{path}: expected tool.unbackdoor to be a table ({error}); correct it."
        ) from error


def _values(arguments: Sequence[str]) -> Iterator[str]:
    for index, argument in enumerate(arguments):
        if argument.startswith(FLAG + "="):
            yield argument.removeprefix(FLAG + "=")
        elif argument == FLAG and index + 1 < len(arguments):
            yield arguments[index + 1]


def _flags(argument: str) -> set[str]:
    """Return the flags that an argument may be: also -fjson, --no-quiet and --fail_on."""
    flag = argument.split("=")[0].replace("_", "-")
    return {flag.replace("--no-", "--"), flag[:2]}


def _options(command: type) -> dict[str, list[str]]:
    """Return the options of a command, each with its flags."""
    options: dict[str, list[str]] = {}
    hints = get_type_hints(command, include_extras=True)
    for field in fields(command):
        marks: tuple[Any, ...] = getattr(hints[field.name], "__metadata__", ())
        if _marked(hints[field.name], Positional[int]):
            continue
        name = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
        short = [flag for mark in marks for flag in getattr(mark, "aliases", None) or ()]
        name = name.replace("_", "-")
        options[name] = [f"--{name}", *short]
    return options


def _marked(hint: object, like: object) -> bool:
    """Return whether a field has a mark that a type marked in the same way has."""
    return any(mark in getattr(hint, "__metadata__", ()) for mark in get_args(like)[1:])


def _check(option: str, known: Mapping[str, object] | set[str], where: str) -> None:
    if option not in known or option == FLAG.lstrip("-"):
        raise ContentError(
            f"{where}: unknown option {option!r}; expected one of {', '.join(sorted(known))}."
        )


def _arguments(name: str, value: object, source: str, *, switch: bool) -> list[str]:
    if switch != isinstance(value, bool):
        wanted = "true or false" if switch else "text, a number or a list"
        raise ContentError(f"{source}: expected {wanted} for {name}, came {value!r}.")
    if switch:
        return [f"--{name}" if value else f"--no-{name}"]
    several = cast("list[object]", value) if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) for one in several):
        raise ContentError(
            f"{source}: expected text, a number, true or false, or a list for {name}, came "
            f"{value!r}."
        )
    if any(str(one).startswith("-") and isinstance(one, str) for one in several):
        raise ContentError(
            f"{source}: expected text for {name} that does not begin with -, which would be an "
            f"option of its own, came {value!r}; write a path as ./-name."
        )
    return [f"--{name}={several[0]}"] if len(several) == 1 else [f"--{name}", *map(str, several)]
