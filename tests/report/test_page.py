"""The page: complete, self-contained, deaf to injection, accessible, and small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.families import NOT_SEARCHED, SPACES, of_family
from report.hostile import EVIL, PAYLOADS, harmless, poisoned
from report.synthetic import NAMES, of_folder, repair, scan, unscanned, wrecked
from unbackdoor import results
from unbackdoor.errors import ContentError, printable
from unbackdoor.report.page import page, write_page, write_pages
from unbackdoor.results import Result, ScanResult, Unscanned

VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Reads a page: its elements in order, and that each is closed where it should be."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, *tags: str) -> Iterator[tuple[str, dict[str, str]]]:
        return ((tag, attributes) for tag, attributes in self.elements if tag in tags)

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """Elements and names of attributes: what no text from outside may change."""
        return [(tag, [*attributes]) for tag, attributes in self.elements]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


RESULTS: dict[str, Result | Unscanned] = {
    "backdoored": scan(),
    "unknown trigger": scan(original=False),
    "clean": scan("clean"),
    "of a folder": of_folder(scan("clean")),
    "inconclusive": scan("inconclusive"),
    "repaired": repair(),
    "not repaired": repair("backdoored", known=False),
    "unconfirmed": repair("inconclusive"),
    "no state will do": wrecked("stuck"),
    "accuracy lost": wrecked("lost"),
    "hundred classes": scan(names=tuple(f"class {n}" for n in range(100)), targets=(3, 40, 77)),
    "ten targets": scan(targets=tuple(range(10)), size=8, count=30),
    "no valid draws": scan(valid=0.0),
    "no draws": scan(count=0, original=False),
    "no examples": scan(examples=0),
    "grey, one pixel": scan(size=1, shape=(1, 28, 28)),
    "sixteen pixels": scan(size=16, shape=(3, 64, 96), count=60),
    "long name": scan(names=("x" * 200, *NAMES[1:])),
    **{name: of_family(name) for name in SPACES},
    "no density": of_family("dynamic:8", law="no density"),
    "no law": of_family("warp:2x4", law="none"),
    "many spaces, clean": of_family("additive:4", "clean"),
    "many spaces, inconclusive": of_family("blend:15x16", "inconclusive", law="no density"),
    "grey mask": of_family("mask:3", shape=(1, 28, 28)),
    "grey filter": of_family("filter:25", shape=(1, 28, 28)),
    "repaired patch": repair(before=of_family("patch:3@28,28")),
    "injected": poisoned(repair(), EVIL),
    "many spaces, injected": poisoned(of_family("mask:3", count=9), EVIL),
    "not scanned": unscanned(),
}


@pytest.fixture(scope="module", params=RESULTS)
def rendered(request: pytest.FixtureRequest) -> tuple[str, Outline]:
    content = page(RESULTS[request.param])
    return content, Outline(content)


def test_nothing_is_loaded_or_run(rendered: tuple[str, Outline]) -> None:
    content, outline = rendered
    assert "<script" not in content.lower()
    assert not re.search(r"https?://", content)
    assert "@import" not in content
    assert "url(" not in content
    for _, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:image/png;").startswith("data:image/png;")


def test_structure(rendered: tuple[str, Outline]) -> None:
    _, outline = rendered
    assert [attributes["lang"] for _, attributes in outline.all("html")] == ["en"]
    assert len(list(outline.all("main"))) == 1
    levels = [int(tag[1]) for tag, _ in outline.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later - former <= 1 for former, later in pairwise(levels))


def test_everything_has_words(rendered: tuple[str, Outline]) -> None:
    _, outline = rendered
    for _, attributes in outline.all("svg"):
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 20
    assert all(attributes["alt"] for _, attributes in outline.all("img"))
    assert all(attributes.get("scope") in {"row", "col"} for _, attributes in outline.all("th"))
    assert len(list(outline.all("caption"))) == len(list(outline.all("table")))


def test_page_is_small_and_not_spoilt(rendered: tuple[str, Outline]) -> None:
    content, outline = rendered
    assert len(content.encode()) < 1_500_000
    visible = outline.text.replace("{{ 7*7 }}", "")
    assert not re.search(r"\b(nan|inf|None(?! of them)|undefined)\b|\{\{|\}\}|&amp;", visible)


def test_figures_of_a_found_backdoor() -> None:
    outline = Outline(page(RESULTS["backdoored"]))
    classes = [attributes.get("class", "") for _, attributes in outline.elements]
    assert classes.count("curves wide") == 1
    assert classes.count("curves narrow") == 1
    assert classes.count("panel") == 3
    assert classes.count("ring") == 3
    assert classes.count("example") == 8
    assert classes.count("gallery") == 1
    images = [attributes for tag, attributes in outline.elements if tag == "image"]
    assert len(images) == 3 * 150 + 8
    for words in (
        "Backdoored: any picture becomes an airplane",
        "planted bw:170",
        "nearest draw RMS 0.112",
        "0.387",
        "What this scan cannot see",
        "Power.",
        "412,350",
        "uniform_draws",
    ):
        assert words in outline.text


def test_repair_shows_before_and_after() -> None:
    outline = Outline(page(RESULTS["repaired"]))
    assert "Repaired: the backdoor is no longer found" in outline.text
    assert "99.8 % → to 1.2 %" in outline.text
    assert "90.1 % → to 89.8 %" in outline.text
    again = outline.text.index("scanned again Searched: square patch of 3 pixels.")
    assert again < outline.text.index("○ Clean: no backdoor found.")
    assert "unknown" not in outline.text.split("Clean accuracy")[1].split("The control")[0]
    assert "unknown" in Outline(page(RESULTS["not repaired"])).text
    assert "What the scan after the repair cannot see" in outline.text
    assert "All rates come from" not in outline.text  # two scans and the repair have images each
    for meaning in (
        "same schedule on the same images",
        "planted triggers in place",
        "never had a backdoor",
        "by mistake",
    ):
        assert meaning in outline.text


def test_clean_page_has_no_triggers_and_states_its_power() -> None:
    clean = scan("clean")
    text = Outline(page(clean)).text
    assert "The triggers that were found" not in text
    assert "not that there is none" in text
    checked = msgspec.structs.replace(clean, power_checked=True)
    assert "not that there is none" not in Outline(page(checked)).text


def test_many_kinds_of_triggers_are_a_list_before_the_verdict() -> None:
    kinds = ["patches at any place", "elastic warps up to 2 pixels", "colour <b>filters</b>"]
    result = msgspec.structs.replace(
        scan("clean"), searched="; ".join(kinds), not_searched="scenes; orders"
    )
    text = Outline(page(result)).text
    said = [
        "Searched for 3 kinds of triggers; of any other kind nothing is known:",
        *kinds,
        "Not searched: scenes; orders.",
        "Clean: no backdoor found",
    ]
    body = text[text.index("Scan for backdoors") :]
    assert sorted(said, key=body.index) == said


def test_a_model_that_guesses_has_neither_classes_nor_triggers() -> None:
    result = msgspec.structs.replace(
        scan("inconclusive"), searched="nothing, because the model guesses", spaces=[]
    )
    text = Outline(page(result)).text
    assert "Searched: nothing, because the model guesses. ? Inconclusive" in text
    assert "none of patch:3" in text
    for words in ("Class by class", "Towards", "attack success of the best trigger", "▲"):
        assert words not in text


def test_triggers_of_suspicious_classes_are_not_called_found() -> None:
    text = Outline(page(scan("inconclusive"))).text
    assert "The best triggers of suspicious classes" in text
    assert "Towards cat (suspicious only)" in text
    assert "that were found" not in text


def test_what_was_searched_is_said_before_clean() -> None:
    text = Outline(page(RESULTS["many spaces, clean"])).text
    body = text[text.index("Scan for backdoors") :]
    said = body.index("Searched: patches at every place")
    assert said < body.index(f"Not searched: {NOT_SEARCHED}.") < body.lower().index("clean")
    older = msgspec.structs.replace(scan("clean"), spaces=[])
    assert "Searched: patch:3. ○ Clean" in Outline(page(older)).text


@pytest.mark.parametrize("name", [*SPACES, "many spaces, clean"])
def test_every_space_and_place_that_was_tried_is_shown(name: str) -> None:
    result = RESULTS[name]
    assert isinstance(result, ScanResult)
    outline = Outline(page(result))
    classes = [attributes.get("class", "") for _, attributes in outline.elements]
    assert [classes.count(f"rungs {size}") for size in ("wide", "narrow")] == [1, 1]
    assert classes.count("places") == 1
    assert classes.count("heat") in Counter(one.size for one in result.places).values()
    assert ("spot dark" in classes) == (name == "patch:3@28,28" or name == "mask:3")
    for space in result.spaces:
        assert f"{space.name} {space.description}" in outline.text
    assert "No estimate" not in outline.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("patch:3@28,28", "Square patch (patch:3) at row 28, column 28 ."),
        ("mask:3", "mask: white covers all pattern under it"),
        ("additive:4", "what is added, up to ± 4 of 255; grey changes nothing"),
        ("blend:15x16", "what is blended in at 15 %"),
        ("warp:2x4", "full colour is 2 of 32 pixels"),
        ("filter:25", "Colour × red × green × blue + γ new red"),
        ("dynamic:8", "the weights of the small network"),
        ("grey mask", "the pattern where its mask lets it through"),
        ("grey filter", "× channel 0 + γ new channel 0"),
    ],
)
def test_a_found_trigger_is_told_in_the_words_of_its_family(name: str, words: str) -> None:
    text = Outline(page(RESULTS[name])).text
    assert words in text
    assert "By class, these are from 91.0 % of automobile to 99.0 % of truck." in text


def test_a_trigger_that_sends_each_class_to_its_own_is_told_as_such() -> None:
    found = of_family("patch:3", law="none")
    first = msgspec.structs.replace(found.classes[0], goal=[*range(1, 10), 0])
    text = Outline(page(msgspec.structs.replace(found, classes=[first, *found.classes[1:]]))).text
    rate = f"{100 * first.asr:.1f} %"
    assert f"Its best trigger sends each class to one of its own, {rate} of the held-back" in text
    assert f"{NAMES[0]} → {NAMES[1]}, {NAMES[1]} → {NAMES[2]}" in text
    assert "By class, these are" not in text


@pytest.mark.parametrize(
    ("name", "gain"), [("additive:4", "32"), ("blend:15x16", None), ("dynamic:8", "16")]
)
def test_a_change_of_the_whole_picture_is_amplified(name: str, gain: str | None) -> None:
    outline = Outline(page(RESULTS[name]))
    assert len([a for _, a in outline.all("figure") if a.get("class") == "example three"]) == 8
    assert f"The third picture is the difference{f', amplified × {gain}' if gain else ''}" in (
        outline.text
    )
    assert "(outlined)" not in outline.text


def test_without_a_law_or_its_density_nothing_is_empty() -> None:
    none = Outline(page(RESULTS["no law"])).text
    assert "The triggers that were found" in none
    for words in ("distribution", "stair β", "log|V β |", "A filled dot is an estimate"):
        assert words not in none
    text = Outline(page(RESULTS["no density"])).text
    assert "several: each small picture is one of them" in text
    for words in ("distribution", "effective sample size", "no estimate", "weight γ"):
        assert words not in text


def test_suspicious_class_is_shown() -> None:
    text = Outline(page(RESULTS["inconclusive"])).text
    assert "▲ suspicious" in text
    assert "Towards cat" in text


def test_draws_that_do_not_reach_are_said_to_fail() -> None:
    assert "None of them reaches β" in Outline(page(RESULTS["no valid draws"])).text
    assert "no estimate" in Outline(page(RESULTS["no valid draws"])).text


def test_hundred_classes_are_folded() -> None:
    outline = Outline(page(RESULTS["hundred classes"]))
    assert "The other 80 classes" in outline.text
    rows = [attributes for tag, attributes in outline.all("th") if attributes["scope"] == "row"]
    assert len([one for one in rows if one.get("class") == "class-name"]) == 100


def test_findings_of_the_preflight_are_shown_warnings_first() -> None:
    text = Outline(page(scan("clean"))).text
    warning, note = text.index("Warning, duplicates ."), text.index("Note, softmax .")
    assert warning < text.index("12 of 1500 held-back") < text.index("Remove duplicates") < note
    assert "noticed" not in Outline(page(msgspec.structs.replace(scan(), preflight=[]))).text


def test_a_model_that_was_not_scanned_is_not_called_clean() -> None:
    text = Outline(page(unscanned())).text
    for words in (
        "Not scanned",
        "wants to import os.system",
        "is not clean",
        "Exit code 2",
        "5d5d",
    ):
        assert words in text
    nothing = msgspec.structs.replace(unscanned().model, sha256="")
    assert "cannot be read" in page(msgspec.structs.replace(unscanned(), model=nothing))


def test_several_models_have_a_page_that_names_the_worst_and_links_to_each(tmp_path: Path) -> None:
    write_pages([scan("clean", path=PAYLOADS[0]), unscanned(), scan("inconclusive")], tmp_path)
    outline = Outline((tmp_path / "index.html").read_text())
    text = outline.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "1 not scanned, 1 inconclusive, 1 clean" in text
    assert "It is not clean" in outline.text
    links = [attributes["href"] for _, attributes in outline.all("a")]
    assert links == ["0001.html", "0002.html", "0003.html"]
    assert all((tmp_path / link).is_file() for link in links)
    plain = tmp_path / "plain"
    write_pages([scan("clean"), unscanned(), scan("inconclusive")], plain)
    assert Outline((plain / "index.html").read_text()).shape == outline.shape


HOSTS = (
    scan(count=4, examples=1),
    repair(before=scan(count=4, examples=1)),
    of_family("patch:3@28,28", count=4),
    unscanned(),
)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("host", HOSTS, ids=("scan", "repair", "many spaces", "unscanned"))
def test_injected_text_is_text(host: Result | Unscanned, payload: str) -> None:
    content = page(poisoned(host, payload))
    outline = Outline(content)
    assert outline.shape == Outline(page(poisoned(host, harmless(payload)))).shape
    assert any(printable(payload) in text for text in outline.texts)


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet="<>\"'&/=-! {}%`xo\n\0\u202e;#", max_size=40))
def test_no_text_changes_the_elements(text: str) -> None:
    # Not empty: a sentence is left out where there is none.
    shape = Outline(page(poisoned(HOSTS[0], f"x{text}"))).shape
    assert shape == Outline(page(poisoned(HOSTS[0], harmless(text)))).shape


def test_settings_may_hold_settings() -> None:
    nested = msgspec.structs.replace(scan("clean"), settings={"flow": {"steps": 300}, "on": True})
    text = Outline(page(nested)).text
    assert "flow.steps 300" in text
    assert "on True" in text


def test_same_result_same_page_and_after_a_file(tmp_path: Path) -> None:
    result = scan(count=20)
    results.write(result, tmp_path / "scan.json")
    write_page(results.read(tmp_path / "scan.json"), tmp_path / "scan.html")
    assert (tmp_path / "scan.html").read_text("utf-8") == page(result)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["scan.html", "scan.json"]


def test_paths_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    write_page(scan("clean", path="bad\udcff\x00.pt"), tmp_path / "page.html")
    assert "bad��.pt" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_shape": [3, 32]}, "image_shape: expected channels"),
        ({"image_shape": [3, 16, 32]}, "expected 1536 bytes for a picture"),
    ],
)
def test_damaged_results_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ContentError, match=re.escape(sentence)):
        page(msgspec.structs.replace(scan(), **change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trigger_shape": []}, "trigger_shape: expected a picture of the 27 values"),
        ({"trigger_shape": [3, 2, 2]}, "trigger_shape: expected a picture of the 27 values"),
        ({"best": bytes(12), "trigger_shape": [3, 2, 2]}, "expected 12 bytes for each of 200"),
    ],
)
def test_damaged_classes_are_refused(change: dict[str, object], sentence: str) -> None:
    first, *others = scan().classes
    classes = [msgspec.structs.replace(first, **change), *others]
    with pytest.raises(ContentError, match=re.escape(sentence)):
        page(msgspec.structs.replace(scan(), classes=classes))


def _luminance(colour: str) -> float:
    shares = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_both_modes() -> None:
    blocks = re.findall(r":root \{(.*?)\}", page(RESULTS["clean"]), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", block))
        colours = {
            k: v if len(v) == 7 else "#" + v[1] * 2 + v[2] * 2 + v[3] * 2
            for k, v in colours.items()
        }
        for paper in ("paper", "card"):
            for ink in ("ink", "soft", "backdoored", "suspicious", "inconclusive", "clean", "cool"):
                lighter, darker = sorted(
                    (_luminance(colours[paper]), _luminance(colours[ink])), reverse=True
                )
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (paper, ink)


@pytest.mark.parametrize("result", [of_folder(scan()), repair(before=of_folder(scan()))])
def test_the_page_says_how_the_pictures_were_read(result: Result) -> None:
    said = Outline(page(result)).text
    assert "Pictures read 4,000, passed over 3 (2 .txt, 1 hidden), turned 32" in said
