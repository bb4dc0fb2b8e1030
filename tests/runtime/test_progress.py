from __future__ import annotations

import pytest
import torch
from torch import nn

from unbackdoor.preflight import reported
from unbackdoor.runtime import progress
from unbackdoor.runtime.progress import Bars, Progress, Silent


@pytest.mark.parametrize("shown", [Silent(), Bars()])
def test_nothing_is_printed_where_there_is_no_terminal(
    shown: Progress, capfd: pytest.CaptureFixture[str]
) -> None:
    with shown.task("outer", 3) as outer, shown.task("inner", 0) as inner:
        outer.advance()
        outer.advance(2, "accuracy 0.9")
        inner.advance(0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shown", [Silent(), Bars()])
def test_errors_pass_through(shown: Progress) -> None:
    with pytest.raises(ZeroDivisionError), shown.task("work", 1):
        raise ZeroDivisionError


def test_bars_speak_on_standard_error_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Bars().task("training", 2) as task:
        task.advance(1, "accuracy 0.9")
        task.advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "training" in err
    assert "accuracy 0.9" in err


def test_without_a_terminal_a_line_is_said_at_times(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 30.0)
    now = [0.0]
    bars = Bars(clock=lambda: now[0])
    with bars.task("outer", 10) as outer, bars.task("inner", None) as inner:
        for seconds in (10, 29, 31, 45, 62, 63):
            now[0] = seconds
            outer.advance(1, "accuracy 0.9")
            inner.advance()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "unbackdoor: outer: 30%, accuracy 0.9",
        "unbackdoor: outer: 50%, accuracy 0.9",
    ]
    quiet = Bars(shown=False, clock=lambda: now[0])
    with quiet.task("work", 2) as task:
        now[0] = 1000
        task.advance()
    assert capfd.readouterr() == ("", "")


def test_the_passes_of_a_check_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    network = nn.Identity()
    with reported(network, progress.Bars()):
        network(torch.zeros(1))
    network(torch.zeros(1))
    assert capsys.readouterr().err.count("check of the model: under way") == 1
