"""Forms that people type are taken as they are meant, or refused with the one that is read."""

from __future__ import annotations

import pytest

from unbackdoor.app.cli import main
from unbackdoor.app.typed import as_meant
from unbackdoor.errors import ArgumentError

MEANT = {
    "scan m.pt --mean .5,.4,.3 --data d": "scan m.pt --mean .5 .4 .3 --data d",
    "scan --std=.5,.4,.3 m.pt": "scan --std .5 .4 .3 m.pt",
    "scan --mean [.5, .4, .3] --seed 1": "scan --mean .5 .4 .3 --seed 1",
    "scan --mean -.5,-.4 --std 1 1 1": "scan --mean -.5 -.4 --std 1 1 1",
    "scan --mean=.5": "scan --mean .5",
    "scan --size 32x32 m.pt": "scan --size 32 m.pt",
    "scan --size=32×32": "scan --size 32",
    "scan --size 32,32": "scan --size 32",
    "scan --size 32 32 m.pt": "scan --size 32 m.pt",
    "scan --size 32 --data a,b -o x": "scan --size 32 --data a,b -o x",
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
