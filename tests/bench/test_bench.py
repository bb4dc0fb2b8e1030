"""What holds for every benchmark: its pieces, its flags, and what is refused before any work."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from unbackdoor.app.cli import main
from unbackdoor.bench import BENCHES, Bench, Engine, Processes, Request, Serial, measure
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.bench.modes import bench as modes
from unbackdoor.bench.modes.gans import GanSettings
from unbackdoor.bench.paper import robust as paper_robust
from unbackdoor.bench.toys import bench as toys
from unbackdoor.bench.toys import problems
from unbackdoor.bench.toys.estimates import Staircases, Stairs
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.mesa import Smc
from unbackdoor.mesa.settings import SmcSettings
from unbackdoor.runtime.progress import Silent

ROOT = Path(__file__).parents[2]
FLAGS = {
    "models": ["--models", "shipped:bw170"],
    "only": ["--only", "cifar10-bw:170"],
    "columns": ["--columns", "all"],
    "methods": ["--methods", "nc"],
    "variant": ["--variant", "scratch"],
    "arch": ["--arch", "resnet18"],
    "make": ["--make"],
    "networks": ["--networks", str(ROOT)],
    "list": ["--list", "list.toml"],
}


@pytest.fixture(autouse=True)
def few_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others take seconds to make."""
    monkeypatch.setattr(toys, "level_sets", lambda: [problems.HalfSpace(2, 1.5)])


def request_of(folder: Path, **asked: Any) -> Request:
    usual = {
        "reference": "shipped:clean",
        "models": ("shipped:bw170",),
        "seeds": range(2),
        "progress": Silent(),
        "make": True,
    }
    return Request(**{"store": folder, **usual, **asked})


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_says_what_it_measures_and_plans_pieces(name: str, tmp_path: Path) -> None:
    bench = BENCHES[name]
    assert bench.name == name
    assert bench.summary.endswith(".")
    assert bench.flags <= set(FLAGS)
    assert bench.seeds >= 1
    specs, again = (bench.plan(request_of(tmp_path)) for _ in range(2))
    assert specs
    assert list(specs) == list(again)
    assert [spec.key for spec in specs] == [spec.key for spec in again]
    assert len({(spec.table, spec.key) for spec in specs}) == len(set(specs))
    for spec in specs:
        there = pickle.loads(pickle.dumps(spec))  # as it goes to another process
        assert (there, there.key) == (spec, spec.key)
        assert all(need.key for need in spec.needs)
        assert spec.work > 0


@pytest.mark.parametrize("name", BENCHES)
def test_a_table_of_nothing_is_empty(name: str, tmp_path: Path) -> None:
    bench = BENCHES[name]
    measured = measure(bench, request_of(tmp_path / "store", limit=0))
    assert measured.rows == bench.table([]) == bench.flat([]) == []
    assert measured.missing == measured.planned > 0
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", BENCHES)
def test_a_flag_of_others_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", name, "--store", str(tmp_path / "store")]
    for flag in set(FLAGS) - BENCHES[name].flags:
        assert main([*command, *FLAGS[flag]]) == 4
        assert f"--{flag}: {name} does not have it; leave it out." in capsys.readouterr().err
    if BENCHES[name].figure is None:
        assert main([*command, "-f", "svg"]) == 4
        told = capsys.readouterr().err
        assert f"{name} has no figure; scan, toys, paper and paper-robust have." in told
    assert not (tmp_path / "store").exists()


class Untouched(Serial):
    """Where no piece may be begun."""

    def start(self, *call: Any) -> None:
        """Fail."""
        raise AssertionError(call)


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


def another_table(folder: Path) -> Path:
    for name in ("modes", "paper"):
        (folder / f"{name}.jsonl").write_text("no row\n")
    return folder


@pytest.mark.parametrize("name", ["modes", "paper"])
@pytest.mark.parametrize(
    ("store", "error"), [(a_file, ArgumentError), (another_table, ContentError)]
)
def test_a_store_that_cannot_be_used_is_refused_before_any_work(
    name: str, store: Callable[[Path], Path], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error, match="--store"):
        measure(BENCHES[name], request_of(store(tmp_path), engine=Untouched()))


@pytest.mark.parametrize(
    ("name", "asked", "what"),
    [
        ("panels", {"seeds": [0]}, "--seeds: panels compares"),
        ("paper", {"only": "cifar10-bw:171"}, "--only"),
        (
            "paper-robust",
            {"only": "cifar10-bw:170,cifar10-rgb:0"},
            "--only: paper-robust takes one attack",
        ),
        ("shipped", {"models": ["none.pt"]}, "there is no file"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    name: str, asked: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=what):
        measure(BENCHES[name], request_of(tmp_path, engine=Untouched(), **asked))


def test_a_figure_that_cannot_be_drawn_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of the temperatures is there and none of their staircases; others are missing."""
    request = request_of(tmp_path, engine=Untouched())
    stored = Archive(ROOT / "results" / "two-cores")
    kept = Archive(tmp_path)
    for variant in paper_robust.asked_for(request):
        if variant.parameter == paper_robust.TEMPERATURE:
            kept.keep(variant.spec, stored[variant.spec])
    with pytest.raises(ArgumentError, match="no staircases of the networks"):
        measure(paper_robust.BENCH, request, drawn=True)
    with pytest.raises(AssertionError):  # without the figure the work begins
        measure(paper_robust.BENCH, request)


SMALL = Smc(SmcSettings(particles=200, repeats=2))


def small_toys(request: Request) -> Sequence[Spec]:
    half = problems.HalfSpace(2, 1.5)
    return [
        *(Stairs(problem=half, name="smc", estimator=SMALL, seed=seed) for seed in request.seeds),
        Staircases(density=problems.ring(), estimator=SMALL, counts=(2,), seed=0),
    ]


def small_modes(request: Request) -> Sequence[Spec]:
    methods = {"MESA": SMALL.settings, "GAN": GanSettings(steps=3)}
    return [
        modes.Learned(problem=problems.ring(), method=method, settings=settings, seed=seed)
        for seed in request.seeds
        for method, settings in methods.items()
    ]


@pytest.mark.parametrize(
    "bench", [replace(toys.BENCH, plan=small_toys), replace(modes.BENCH, plan=small_modes)]
)
def test_side_by_side_gives_the_same_rows_and_goes_on(bench: Bench[Any], tmp_path: Path) -> None:
    def rows(engine: Callable[[], Engine], store: str) -> list[Any]:
        found = measure(bench, request_of(tmp_path / store, engine=engine())).rows
        return [msgspec.structs.replace(row, seconds=0.0) for row in found]

    apart = rows(partial(Processes, 2), "apart")
    assert apart == rows(Serial, "serial")
    name = f"{bench.name}.jsonl"
    lines = (tmp_path / "apart" / name).read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / name).write_bytes(b"".join(lines[:-1]) + lines[-1][:-9])  # by a kill
    left = measure(bench, request_of(tmp_path / "cut", limit=0))
    assert (left.missing, left.planned) == (1, len(lines))
    assert rows(Serial, "cut") == apart
    assert rows(Untouched, "cut") == apart
