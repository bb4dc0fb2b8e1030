"""Files are written aside and renamed, so a reader sees the old file or the new one, never half."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unbackdoor.errors import ArgumentError


def check_output(path: Path, argument: str = "-o") -> Path:
    """Return ``path`` if a file can be written there; raise before any work is done if not.

    Raises:
        ArgumentError: the folder does not exist or is not writable, or ``path`` is a folder.
    """
    folder = path.parent
    if path.is_dir():
        raise ArgumentError(f"{argument}: expected a file, but {path} is a folder; name a file in it.")
    if not folder.is_dir():
        raise ArgumentError(f"{argument}: the folder {folder} does not exist; create it first.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArgumentError(
            f"{argument}: cannot write in {folder} ({error.strerror}); choose another folder."
        ) from error
    return path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block succeeds.

    On any exception the temporary file is removed and ``path`` is left as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
