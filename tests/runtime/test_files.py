from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.runtime.files import check_output, sha256_of, write_bytes, written_aside


def test_a_file_appears_complete_and_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_nothing_is_at_the_destination_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with written_aside(path) as aside:
        aside.write_bytes(b"half")
        assert not path.exists()
        assert aside.parent == tmp_path
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with written_aside(path) as aside:
            aside.write_bytes(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_what_a_kill_left_aside_goes_with_a_later_write(tmp_path: Path) -> None:
    old, young = (tmp_path / f".unbackdoor-{name}.part" for name in ("old", "young"))
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    write_bytes(tmp_path / "a.bin", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "a.bin"]


def test_a_full_disk_is_no_wrong_name(tmp_path: Path) -> None:
    def write() -> None:
        with written_aside(tmp_path / "a.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ContentError, match="disk is full"):
        write()
    assert not list(tmp_path.iterdir())


def test_new_files_obey_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a.bin", b"")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_a_good_output_is_returned_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert check_output(path) == path
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = check_output(tmp_path / ("n" * 255))
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "folder"),
        ("missing/a.json", "does not exist"),
        ("file/a.json", "does not exist"),
        ("n" * 256, "cannot write"),
    ],
)
def test_an_output_that_cannot_be_is_refused_by_name(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match=words) as caught:
        check_output(tmp_path / name, "--report")
    assert str(caught.value).startswith("--report: ")
    with pytest.raises(ArgumentError):
        write_bytes(tmp_path / name, b"x")
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "file"}


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="regular file"):
        check_output(tmp_path / "pipe")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
