"""A model and its images are prepared in one way, whether from a file or from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from kills import SMALL
from unbackdoor import api
from unbackdoor.data import Images, Split
from unbackdoor.models import Loaded
from unbackdoor.runtime.journal import key_of, opened
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import PLAIN
from unbackdoor.subject import InputSettings, Subject


class Bright(nn.Module):
    """Tells bright from dark."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        level = self.slope * (images.mean((1, 2, 3)) - 0.45)
        return torch.stack([-level, level], 1)


class Remarks(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, remark: str) -> None:
        self.said.append(remark)


def pictures(seed: int = 0) -> Split:
    labels = torch.arange(96) % 2
    noise = torch.randint(40, (96, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    pixels = (noise + 160 * labels[:, None, None, None]).to(torch.uint8)
    return Split(*Images.of("images", ("dark", "bright"), pixels, labels).divide(0.5))


def loaded(sha256: str = "", module: nn.Module | None = None) -> Loaded:
    return Loaded((module or Bright()).eval(), name="", sha256=sha256, arch="Bright")


def test_equal_subjects_have_one_identity_and_others_have_another() -> None:
    subject = Subject.of(loaded(), pictures())
    same = key_of(subject.identity)
    assert key_of(Subject.of(loaded(), pictures()).identity) == same
    steeper = Bright()
    steeper.slope.data += 1
    others = [
        Subject.of(loaded(module=steeper), pictures()),
        Subject.of(loaded(sha256="0" * 64), pictures()),
        Subject.of(replace(loaded(), arch="Other"), pictures()),
        Subject.of(loaded(), pictures(seed=1)),
        Subject.of(loaded(), pictures(), fitting=InputSettings(labels={"dark": 0, "bright": 1})),
        replace(subject, reserve=Subject.of(loaded(), pictures(seed=1)).reserve),
    ]
    keys = [key_of(other.identity) for other in others]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        keys.append(key_of(subject.identity))
    finally:
        torch.set_num_threads(threads)
    assert len({same, *keys}) == 1 + len(keys)


def test_a_model_of_one_file_that_answers_otherwise_is_another() -> None:
    """The code that --arch names is not in the file of the weights."""
    steeper = Bright()
    steeper.slope.data += 1
    subjects = [Subject.of(loaded("0" * 64, module), pictures()) for module in (Bright(), steeper)]
    assert len({key_of(subject.identity) for subject in subjects}) == 2


def test_python_and_commands_prepare_and_scan_alike(tmp_path: Path) -> None:
    split = pictures()
    everything = Images.of("images", split.defend.classes, split.defend.pixels, split.defend.labels)
    subject = Subject.of(loaded(), Split(*everything.divide(api.DEFEND_SHARE)))
    found = subject.scan("patch:1", SMALL, 3)
    args = (Bright().eval(), everything.pixels, everything.labels)
    given = {"classes": everything.classes, "space": "patch:1", "settings": SMALL, "seed": 3}
    given |= {"terms": PLAIN}
    again = api.scan(*args, **given)
    assert msgspec.structs.replace(again, seconds=found.seconds) == found
    with opened(tmp_path, "scan", subject.identity, "patch:1", SMALL, 3, PLAIN) as journal:
        journal.write("step", 1)
    remarks = Remarks()
    assert api.scan(*args, **given, state=tmp_path, progress=remarks).classes == found.classes
    assert remarks.said == ["going on after 1 finished step."]
    assert not list(tmp_path.iterdir())


def test_what_is_seen_is_said_where_it_was_asked_for() -> None:
    remarks = Remarks()
    training = Bright()
    subject = Subject.of(replace(loaded(), module=training.train()), pictures(), progress=remarks)
    assert [finding.check for finding in subject.findings] == ["train mode"]
    assert remarks.said == []
    subject.say_findings()
    assert remarks.said == [f"note: {subject.findings[0].sentence}"]
