"""A sweep computes each thing once, in any engine, and what a kill cost is done again alone."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

import tiny
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Engine, Processes, Ray, Serial
from unbackdoor.bench.framework.spec import Spec, fingerprint
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.paper.defended import DefenceRow
from unbackdoor.bench.paper.networks import Network
from unbackdoor.detectors.settings import BanditSettings
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.runtime.journal import Journal
from unbackdoor.runtime.progress import Progress, Silent, Task
from unbackdoor.scanning.settings import ScanSettings

KILLS = int(os.environ.get("UNBACKDOOR_KILLS", "3"))

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray, of unbackdoor[ray], is not installed"
)


class Value(msgspec.Struct, frozen=True):
    value: int


@dataclass(frozen=True)
class Number(Spec):
    value: int
    table: ClassVar[str] = "numbers"
    result: ClassVar[type] = Value
    version: ClassVar[int] = 1
    work: ClassVar[float] = 1.0

    @property
    def needs(self) -> tuple[Spec, ...]:
        return ()

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Value:
        return Value(self.value)


@dataclass(frozen=True)
class Text(Number):
    table: ClassVar[str] = "texts"
    result: ClassVar[type] = bytes

    @property
    def needs(self) -> tuple[Spec, ...]:
        return (Number(self.value), Number(self.value + 1))

    def run(self, inputs: Mapping[Spec, Any], device: str) -> bytes:
        return "+".join(str(inputs[need].value) for need in self.needs).encode()


@contextmanager
def ray_here() -> Iterator[Engine]:
    import ray

    try:
        yield Ray(None, threads=1)
    finally:
        ray.shutdown()


class Bar(Progress):
    """Remembers how much there was to do and how much was done."""

    def __init__(self) -> None:
        self.total, self.done = 0.0, 0.0

    @contextmanager
    def task(self, description: str, total: float | None) -> Iterator[Task]:
        self.total = total or 0
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.done += steps


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    bar, archive = Bar(), Archive(tmp_path)
    assert complete([Text(1), Text(2)], archive, Serial(), bar) == [b"1+2", b"2+3"]
    assert bar.total == bar.done == 5  # three numbers, one of them for both texts
    again = Archive(tmp_path)
    assert complete([Text(2), Text(3)], again, Serial(), bar) == [b"2+3", b"3+4"]
    assert bar.total == 2
    assert complete([Text(3)], again, Serial(), bar) == [b"3+4"]
    assert bar.total == 0


def test_a_limit_ends_a_sweep_between_two_pieces(tmp_path: Path) -> None:
    class Slow(Serial):
        """The clock moves on with every piece."""

        def next(self) -> tuple[object, object]:
            now[0] += 1.0
            return super().next()

    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unbackdoor.bench.framework.sweep.time.monotonic", lambda: now[0])
        wanted, archive = [Text(1), Text(2)], Archive(tmp_path)
        assert complete(wanted, archive, Slow(), Bar(), limit=0) == []
        assert complete(wanted, archive, Slow(), Bar(), limit=3) == [b"1+2"]
        assert complete(wanted, archive, Slow(), Bar(), limit=2) == [b"1+2", b"2+3"]


def test_a_piece_that_fails_does_not_keep_the_others_from_being_done(folder: Path) -> None:
    good, _ = tiny.networks(folder)[0]
    assert good.start
    nowhere = replace(good.start, data="no/such/folder")
    wild = replace(good.start, training=replace(good.training, learning_rate=1e30))
    archive = Archive(folder / "store")
    with pytest.raises(ArgumentError, match=r"diverged.*What is done is kept"):
        complete([wild, replace(good, start=wild), good.start], archive, Serial(), Silent())
    assert good.start in archive
    with pytest.raises(ContentError, match=r"more than one way"):
        complete([wild, nowhere], archive, Serial(), Silent())


@dataclass(frozen=True)
class Broken(Number):
    """What no piece is expected to raise, such as a card without memory."""

    def run(self, inputs: Mapping[Spec, Any], device: str) -> Any:
        raise RuntimeError(f"no memory left for {self.value}")


@pytest.mark.parametrize("engine", [Serial, partial(Processes, 2)])
def test_a_piece_that_breaks_does_not_either(tmp_path: Path, engine: Callable[[], Engine]) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(ContentError, match=r"RuntimeError \(no memory left for 1\).*is kept"):
        complete([Broken(1), Text(1), Text(2)], archive, engine(), Silent())
    assert [archive[spec] for spec in (Text(1), Text(2))] == [b"1+2", b"2+3"]


def test_a_result_that_is_there_needs_nothing(tmp_path: Path) -> None:
    Archive(tmp_path).keep(Text(7), b"kept")
    bar = Bar()
    assert complete([Text(7)], Archive(tmp_path), Serial(), bar) == [b"kept"]
    assert bar.total == 0


@dataclass(frozen=True)
class Named(Number):
    """Its rows were kept before there were fingerprints."""

    @property
    def key(self) -> str:
        return f"number {self.value}"


def test_a_spec_may_say_its_own_key(tmp_path: Path) -> None:
    complete([Named(1), Number(1)], Archive(tmp_path), Serial(), Silent())
    kept = Archive(tmp_path)
    assert Named(1) in kept
    assert Named(2) not in kept
    stored = (tmp_path / "numbers.jsonl").read_text()
    assert '"key":"number 1"' in stored
    assert fingerprint(Number(1)) in stored


def test_a_folder_that_cannot_be_made_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bar = Bar()
    with pytest.raises(ArgumentError, match="--store"):
        complete([Number(1)], Archive(tmp_path / "file" / "store"), Serial(), bar)
    assert bar.total == 0
    assert complete([Number(1)], Archive(tmp_path / "none"), Serial(), bar, limit=0) == []
    assert not (tmp_path / "none").exists()


def test_equal_specs_alone_have_equal_fingerprints() -> None:
    assert fingerprint(Number(1)) == fingerprint(Number(1))
    assert len({fingerprint(spec) for spec in (Number(1), Number(2), Text(1))}) == 3


def test_a_field_that_was_added_later_counts_where_it_is_not_at_its_default() -> None:
    def settings(*fields: Any) -> Any:
        return make_dataclass("Settings", [("value", int, 1), *fields], frozen=True)

    before = settings()
    grown = settings(("more", int, field(default=2, metadata={"later": True})))
    wrong = settings(("more", int, field(default=2)))
    assert fingerprint(grown()) == fingerprint(before())
    assert fingerprint(grown(value=3)) == fingerprint(before(value=3))
    assert fingerprint(grown(more=3)) != fingerprint(before())
    assert fingerprint(wrong()) != fingerprint(before())


def test_the_work_of_a_search_is_part_of_the_keys_of_scans_that_do_other_work() -> None:
    """Rows that were stored before there was such work are of the usual one."""
    usual, other = ScanSettings(), ScanSettings(bandit=BanditSettings(starts=9))
    assert fingerprint(usual) == fingerprint(ScanSettings(bandit=BanditSettings()))  # pyright: ignore
    assert fingerprint(other) != fingerprint(usual)  # pyright: ignore


def without_time(rows: list[DefenceRow]) -> list[DefenceRow]:
    return [msgspec.structs.replace(row, seconds=0.0) for row in rows]


@pytest.fixture
def folder(tmp_path: Path, write_pictures: Callable[..., Path]) -> Path:
    write_pictures(tmp_path / "pictures", classes={"dark": 70, "light": 150}, count=80)
    return tmp_path


def results_in(store: Path) -> int:
    rows = sum(file.read_bytes().count(b"\n") for file in store.glob("*.jsonl"))
    return rows + len([*store.glob("networks/*.safetensors")])


def test_killing_it_at_random_moments_changes_nothing(folder: Path) -> None:
    process = [sys.executable, tiny.__file__, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    draw, kept = random.Random(0), [0]
    for _ in range(KILLS):
        running = subprocess.Popen(process, env=environment)
        while running.poll() is None and results_in(folder / "store") == kept[-1]:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        running.kill()
        running.wait()
        kept.append(results_in(folder / "store"))
    assert kept == sorted(kept)
    assert kept[1] > 0
    tables: list[list[DefenceRow]] = []
    for _ in range(2):  # to the end, and again without a kill; of all by one thread
        subprocess.run(process, env=environment, check=True, capture_output=True)
        tables.append(without_time(tiny.table(folder)))
        (folder / "store").rename(folder / f"store {len(tables)}")
    assert tables[0] == tables[1]


@pytest.mark.parametrize("which", [0, 1], ids=["planted", "clean"])
def test_a_training_that_is_interrupted_goes_on_after_its_last_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    state = folder / "state"
    monkeypatch.setenv("UNBACKDOOR_STATE", str(state))
    planted, clean = tiny.networks(folder)[0]
    network = (planted, clean)[which]
    inputs = {clean: clean.run({}, "cpu")} if network.start else {}
    whole = network.run(inputs, "cpu")
    shutil.rmtree(state)
    write, epochs = Journal.write, [0]

    def written(journal: Journal, name: str, value: object) -> None:
        write(journal, name, value)
        epochs[0] += 1
        if epochs[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "write", written)
    with pytest.raises(KeyboardInterrupt):
        network.run(inputs, "cpu")
    assert network.run(inputs, "cpu") == whole
    assert epochs[0] == network.training.epochs
    assert network.run(inputs, "cpu") == whole  # as long as the file is not written
    assert epochs[0] == network.training.epochs
    other = replace(network, seed=1).run(inputs, "cpu")
    assert other != whole
    assert len([*state.iterdir()]) == 2
    archive = Archive(folder / "store")
    for start in inputs:
        archive.keep(start, inputs[start])
    complete([network], archive, Serial(), Silent())
    assert archive[network] == whole
    assert len([*state.iterdir()]) == 1


def test_processes_do_not_outlive_the_one_that_asked() -> None:
    """They hold its output open as long as they live."""
    code = (
        "import time\n"
        "from unbackdoor.bench.framework.engine import Processes\n"
        "engine = Processes(1)\n"
        "engine.start('ready', int, '7')\n"
        "print(engine.next(), flush=True)\n"
        "engine.start('long', time.sleep, 600)\n"
        "engine.next()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "('ready', 7)\n"
        running.kill()
        assert running.communicate(timeout=60)[0] == ""


@contextmanager
def processes_here() -> Iterator[Engine]:
    yield Processes(2)


@pytest.mark.stored
@pytest.mark.parametrize("here", [processes_here, pytest.param(ray_here, marks=needs_ray)])
def test_side_by_side_gives_the_same_table_and_the_same_errors(
    folder: Path, here: Callable[[], AbstractContextManager[Engine]]
) -> None:
    wanted = [
        spec for spec in tiny.specs(folder) if spec.defence in (*tiny.DEFENCES[:2], tiny.MESA)
    ]
    serial = complete(wanted, Archive(folder / "serial"), Serial(), Silent())
    with here() as engine:
        parallel = complete(wanted, Archive(folder / "store"), engine, Silent())
        nowhere = Network(data="no/such/folder", arch="resnet8-wide")
        with pytest.raises(ArgumentError, match="no/such/folder"):
            complete([nowhere], Archive(folder / "none"), engine, Silent())
    assert without_time(parallel) == without_time(serial)
    assert len(serial) == 6
    for network in Path(folder / "serial" / "networks").iterdir():
        assert (folder / "store" / "networks" / network.name).read_bytes() == network.read_bytes()


def test_a_process_that_is_ended_is_no_result() -> None:
    others = set(multiprocessing.active_children())
    engine = Processes(1)
    engine.start("gone", os._exit, 1)
    with pytest.raises(ContentError, match="ended from outside"):
        engine.next()
    engine.start("here", int, "7")  # another takes its place
    assert engine.next() == ("here", 7)
    (worker,) = set(multiprocessing.active_children()) - others
    worker.kill()
    worker.join()
    with pytest.raises(ContentError, match="ended from outside"):
        engine.start("idle", int, "7")


def test_what_a_process_raises_is_raised_here() -> None:
    engine = Processes(1)
    for wrong in (partial(int, "x"), threading.Lock):  # what fails, and what cannot travel back
        engine.start("bad", wrong)
        with pytest.raises(ContentError, match="--workers: a piece failed with") as caught:
            engine.next()
        assert "Traceback" in caught.value.__notes__[0]
    with pytest.raises(ArgumentError, match="--workers"):
        Processes(0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="--store"):
        Archive(tmp_path / "file").keep(Text(1), b"")
