"""The terminal table: words, few lines, and no markup from outside."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from report.families import NOT_SEARCHED, SPACES, of_family
from report.synthetic import NAMES, of_folder, repair, scan, wrecked
from unbackdoor.report.page import page
from unbackdoor.report.sentences import REPAIR, UNLEARN, next_step
from unbackdoor.report.table import show
from unbackdoor.results import Result, Verdict

MOST_LINES = 28


def printed(result: Result, *, width: int = 100, colour: bool = False) -> str:
    file = io.StringIO()
    system = "truecolor" if colour else None
    show(result, Console(file=file, width=width, color_system=system, force_terminal=colour))
    return file.getvalue()


def test_scan() -> None:
    text = printed(scan())
    lines = text.splitlines()
    assert lines[:3] == [
        "Searched: square patch of 3 pixels.",
        "● Backdoored: any picture becomes an airplane",
        "Trigger towards airplane: square patch of 3 pixels at any place.",
    ]
    assert len(lines) <= MOST_LINES
    (row,) = [line for line in lines if line.startswith("airplane ")]
    assert row.split() == ["airplane", "●", "backdoored", "99.8", "%", "−12.0", "−21.0", "−24.0"]
    assert all(any(line.startswith(name) for line in lines) for name in NAMES)
    assert "\x1b" not in text
    assert lines[-1].startswith("log|V|: log of the share of all triggers that work")


def test_how_the_pictures_of_a_folder_were_read_is_a_line() -> None:
    line = "Pictures: read 4,000, passed over 3 (2 .txt, 1 hidden), turned 32"
    found = of_folder(scan())
    assert line in printed(found).splitlines()
    repaired = msgspec.structs.replace(repair(), rescan=found)
    assert line in printed(repaired).splitlines()
    assert "Pictures" not in printed(scan())


def test_what_to_do_next_is_said_on_the_page_and_where_it_is_open_on_the_terminal() -> None:
    steps = {"backdoored": REPAIR, "inconclusive": UNLEARN}
    verdicts: tuple[Verdict, ...] = ("backdoored", "inconclusive", "clean")
    for verdict in verdicts:
        result = scan(verdict)
        html, text = page(result), " ".join(printed(result).split())
        for what, step in steps.items():
            assert (step.replace("'", "&#39;") in html) == (what == verdict)
        assert (UNLEARN in text) == (verdict == "inconclusive")
        assert REPAIR not in text


def test_where_no_trigger_is_in_doubt_there_is_nothing_to_unlearn() -> None:
    result = scan("inconclusive")
    anyway = [msgspec.structs.replace(one, confusion=0.4) for one in result.classes]
    clean = [msgspec.structs.replace(one, status="clean") for one in result.classes]
    for classes in (anyway, clean):
        assert next_step(msgspec.structs.replace(result, classes=classes)) == ""


KINDS = (
    "patches up to 4×4 of 32×32 pixels at any place; masked patterns over up to 1 %; "
    "additive pattern up to 4/255 pixel by pixel; additive pattern up to 16/255 on a grid of 16×16"
)


def test_what_was_searched_takes_four_lines_and_comes_before_clean() -> None:
    left = f"{NOT_SEARCHED}; patches that are larger; changes outside the picture"
    result = msgspec.structs.replace(
        of_family("warp:2x4", "clean"), searched=KINDS, not_searched=left
    )
    lines = printed(result, width=80).splitlines()
    (verdict,) = [number for number, line in enumerate(lines) if "Clean: no backdoor" in line]
    assert verdict <= 4
    said = " ".join(" ".join(lines[:verdict]).split())
    assert said.startswith("Searched, up to limited strengths: square patches, masked patterns, ")
    assert said.endswith(f"Not searched: all else, such as {NOT_SEARCHED}.")
    assert "clean" not in said.lower()


def test_a_model_that_guesses_has_no_table_of_classes() -> None:
    result = msgspec.structs.replace(
        scan("inconclusive"), searched="nothing, because the model guesses", spaces=[]
    )
    text = printed(result)
    assert text.startswith("Searched: nothing, because the model guesses.\n? Inconclusive")
    assert "suspicious" not in text


def test_many_spaces() -> None:
    text = " ".join(printed(of_family("patch:3@28,28")).split())
    said = ["Searched: patches", f"Not searched: {NOT_SEARCHED}.", "● Backdoored"]
    assert sorted(said, key=text.index) == said
    assert "Trigger towards airplane: square patch (patch:3) at row 28, column 28." in text
    assert "airplane ● backdoored 97.0 % patch:3@28,28" in text
    assert "horse ○ clean 16.6 % warp:2x4" in text
    clean = " ".join(printed(of_family("warp:2x4", "clean")).split())
    assert clean.index("Not searched:") < clean.lower().index("clean")


@pytest.mark.parametrize("name", SPACES)
def test_only_patches_are_drawn_in_colour(name: str) -> None:
    drawn = "mean trigger" in printed(of_family(name, count=20), colour=True)
    assert drawn == name.startswith("patch")


def test_mean_trigger_in_colour() -> None:
    text = printed(scan(), colour=True)
    assert "mean trigger at β 0.9" in text
    assert text.count("\x1b[48;2;") >= 9
    assert len(text.splitlines()) <= MOST_LINES
    assert "mean trigger" not in printed(scan("clean"), colour=True)
    assert "mean trigger" not in printed(scan(size=8, count=20), colour=True)


def test_repair() -> None:
    text = printed(repair())
    assert text.splitlines()[1] == "○ Repaired: the backdoor is no longer found"
    assert "Scanned again: ○ Clean: no backdoor found" in text
    assert "Written to fixed.safetensors" in text
    (row,) = [line for line in text.splitlines() if line.startswith("repaired ")]
    assert row.split() == ["repaired", "89.8", "%", "1.4", "%", "1.2", "%", "1.0", "%"]
    assert "unknown" in printed(repair(known=False))


def test_a_repair_that_is_not_good_enough_shows_what_accuracy_buys() -> None:
    text = printed(wrecked("stuck"))
    assert text.splitlines()[1].startswith("? Not repaired")
    assert "towards “airplane” are unlearnt" in text
    assert "Scanned again" not in text
    assert "Written" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["before", "0", "0.0", "%", "99.0", "%", "–"] in rows
    assert ["2", "27,000", "0.8", "%", "2.0", "%", "−18.0", "%"] in rows
    assert ["1", "9,000", "31.0", "%", "1.0", "%", "−19.0", "%"] in rows
    assert "trade-off" not in printed(repair())


def test_hundred_classes_are_cut_to_the_most_successful() -> None:
    text = printed(scan(names=tuple(f"class {n}" for n in range(100)), targets=(40,)))
    assert len(text.splitlines()) <= MOST_LINES
    assert "… and 88 more classes, ASR 8.0 % at most" in text


@pytest.mark.parametrize("name", ["[bold red]x[/]", "[/]", "\x1b[31mred", "a\nb", "x" * 200])
@pytest.mark.parametrize("colour", [False, True])
def test_text_from_outside_is_text(name: str, colour: bool) -> None:
    text = printed(scan(names=(name, *NAMES[1:]), path=name), colour=colour)
    assert "\x1b[31mred" not in text
    assert ("[bold red]x[/]" in text) == (name == "[bold red]x[/]")
    assert "\na" not in text or name != "a\nb" or "a b" in text


def test_narrow_terminal() -> None:
    assert max(map(len, printed(scan(), width=60).splitlines())) <= 60
