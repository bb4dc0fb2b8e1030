"""Settings from TOML: they mirror the command line, which goes before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from unbackdoor.app.cli import Bench, main
from unbackdoor.app.options import Attack, Report, Scan
from unbackdoor.app.settings_file import with_settings
from unbackdoor.errors import ArgumentError, ContentError

COMMANDS: dict[str, type] = {"scan": Scan, "attack": Attack, "bench": Bench, "report": Report}
TEXT = """
data = "images"
threads = 2
[scan]
budget = "thorough"
mean = [0.5, 0.5, 0.5]
fail-on = "backdoored"
quiet = true
progress = false
output = "scan.json"
[bench]
seeds = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def added(*typed: str) -> str:
    arguments = with_settings([*typed], COMMANDS)
    assert arguments[: len(typed)] == [*typed]
    return " ".join(arguments[len(typed) :])


def test_options_stand_beside_tables_for_every_command_that_has_them() -> None:
    Path("own.toml").write_text(TEXT)
    assert added("scan", "m.pt", "--config", "own.toml") == (
        "--data=images --threads=2 --budget=thorough --mean 0.5 0.5 0.5 --fail-on=backdoored "
        "--quiet --no-progress --output=scan.json"
    )
    assert added("bench", "toys", "--config=own.toml") == "--threads=2 --seeds=3"
    assert added("report", "scan.json") == ""
    assert added("--help") == ""
    assert added() == ""


def test_a_list_of_data_sets_is_refused() -> None:
    Path("own.toml").write_text('data = ["a", "b"]\n')
    with pytest.raises(ContentError, match="expected one text for data, came a list; name one"):
        added("scan", "--config=own.toml")
    assert added("scan", "--config=own.toml", "--data", "a") == ""


def test_a_list_for_an_option_that_is_repeated_repeats_it() -> None:
    Path("own.toml").write_text('[attack]\ntrigger = ["bw:170@0,0", "white:4"]\n')
    assert added("attack", "--config=own.toml") == "--trigger=bw:170@0,0 --trigger=white:4"
    Path("own.toml").write_text('[attack]\ntrigger = "bw:1"\n')
    assert added("attack", "--config=own.toml") == "--trigger=bw:1"
    assert added("attack", "--config=own.toml", "--trigger", "bw:2") == ""


@pytest.mark.parametrize(
    ("typed", "left_out"),
    [
        (["--data", "x"], "--data"),
        (["--data=x"], "--data"),
        (["-o", "x.json"], "--output"),
        (["--no-quiet"], "--quiet"),
        (["--progress"], "--no-progress"),
        (["--fail-on", "inconclusive"], "--fail-on"),
        (["--fail_on", "inconclusive"], "--fail-on"),
        (["-ox.json"], "--output"),
        (["--no_quiet"], "--quiet"),
    ],
)
def test_what_is_typed_goes_before(typed: list[str], left_out: str) -> None:
    Path("own.toml").write_text(TEXT)
    assert left_out not in added("scan", "m.pt", "--config", "own.toml", *typed)


def test_the_project_of_the_working_folder_is_read_unless_another_file_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n[tool.unbackdoor]\nseed = 7\n")
    assert added("scan", "m.pt") == "--seed=7"
    assert capsys.readouterr().err == "unbackdoor: pyproject.toml adds --seed=7\n"
    assert added("scan", "m.pt", "--quiet") == "--seed=7"
    assert capsys.readouterr().err == ""
    Path("own.toml").write_text("seed = 8")
    assert added("scan", "m.pt", "--config", "own.toml") == "--seed=8"
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert added("scan", "m.pt") == ""


def test_a_project_that_is_no_toml_is_for_others_to_mend_unless_it_speaks_of_this_tool() -> None:
    Path("pyproject.toml").write_text("no toml")
    assert added("scan", "m.pt") == ""
    Path("pyproject.toml").write_text("[tool.unbackdoor]\nfail-on = backdoored")
    with pytest.raises(ContentError, match="no TOML"):
        with_settings(["scan", "m.pt"], COMMANDS)


def test_options_stand_before_names_that_look_like_options() -> None:
    Path("own.toml").write_text("seed = 7")
    arguments = ["scan", "--config", "own.toml", "--", "-weird.pt"]
    assert with_settings(arguments, COMMANDS)[-3:] == ["--seed=7", "--", "-weird.pt"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[tool.unbackdoor]\nbugdet = 'quick'", "unknown option 'bugdet'"),
        ("[tool.unbackdoor.scan]\nseeds = 3", "unknown option 'seeds'"),
        ("[tool.unbackdoor.bench]\nbudget = 'quick'", "unknown option 'budget'"),
        ("[tool.unbackdoor.scan]\nmodels = ['x']", "unknown option 'models'"),
        ("[tool.unbackdoor]\nconfig = 'other.toml'", "unknown option 'config'"),
        ("[tool.unbackdoor]\nseed = {a = 1}", "came {'a': 1}"),
        ("[tool.unbackdoor]\nquiet = 'yes'", "expected true or false for quiet, came 'yes'"),
        ("[tool.unbackdoor]\nseed = true", "expected text, a number or a list for seed"),
        ("[tool]\nunbackdoor = 3", "table"),
        ("[tool.unbackdoor]\narch = 'net.py:net'", "would be executed"),
        ("[tool.unbackdoor.scan]\noutput = 'mine.txt'", "came output; type --output"),
        ("[tool.unbackdoor]\ndata = ['x', '--arch=net.py:net']", "would be executed"),
        ("[tool.unbackdoor.scan]\nlabels = '--quiet'", "does not begin with -"),
        ("[tool.unbackdoor]\nmean = ['-q', '--config=x']", "does not begin with -"),
    ],
)
def test_what_is_wrong_gets_a_sentence(text: str, sentence: str) -> None:
    Path("pyproject.toml").write_text(text)
    with pytest.raises(ContentError, match=sentence):
        with_settings(["scan", "m.pt"], COMMANDS)


def test_code_may_be_named_by_a_file_that_the_user_named() -> None:
    Path("own.toml").write_text("arch = 'net.py:net'")
    assert added("scan", "m.pt", "--config", "own.toml") == "--arch=net.py:net"
    Path("pyproject.toml").write_text("[tool.unbackdoor]\narch = 'net.py:net'")
    assert added("scan", "m.pt", "--config", "pyproject.toml") == "--arch=net.py:net"


def test_a_file_that_is_not_there_or_no_toml(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArgumentError, match="cannot be read"):
        with_settings(["scan", "m.pt", "--config", "none.toml"], COMMANDS)
    Path("own.toml").write_text("no toml")
    with pytest.raises(ContentError, match="no TOML"):
        with_settings(["scan", "m.pt", "--config", "own.toml"], COMMANDS)
    assert main(["scan", "m.pt", "--config", "own.toml"]) == 2
    assert main(["scan", "m.pt", "--config", "none.toml"]) == 4
    assert capsys.readouterr().err.count("\n") == 2


def test_values_of_a_file_are_checked_like_typed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.toml").write_text("seed = 'many'\ndata = 'x'")
    assert main(["scan", "m.pt", "--config", "own.toml"]) == 4
    assert "seed" in capsys.readouterr().err


def test_a_list_of_networks_can_name_code_and_is_refused_too() -> None:
    Path("pyproject.toml").write_text("[tool.unbackdoor.bench]\nlist = 'theirs.toml'")
    with pytest.raises(ContentError, match="list must not name a file there"):
        added("bench", "families")
