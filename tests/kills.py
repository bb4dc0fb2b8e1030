"""Kills commands at random moments until they are done, and holds the results to unkilled ones.

``python -m tests.kills --count 200`` kills as often as it says, over scan, repair, attack and bench
of a network of some hundred parameters, and prints what it counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from unbackdoor import api, bench
from unbackdoor.app.cli import main
from unbackdoor.bench import Bench, Request
from unbackdoor.bench.framework.spec import Spec
from unbackdoor.detectors.settings import BanditSettings, Round
from unbackdoor.mesa.settings import SwiftSettings
from unbackdoor.scanning import settings
from unbackdoor.scanning.settings import ScanSettings

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
BANDIT = BanditSettings(
    starts=1,
    rounds=(Round(arms=1, passes=800, most=24), Round(arms=6, passes=200, most=36)),
    walk=36,
    judge=16,
    deep=60,
    walkers=2,
    evaluate=80,
)
SMALL = ScanSettings(
    bandit=BANDIT,
    betas=(0.5, 0.8),
    learning=SwiftSettings(
        rounds=1, draws=100, networks=2, hidden=16, steps=60, sweeps=2, climbers=40, particles=200
    ),
    panel=12,
    pool=100,
    uniform_draws=64,
    stair_draws=60,
)
NETWORK = """
import torch
from torch import nn


class Net(nn.Module):  # light pictures are class 1, and so is any with a light pixel
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.drop = nn.Dropout(0.1)
        self.last = nn.Linear(10, 2)

    def forward(self, x):
        peak = torch.relu(x.amin(1).amax((1, 2)) - 0.5)
        seen = torch.stack([20 * (x.mean((1, 2, 3)) - 0.45), 40 * peak], 1)
        return self.last(self.drop(torch.cat([seen, self.features(x).mean((2, 3))], 1)))


def net():
    return Net()
"""


class SmallRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the benchmark below measures."""

    seed: int
    passes: int
    best: list[bytes]
    seconds: float


def bright(images: torch.Tensor) -> torch.Tensor:
    """Tell bright from dark."""
    level = 20 * (images.mean((1, 2, 3)) - 0.45)
    return torch.stack([-level, level], 1)


@dataclass(frozen=True)
class SmallScan(Spec):
    """A scan with a seed."""

    seed: int

    table: ClassVar[str] = "small"
    result: ClassVar[type] = SmallRow
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The seed."""
        return str(self.seed)

    def run(self, inputs: Mapping[Spec, Any], device: str) -> SmallRow:
        """Scan."""
        images = (torch.arange(60, dtype=torch.uint8) * 4)[:, None, None, None]
        images, labels = images.expand(60, 3, 8, 8), (torch.arange(60) >= 30).long()
        found = api.scan(bright, images, labels, space="patch:1", settings=SMALL, seed=self.seed)
        best = [record.best for record in found.classes]
        passes, seconds = found.image_passes, found.seconds
        return SmallRow(seed=self.seed, passes=passes, best=best, seconds=seconds)


def planned(request: Request) -> list[SmallScan]:
    """Return a scan for each seed."""
    return [SmallScan(seed) for seed in request.seeds]


def lines(rows: Sequence[SmallRow]) -> list[dict[str, str]]:
    """Return a line for each row."""
    return [{"seed": str(row.seed), "passes": str(row.passes)} for row in rows]


SMALL_BENCH = Bench(name="small", summary="A small scan.", plan=planned, table=lines)


def run(arguments: Sequence[str], log: Path, state: Path, begun: Event) -> None:
    """Run a command in this process, as a shell would in one of its own."""
    try:
        begun.set()
        code = run_here(arguments, log, state)
    except KeyboardInterrupt:  # it came before or after the command, which did not see it
        code = CODES[signal.SIGINT]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what follows is no part of the command
    sys.stdout.flush()
    os._exit(code)


def run_here(arguments: Sequence[str], log: Path, state: Path) -> int:
    """Run a command with a log instead of a terminal, and return its exit code."""
    os.environ["UNBACKDOOR_STATE"] = str(state)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    settings.BUDGETS["quick"] = SMALL
    bench.BENCHES["small"] = SMALL_BENCH
    return main(arguments)


@dataclass(frozen=True)
class Work:
    """A command with what it writes.

    Args:
        arguments: of the command; ``OUT`` stands for the folder that it writes to.
        code: its exit code when it is done.

    """

    arguments: tuple[str, ...]
    code: int


def prepare(folder: Path) -> dict[str, Work]:
    """Write a network, its images and their like, and return the commands by name."""
    draw = np.random.default_rng(0)
    for name, level in {"dark": 30, "light": 200}.items():
        (folder / "data" / name).mkdir(parents=True)
        for index in range(70):
            pixels = np.clip(level + draw.integers(-20, 21, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{index:03}.png")
    (folder / "net.py").write_text(NETWORK)
    names: dict[str, object] = {}
    exec(NETWORK, names)
    torch.manual_seed(0)
    state = names["net"]().state_dict()  # pyright: ignore
    state["last.weight"] = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).repeat(1, 5) * (
        torch.arange(10) < 2
    )
    state["last.bias"] = torch.zeros(2)
    save_file(state, folder / "net.safetensors")
    arch = ("--arch", f"{folder / 'net.py'}:net", "--data", str(folder / "data"), "--threads", "1")
    quick = ("--space", "patch:2,additive:4x2", "--budget", "quick", "-f", "json", "--bag", "none")
    net = str(folder / "net.safetensors")
    fixed = ("-o", "OUT/fixed.safetensors", "--result", "OUT/repair.json")
    poison = ("--trigger", "bw:170", "--target", "1", "--rate", "0.1", "--epochs", "30")
    return {
        "scan": Work(("scan", net, *arch, *quick, "-o", "OUT/scan.json"), 1),
        "repair": Work(("repair", net, *arch, *quick, *fixed), 0),
        "attack": Work(("attack", *arch, *poison, "-o", "OUT/attacked.safetensors"), 0),
        "bench": Work(("bench", "small", "--seeds", "3", "--threads", "1", "--store", "OUT"), 0),
    }


def written(folder: Path) -> dict[str, object]:
    """Return what a command wrote, timings aside; every file must be whole."""
    content: dict[str, object] = {}
    for path in sorted(folder.glob("[!.]*")):  # hidden: written aside when a kill came
        if path.suffix == ".safetensors":
            content[path.name] = path.read_bytes()
        elif path.suffix == ".jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            content[path.name] = [untimed(json.loads(line)) for line in lines if b"\n" in line]
        else:
            content[path.name] = untimed(json.loads(path.read_bytes()))
    return content


def untimed(value: object) -> object:
    """Return JSON without what a clock said."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k != "seconds"}
    return [untimed(one) for one in value] if isinstance(value, list) else value


class Killer:
    """Kills commands at random moments.

    Args:
        folder: where everything lies.
        seed: of the moments.

    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        self.works = prepare(folder)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            [
                *(
                    f"unbackdoor.app.commands.{name}"
                    for name in ("scan", "repair", "attack", "bench")
                ),
                "unbackdoor.bench",
            ]
        )
        self.wanted: dict[str, dict[str, object]] = {}
        self.lasts: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.state = self._emptied("state")

    def kill_until_done(self, name: str, kills: int) -> None:
        """Kill a command up to ``kills`` times, let it end, and compare what it wrote."""
        try:
            if name not in self.wanted:
                began = time.perf_counter()
                self._start(name, self._emptied("out"))
                self.lasts[name] = time.perf_counter() - began
                self.wanted[name] = written(self.folder / "out")
            self._kill_until_done(name, kills, self._emptied("out"))
        finally:  # what a failure leaves is nothing that the next command would go on with
            self._emptied("out"), self._emptied("state")

    def _emptied(self, name: str) -> Path:
        """Return a folder of that name without anything in it."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir()
        return self.folder / name

    def _kill_until_done(self, name: str, kills: int, out: Path) -> None:
        done = False
        while kills > 0 and not done:
            began, fresh = time.perf_counter(), not written(out) and not list(self.state.iterdir())
            done = self._start(name, out, self.draw.uniform(0, self.lasts[name]))
            if done and fresh:  # the machine is quicker than when it was timed
                self.lasts[name] = min(self.lasts[name], time.perf_counter() - began)
            for file, content in written(out).items():
                expected = self.wanted[name][file]
                if file.endswith(".jsonl"):
                    assert content == expected[: len(content)], (name, file)  # pyright: ignore
                else:
                    assert content == expected, (name, file)
            kills -= not done
        if not done:
            assert self._start(name, out)
        assert written(out) == self.wanted[name], name
        assert not list(self.state.iterdir()), name
        self.counts[f"{name} done"] += 1

    @property
    def kills(self) -> int:
        """How many there were."""
        return sum(count for what, count in self.counts.items() if "SIG" in what)

    def _start(self, name: str, out: Path, after: float | None = None) -> bool:
        """Run a command, kill it after some seconds, and return whether it came to its end."""
        work = self.works[name]
        arguments = [text.replace("OUT", str(out)) for text in work.arguments]
        log = self.folder / "log"
        begun = self.context.Event()
        process = self.context.Process(target=run, args=(arguments, log, self.state, begun))
        process.start()
        begun.wait()
        process.join(after)
        killed = process.is_alive() and process.pid is not None
        if killed:
            number = self.draw.choice(SIGNALS)
            os.kill(process.pid, number)  # pyright: ignore
            process.join(60)
            # A command that was about to end has its own code, one that had not begun the signal's.
            allowed = {CODES[number], -number, work.code}
            assert process.exitcode in allowed, (number, process.exitcode, log.read_text()[-2000:])
            killed = process.exitcode != work.code
            self.counts[f"{name} {number.name}"] += killed
        else:
            assert process.exitcode == work.code, log.read_text()[-2000:]
        assert b"Traceback" not in log.read_bytes(), log.read_text()[-2000:]
        return not killed


def count_kills() -> None:
    """Kill as often as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), options.seed)
        while killer.kills < options.count:
            for name in killer.works:
                killer.kill_until_done(name, min(8, options.count - killer.kills))
            print(f"{killer.kills} kills; {killer.lasts}", flush=True)
        print(json.dumps(killer.counts, indent=1))


if __name__ == "__main__":
    count_kills()
