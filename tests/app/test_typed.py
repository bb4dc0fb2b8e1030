"""Forms that people type are taken as they are meant, or refused with the one that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from unbackdoor.app.cli import main
from unbackdoor.app.typed import as_meant
from unbackdoor.errors import ArgumentError

MEANT = {
    "scan m.pt --mean .5,.4,.3 --data d": "scan m.pt --mean .5 .4 .3 --data d",
    "scan --std=.5,.4,.3 m.pt": "scan m.pt --std .5 .4 .3",
    "scan --mean [.5, .4, .3] --seed 1": "scan --mean .5 .4 .3 --seed 1",
    "scan --mean -.5,-.4 --std 1 1 1": "scan --mean -.5 -.4 --std 1 1 1",
    "scan --mean=.5": "scan --mean .5",
    "scan --size 32x32 m.pt": "scan --size 32 m.pt",
    "scan --size=32×32": "scan --size 32",
    "scan --size 32,32": "scan --size 32",
    "scan --size 32 32 m.pt": "scan --size 32 m.pt",
    "scan --size 3x32x32": "scan --size 32",
    "scan --size 32 32 3 m.pt": "scan --size 32 m.pt",
    "scan --size (1, 28, 28)": "scan --size 28",
    "scan --size 3 3 3": "scan --size 3",
    "scan --size None --mean None": "scan --size None --mean None",
    "scan --size -3": "scan --size -3",
    "scan --size 32 ./7": "scan --size 32 ./7",
    "scan --size": "scan --size",
    "scan --size 32 --data a,b -o x": "scan --size 32 --data a,b -o x",
    "scan --mean .5 .5 .5 m.pt n(1).pt": "scan m.pt n(1).pt --mean .5 .5 .5",
    "scan a.pt --std 1 1 1 b.pt --mean .5 c.pt": "scan a.pt b.pt c.pt --std 1 1 1 --mean .5",
    "scan --mean [ .5 .4 .3 ] --seed 1": "scan --mean .5 .4 .3 --seed 1",
    "scan --data=a=b --trigger bw:1@0,0": "scan --data=a=b --trigger bw:1@0,0",
    "scan --data a --data a": "scan --data a --data a",
    "scan --data a -- --data b --size 1x1": "scan --data a -- --data b --size 1x1",
}


@pytest.mark.parametrize("typed", MEANT)
def test_it_is_taken_as_it_is_meant(typed: str) -> None:
    assert as_meant(typed.split()) == MEANT[typed].split()


@pytest.mark.parametrize("typed", ["--size 32x48", "--size 48,32", "--size=48x32", "--size 48 32"])
def test_sides_that_are_not_equal_are_refused_with_one_that_works(typed: str) -> None:
    with pytest.raises(ArgumentError, match="expected the side of a square, such as --size 32, ca"):
        as_meant(["scan", *typed.split()])


@pytest.mark.parametrize("typed", ["--data a --data b", "--data=a --data=b", "--data a --data=b"])
def test_two_data_sets_are_refused(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "shipped:clean", *typed.split()]) == 4
    said = capsys.readouterr().err
    assert "--data: expected one data set, came a, b; name one" in said
    assert said.count("\n") == 1


WRONG = {
    "--size m.pt": "--size: expected the side of a square in pixels, such as --size 32, came m.pt.",
    "--size 32px": "such as --size 32, came 32px.",
    "--size 28.0": "such as --size 28, came 28.0.",
    "--size=": "such as --size 32, came an empty text.",
    "--size 99999999999": "such as --size 32, came 99999999999.",
    "--size 3x32x48": "such as --size 32, came 3x32x48.",
    "--mean m.pt": "--mean: expected one number or three, such as --mean 0.5 0.5 0.5, came m.pt.",
    "--std=": "--std: expected one number or three, such as --std 0.5 0.5 0.5, came an empty text.",
    "--mean .5,.5,x": "came .5,.5,x.",
}


@pytest.mark.parametrize("typed", WRONG)
def test_what_is_no_number_is_said(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "shipped:clean", "--data", "cifar10-sample", *typed.split()]) == 4
    said = capsys.readouterr().err
    assert WRONG[typed] in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--size 32 7", "--size: expected one number, came 32 7, and there is a path 7; write ./7"),
        ("--size=32 7", "--size: expected one number, came 32 7, and there is a path 7; write ./7"),
        ("--size 7x7 7", "came 7x7 7, and there is a path 7; write ./7 where you mean that"),
        ("--mean .5 7", "--mean: expected one number or three, came .5 7, and there is a path 7;"),
        ("--std 1 1 1 7", "--std: expected one number or three, came 1 1 1 7, and there is a pa"),
    ],
)
def test_a_number_that_is_a_path_too_is_not_guessed(
    typed: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "1").mkdir()
    arguments = ["scan", *typed.split(), "--data", "cifar10-sample"]
    assert main(arguments) == 4
    assert says in capsys.readouterr().err
    written = [f"./{one}" if one == "7" else one for one in arguments]
    assert main(written) == 2
    assert "MODEL: there is no file in 7 that could be a model" in capsys.readouterr().err
    assert as_meant(["scan", "--mean", "1", "1", "1"]) == ["scan", "--mean", "1", "1", "1"]
