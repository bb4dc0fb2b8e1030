"""The store of benchmarks: rows survive, a cut line does not count, two runs share a folder."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import msgspec
import pytest

from unbackdoor.bench.framework.store import Store
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.runtime.journal import key_of


class Row(msgspec.Struct, frozen=True):
    name: str
    value: float


def add_many(folder: Path, name: str) -> None:
    store = Store(folder, "numbers", Row)
    for index in range(50):
        store.add(f"{name}{index}", Row(name, index))


def test_what_was_added_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "folder", "numbers", Row)
    assert store.read() == {}
    store.add("a", Row("one", 1.5))
    store.add("b", Row("two", 2.5))
    assert store.read() == {"a": Row("one", 1.5), "b": Row("two", 2.5)}


def test_a_line_that_a_kill_cut_short_is_lost_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, "numbers", Row)
    store.add("a", Row("one", 1.0))
    store.add("b", Row("two", 2.0))
    whole = store.path.read_bytes()
    for length in range(len(whole)):
        store.path.write_bytes(whole[:length])
        kept = store.read()
        assert set(kept) == {"ab"[index] for index in range(whole[:length].count(b"\n"))}
        store.add("c", Row("three", 3.0))
        assert store.read() == {**kept, "c": Row("three", 3.0)}


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(tmp_path, name)) for name in "xy"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Store(tmp_path, "numbers", Row).read()) == 100


@pytest.mark.parametrize("line", ["no json", '{"key": 1}', '{"key": "a", "row": {"name": 3}}'])
def test_a_foreign_file_is_refused(tmp_path: Path, line: str) -> None:
    store = Store(tmp_path, "numbers", Row)
    store.path.write_text(line + "\n")
    with pytest.raises(ContentError, match="line 1"):
        store.read()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="--store"):
        Store(tmp_path / "file", "numbers", Row).add("a", Row("one", 1.0))


def test_keys_follow_the_content_alone() -> None:
    assert key_of({"a": 1, "b": 2}, 3) == key_of({"b": 2, "a": 1}, 3)
    assert key_of(1, 2) != key_of(2, 1)
