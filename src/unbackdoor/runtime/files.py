"""Files are written aside and renamed, so a reader sees the old file or the new one, never half."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from unbackdoor.errors import ArgumentError, ContentError, quoted

ABANDONED = 3600
"""Seconds after which nobody is writing a file any more."""


MOST_HOLES = 64 << 20
"""Bytes of a file that need not be written."""
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS left in place of a large one."""
WEB_PAGES = (b"<!doctype html", b"<html")
"""How web pages begin."""
HEAD = 1024
"""Bytes that are read to see what a file is."""


def check_output(path: Path, argument: str = "-o") -> Path:
    """Return ``path`` if a file can be written there; raise before any work is done if not.

    Raises:
        ArgumentError: the folder does not exist or is not writable, or ``path`` exists and is no
            regular file.

    """
    try:
        if path.is_dir():
            raise ArgumentError(
                f"{argument}: expected a file, but {path} is a folder; name a file in it."
            )
        if path.exists() and not path.is_file():
            raise ArgumentError(
                f"{argument}: expected a regular file, but {path} is none; name another."
            )
        folder = path.resolve().parent
        if not folder.is_dir():
            raise ArgumentError(f"{argument}: the folder {folder} does not exist; create it first.")
        _create_beside(path).unlink()
    except OSError as error:
        raise ArgumentError(
            f"{argument}: cannot write {path} ({error.strerror}); choose another name or folder."
        ) from error
    return path


def check_folder(path: Path, argument: str) -> Path:
    """Return ``path`` if files can be written into a folder there; raise before any work if not.

    Raises:
        ArgumentError: it is a file, or cannot be made or written into.

    """
    if path.is_dir():
        check_output(path / "index.html", argument)
    elif path.exists():
        raise ArgumentError(f"{argument}: expected a folder, but {path} is a file; name a folder.")
    else:
        check_output(path, argument)
    return path


def read_bytes(path: Path, argument: str, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises:
        ArgumentError: there is no such file, or it cannot be read.
        ContentError: it is larger.

    """
    try:
        size = path.stat().st_size if path.is_file() else None
        content = path.read_bytes() if size is not None and size <= most else b""
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{argument}: {path} cannot be read ({error}); check the path."
        ) from error
    if size is None:
        raise ArgumentError(f"{argument}: there is no file {path}; check the path.")
    if size > most:
        raise ContentError(
            f"{argument}: {path} has {size:,} bytes; expected at most {most:,}, check the file."
        )
    return content


@contextmanager
def written_aside(path: Path) -> Generator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block succeeds.

    On any exception the temporary file is removed and ``path`` is left as it was. A link keeps
    pointing at its file, which is replaced.

    Raises:
        ArgumentError: the file cannot be written.
        ContentError: the disk is full.

    """
    try:
        aside = _create_beside(path)
        try:
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path.resolve())
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ContentError(f"{path} cannot be written: the disk is full; make room.") from error
        raise ArgumentError(
            f"{path} cannot be written ({error.strerror or error}); choose another name or folder."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically.

    Raises:
        ArgumentError: the file cannot be written.

    """
    with written_aside(path) as aside:
        aside.write_bytes(content)


def encoding_of(text: bytes) -> str:
    """Return UTF-16 where a text begins with its mark, as Windows writes it, and UTF-8 elsewhere.

    Example:
        >>> encoding_of("a".encode("utf-16")), encoding_of(b"a")
        ('utf-16', 'utf-8-sig')

    """
    wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if wide else "utf-8-sig"


def check_fetched(path: Path, argument: str) -> None:
    """Raise where something stands in place of a file: a pointer of Git LFS, or its web page.

    A clone without Git LFS has such pointers, and a browser saves the page that shows a file.

    Raises:
        ContentError: it is one of them.
        OSError: it cannot be read.

    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(POINTER):
        raise ContentError(
            f"{argument}: {path} is a pointer of Git LFS and not the file itself; in a clone, "
            f"git -C {quoted(path.parent)} lfs pull fetches it (where git-lfs is "
            f"installed), otherwise download the file that it stands for."
        )
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(WEB_PAGES):
        raise ContentError(
            f"{argument}: {path} is a web page and not the file itself, perhaps the page that "
            f"shows it or one that asks to sign in; download the file that the page is about (the "
            f"raw one)."
        )


def solid_bytes(path: Path) -> int:
    """Return the size of a file up to which it is read: without the holes that nobody ever wrote.

    A file of a few bytes can claim terabytes by its size. One with holes of more than
    :data:`MOST_HOLES` counts as long as what was written of it.
    """
    with path.open("rb") as file:
        size, at, written = os.fstat(file.fileno()).st_size, 0, 0
        if size <= MOST_HOLES or not hasattr(os, "SEEK_DATA"):
            return size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            except OSError:  # no data behind it
                break
            written += at - start
    return size if size - written <= MOST_HOLES else written


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _create_beside(path: Path) -> Path:
    folder = path.resolve().parent
    for part in folder.glob(".unbackdoor-*.part"):  # of a process that was killed as it wrote
        with suppress(OSError):
            if part.stat().st_mtime < time.time() - ABANDONED:
                part.unlink()
    aside = folder / f".unbackdoor-{secrets.token_hex(8)}.part"
    aside.touch(exist_ok=False)
    return aside
