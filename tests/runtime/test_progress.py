from __future__ import annotations

import pytest

from unbackdoor.runtime.progress import Bars, Progress, Silent


@pytest.mark.parametrize("progress", [Silent(), Bars()])
def test_nothing_is_printed_where_there_is_no_terminal(
    progress: Progress, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.task("outer", 3) as outer, progress.task("inner", 0) as inner:
        outer.advance()
        outer.advance(2, "accuracy 0.9")
        inner.advance(0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [Silent(), Bars()])
def test_errors_pass_through(progress: Progress) -> None:
    with pytest.raises(ZeroDivisionError), progress.task("work", 1):
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
