"""The journal: what was kept comes back exactly, whatever happened to the process or the disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unbackdoor.runtime.journal import ABANDONED, FORGETFUL, Journal, key_of, opened
from unbackdoor.runtime.progress import Silent
from unbackdoor.runtime.snapshot import Snapshot, take


@dataclass(frozen=True)
class Kept:
    theta: Tensor
    name: str
    value: float
    nothing: Tensor | None
    several: dict[int, list[Tensor]]


class Remarks(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, remark: str) -> None:
        self.said.append(remark)


def never() -> int:
    raise AssertionError


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    name=st.text(st.characters(codec="utf-8")),
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8]),
)
def test_what_was_kept_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory,
    value: float,
    name: str,
    shape: list[int],
    dtype: torch.dtype,
) -> None:
    tensor = (torch.rand(shape) * 200).to(dtype)
    kept = Kept(tensor.T if tensor.ndim == 2 else tensor, name, value, None, {3: [tensor, tensor]})
    with opened(tmp_path_factory.mktemp("state"), "work") as journal:
        journal.write("a step", kept)
        again = journal.read("a step", Kept)
    assert again is not None
    assert (again.name, again.value, again.nothing) == (name, value, None)
    for have, want in [
        (again.theta, kept.theta),
        *zip(again.several[3], kept.several[3], strict=True),
    ]:
        assert have.dtype == want.dtype
        assert torch.equal(have, want)


def test_a_step_is_done_once_and_only_for_the_same_work(tmp_path: Path) -> None:
    remarks = Remarks()
    with opened(tmp_path, "work", 1, progress=remarks) as journal:
        assert journal.keep("a", int, lambda: 3) == 3
        assert journal.within("part").keep("a", int, lambda: 4) == 4
    assert remarks.said == []
    with opened(tmp_path, "work", 1, progress=remarks) as journal:
        assert journal.keep("a", int, never) == 3
        assert journal.within("part").keep("a", int, never) == 4
        journal.discard()
    assert remarks.said == ["going on after 2 finished steps."]
    for other in (("work", 2), ("work", 1)):
        with opened(tmp_path, *other) as journal:
            assert journal.read("a", int) is None


def test_keys_see_every_bit_of_a_tensor() -> None:
    weights = torch.zeros(3)
    other = torch.zeros(3)
    assert key_of({"w": weights}) == key_of({"w": other})
    other[1] = -0.0
    assert key_of({"w": weights}) != key_of({"w": other})


def test_a_damaged_step_is_done_again(tmp_path: Path) -> None:
    with opened(tmp_path, "work") as journal:
        journal.write("a", [1, 2, 3])
        (path,) = tmp_path.glob("*/a.safetensors")
        whole = path.read_bytes()
        for length in range(0, len(whole), 7):
            path.write_bytes(whole[:length])
            assert journal.read("a", list[int]) is None
        path.write_bytes(whole)
        assert journal.read("a", dict[str, int]) is None
        assert journal.keep("a", list[int], never) == [1, 2, 3]


def test_an_interruption_says_how_to_go_on_if_anything_is_kept(tmp_path: Path) -> None:
    def interrupted(*steps: str) -> list[str]:
        stop = KeyboardInterrupt()

        def work() -> None:
            with opened(tmp_path, "work") as journal:
                for step in steps:
                    journal.write(step, 1)
                raise stop

        with pytest.raises(KeyboardInterrupt):
            work()
        return getattr(stop, "__notes__", [])

    assert interrupted() == []
    (note,) = interrupted("a")
    assert "same command" in note


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    remarks = Remarks()
    with opened(tmp_path, "work") as first:
        first.write("a", 1)
        with opened(tmp_path, "work", progress=remarks) as second:
            assert second.keep("a", int, lambda: 2) == 2
            second.discard()
        assert first.keep("a", int, never) == 1
    assert len(remarks.said) == 1
    assert "another process" in remarks.said[0]


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remarks = Remarks()
    with opened(tmp_path / "file", "work", progress=remarks) as journal:
        assert [journal.keep("a", int, lambda: 2), journal.keep("a", int, lambda: 3)] == [2, 3]
    assert len(remarks.said) == 1


def test_what_nobody_went_on_with_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path, "old") as journal:
        journal.write("a", 1)
    (old,) = tmp_path.iterdir()
    (tmp_path / "mine").mkdir()
    for folder in (old, tmp_path / "mine"):
        os.utime(folder, (0, time.time() - ABANDONED - 60))
    with opened(tmp_path, "new"):
        assert not old.exists()
        assert (tmp_path / "mine").exists()


def test_nothing_is_kept_where_nothing_was_asked_for(tmp_path: Path) -> None:
    for journal in (FORGETFUL, FORGETFUL.within("part")):
        assert [journal.keep("a", int, lambda: 1), journal.keep("a", int, lambda: 2)] == [1, 2]


def train(journal: Journal, epochs: int) -> tuple[list[Tensor], Tensor]:
    """Train for some epochs with everything that has a state, going on from what is kept."""
    torch.manual_seed(0)
    layer, generator = nn.Linear(2, 1), torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(layer.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=6)
    first = 0
    if (kept := journal.read("loop", Snapshot)) is not None:
        layer.load_state_dict(kept.tensors)
        kept.restore(optimiser, [generator], schedule)
        first = kept.done
    for epoch in range(first, epochs):
        layer(torch.rand(8, 2, generator=generator)).square().mean().backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        journal.write("loop", take(epoch + 1, layer.state_dict(), optimiser, [generator], schedule))
    return [parameter.detach().clone() for parameter in layer.parameters()], generator.get_state()


@pytest.mark.parametrize("stops", [(3,), (1, 2, 5), (6,)])
def test_a_loop_goes_on_to_the_bit(tmp_path: Path, stops: tuple[int, ...]) -> None:
    wanted, state = train(FORGETFUL, 6)
    with opened(tmp_path, "work") as journal:
        for stop in stops:
            train(journal, stop)
        weights, generator = train(journal, 6)
    assert all(torch.equal(have, want) for have, want in zip(weights, wanted, strict=True))
    assert torch.equal(generator, state)


FULL = """
import sys
from unbackdoor.app.cli import main
from unbackdoor.scanning import settings
from kills import SMALL
settings.BUDGETS["quick"] = SMALL
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_ends_in_a_sentence_and_nothing_half_written(tmp_path: Path) -> None:
    from kills import prepare

    work = prepare(tmp_path)["scan"]
    out = tmp_path / "out"
    out.mkdir()
    arguments = [text.replace("OUT", str(out)) for text in work.arguments]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments],
        env={**os.environ, "UNBACKDOOR_STATE": str(tmp_path / "state"), "PYTHONPATH": paths},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    said = done.stderr.splitlines()
    assert [line.startswith("unbackdoor: ") for line in said] == [True, True], done.stderr
    assert "goes on without" in said[0]
    assert "cannot be written" in said[1]
    assert list(out.iterdir()) == []
    assert not list((tmp_path / "state").rglob("*.part"))
