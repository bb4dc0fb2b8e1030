"""Data sets in several files of one name, such as ``test-00000-of-00004.parquet``."""

from __future__ import annotations

import glob
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unbackdoor.data.arranging import copied
from unbackdoor.data.conversions import ARROW_FILE
from unbackdoor.data.hidden import HIDDEN, is_hidden
from unbackdoor.errors import ContentError, few, printable, quoted
from unbackdoor.runtime.pictures import SUFFIXES

MOST_PARTS = 256
DATA = "data"
"""The folder in which the Hugging Face hub keeps the files of a data set."""
BRACE = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
NUMBER = re.compile(r"[-_.]?(\d+)(?:-of-(\d+)(?:-[0-9a-f]{16})?)?$")
"""What stands behind the name of the whole in that of a part: its number, how many there are, and
the fingerprint that the Hugging Face hub once wrote there."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The files of one data set.

    Args:
        name: of the set, in results.
        what: where they are, in sentences.
        files: in their order, all of one kind.
        passed_over: reason → number of files beside them.

    """

    name: str
    what: str
    files: tuple[Path, ...]
    passed_over: Mapping[str, int] = field(default_factory=dict[str, int])


def of_file(path: Path) -> Parts:
    """Return a data set that is one file."""
    return Parts(name=printable(path.stem), what=str(path), files=(path,))


def of_folder(folder: Path, suffixes: Collection[str]) -> Parts | None:
    """Return the data set whose files lie in a folder, or in ``data`` inside it.

    Args:
        folder: where to look; one with other folders in it is no such data set.
        suffixes: of the files.

    Raises:
        ContentError: there are several data sets, a part is missing, or is a link out of it.

    """
    top = sorted(folder.iterdir())
    shown = [path for path in top if not is_hidden(path.name)]
    files = [path for path in shown if path.suffix.lower() in suffixes and path.is_file()]
    if inner := [path for path in shown if path.is_dir()]:
        hub = not files and [path.name for path in inner] == [DATA] and not inner[0].is_symlink()
        if hub:
            return of_folder(inner[0], suffixes)
        if not files:
            _check_divided(folder, inner, {*suffixes, ARROW_FILE})
        return None
    if not files:
        return None
    sets: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        sets[NUMBER.sub("", path.stem) + "*" + path.suffix].append(path)
    if len(sets) > 1:
        held = min(sets, key=lambda name: (name.lower().startswith("train"), name))
        raise ContentError(
            f"--data: {folder} holds several data sets ({few([*map(printable, sets)])}); name "
            f"one that the network was not trained on, such as --data "
            f"{quoted(folder / held)}."
        )
    ((pattern, parts),) = sets.items()
    _check_whole(folder, pattern, parts)
    for path in parts:
        if path.is_symlink() and path.resolve().parent != folder.resolve():
            raise ContentError(f"--data: {path} is a link out of its folder; {copied(folder)}.")
    passed = Counter(
        HIDDEN if is_hidden(path.name) else path.suffix.lower() or "no suffix"
        for path in top
        if path not in parts
    )
    name = NUMBER.sub("", parts[0].stem) or folder.name
    return Parts(
        name=printable(name), what=str(folder), files=_few(parts, str(folder)), passed_over=passed
    )


def _check_divided(folder: Path, inner: Sequence[Path], suffixes: Collection[str]) -> None:
    """Raise where the folders of a folder, or those in them, hold files of data each."""
    held = [_holding(path, suffixes) for path in inner]
    if not all(held):
        return
    parts = sorted(part for found in held for part in found)
    named = min(parts, key=lambda part: (part.name.lower().startswith("train"), part))
    told = [str(part.relative_to(folder)) for part in parts]
    where = (
        f"the folders of {folder} are parts of a data set ({printable(few(told))}); name one "
        f"that the network was not trained on, such as"
        if len(parts) > 1
        else f"the files of {folder} lie in its folder {printable(told[0])}; name that by"
    )
    raise ContentError(f"--data: {where} --data {quoted(named)}.")


def _holding(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return a folder if it holds files of data and no pictures, else those in it that do."""
    shown = [path for path in folder.iterdir() if not is_hidden(path.name)]
    kinds = {path.suffix.lower() for path in shown if path.is_file()}
    if kinds & SUFFIXES:
        return []
    if kinds & {*suffixes}:
        return [folder]
    below = [path for path in shown if path.is_dir() and not path.is_symlink()]
    found = [_holding(path, suffixes) for path in below]
    return [part for parts in found for part in parts] if all(found) else []


def _check_whole(folder: Path, pattern: str, parts: Sequence[Path]) -> None:
    """Raise where names of parts count them, and one is missing or there twice."""
    numbers: defaultdict[int, list[str]] = defaultdict(list)
    count = 0
    for path in parts:
        if (found := NUMBER.search(path.stem)) and found[2]:
            numbers[int(found[1])].append(path.name)
            count = max(count, int(found[2]))
    if twice := [names for names in numbers.values() if len(names) > 1]:
        raise ContentError(
            f"--data: {folder} has one part {len(twice[0])} times ({printable(few(twice[0]))}); "
            f"remove the old files."
        )
    if len(parts) < count:
        alone = quoted(folder / pattern)
        raise ContentError(
            f"--data: {folder} has {len(parts)} of {count:,} parts of {printable(pattern)}; fetch "
            f"the others, or take these alone: --data {printable(alone)}."
        )


def of_pattern(spec: str) -> Parts | None:
    """Return the files that a pattern names: ``{000..127}``, ``{a,b}``, ``*``, ``?``, ``[…]``.

    Raises:
        ContentError: it names a file that is not there, files of several kinds, or too many.

    """
    given = expanded(spec)
    files = [path for one in given for path in (sorted(glob.glob(one)) or [one])]  # noqa: PTH207
    paths = list(dict.fromkeys(map(Path, files)))
    if given == [spec] and files == [spec]:
        return None
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ContentError(
            f"--data: {spec} names files that are not there: {few(missing)}; fetch them, or "
            f"name those that are."
        )
    if len(kinds := {path.suffix.lower() for path in paths}) > 1:
        raise ContentError(
            f"--data: {spec} names files of several kinds ({', '.join(sorted(kinds))}); name "
            f"those of one."
        )
    name = NUMBER.sub("", paths[0].stem) or paths[0].parent.name
    return Parts(name=printable(name), what=spec, files=_few(paths, spec))


def expanded(spec: str) -> list[str]:
    """Return the names that a text with braces stands for, as a shell would write them."""
    done, waiting = list[str](), [spec]
    while waiting:
        text = waiting.pop(0)
        if (brace := BRACE.search(text)) is None:
            done.append(text)
            continue
        inside = brace[1].split(",")
        if numbers := NUMBERS.fullmatch(brace[1]):
            first, last = int(numbers[1][:9]), int(numbers[2][:9])
            width = len(numbers[1])
            few = range(first, min(last, first + MOST_PARTS) + 1)
            inside = [f"{number:0{width}}" for number in few]
        elif len(inside) < 2:
            done.append(text)
            continue
        waiting = [text[: brace.start()] + one + text[brace.end() :] for one in inside] + waiting
        if len(waiting) + len(done) > MOST_PARTS:
            raise ContentError(_many(spec))
    return done


def _few(parts: Collection[Path], what: str) -> tuple[Path, ...]:
    if len(parts) > MOST_PARTS:
        raise ContentError(_many(what))
    return tuple(parts)


def _many(what: str) -> str:
    return (
        f"--data: {what} names more than {MOST_PARTS} files; name fewer (a few hundred pictures of "
        f"each class are enough)."
    )
