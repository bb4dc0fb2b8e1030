"""Paths of a table under which no picture lies, and the command that mends them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from unbackdoor.data.tables import Table, is_file
from unbackdoor.errors import quoted
from unbackdoor.runtime.pictures import SUFFIXES

MOST_LOOKED_AT = 1 << 20
"""Files among which pictures are looked for by their names."""


def mended(table: Table) -> str:
    """Return how the paths of a table become those of its pictures, part of a sentence.

    They are meant from another folder if all of them lead to pictures without the same number of
    folders before them; or they are names, with or without suffixes, of pictures that lie deeper.
    It is nothing where neither is so for every path.
    """
    home = table.path.parent
    paths = {PurePosixPath(text.replace("\\", "/")) for text, _ in table.said()}
    least = min((len(path.parts) for path in paths), default=0)
    for count in range(1, least):
        inside = {PurePosixPath(*path.parts[count:]) for path in paths}
        if len(inside) == len(paths) and all(is_file(home / path) for path in inside):
            return _command(table, "from another folder", f"P(*p.parts[{count}:])")
    if (endings := _endings(home, {path.name for path in paths})) is None:
        return ""
    known = (
        f"{{k: q.relative_to(t.parent) for q in t.parent.rglob('*') if q.suffix in {endings!r} "
        f"for k in (q.name, q.stem)}}"
    )
    return _command(table, "names alone", "f[p.name]", f"f = {known}; ")


def column_of_paths(table: Table) -> str | None:
    """Return the first column, by its name, that names a picture in the first row of a table."""
    home, known = table.path.parent, _below(table.path.parent)
    first = table.rows[0] if table.rows else ()
    for name, cell in zip(table.head, first, strict=False):
        text = cell.strip().replace("\\", "/")
        if name and text and (is_file(home / text) or PurePosixPath(text).name in known):
            return name
    return None


def _endings(home: Path, names: set[str]) -> list[str] | None:
    """Return how the pictures below a folder end that have some names; None unless each has one."""
    known = _below(home)
    found = [known.get(name, set[Path]()) for name in names]
    if any(len(pictures) != 1 for pictures in found):
        return None
    return sorted({picture.suffix for pictures in found for picture in pictures})


def _below(home: Path) -> dict[str, set[Path]]:
    """Return the pictures below a folder by their names, with and without suffixes.

    It is nothing where there are too many files.
    """
    known: defaultdict[str, set[Path]] = defaultdict(set)
    for count, picture in enumerate(home.rglob("*")):
        if count > MOST_LOOKED_AT:
            return {}
        if picture.suffix.lower() in SUFFIXES:
            known[picture.name].add(picture)
            known[picture.stem].add(picture)
    return known


def _command(table: Table, what: str, path: str, first: str = "") -> str:
    """Return the part of the sentence with the command.

    Args:
        table: with the paths.
        what: they are.
        path: code of the right one, of ``p``.
        first: code before.

    """
    at = table.files
    code = (
        f"import sys, csv; from pathlib import PurePosixPath as P, Path; t = Path(sys.argv[1]); "
        f"{first}r = [s for s in csv.reader(open(t, encoding={table.encoding!r}), "
        f"delimiter={table.delimiter!r}) if s]; "
        f"w = csv.writer(open(sys.argv[2], 'w', newline='', encoding='utf-8')); w.writerow(r[0]); "
        f"w.writerows([*s[:{at}], {path}, *s[{at}+1:]] for s in r[1:] "
        f"for p in [P(s[{at}].strip().replace(chr(92), '/'))])"
    )
    made = table.path.with_name(f"{table.path.stem}-paths.csv")
    return (
        f", and these are {what}; write whole paths with python -c {quoted(code)} "
        f"{quoted(table.path)} {quoted(made)}, and name {quoted(made)}"
    )
