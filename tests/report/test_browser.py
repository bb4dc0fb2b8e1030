"""The page in a real Chromium: what it asks for and shows, wide, narrow, dark and printed."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from report.families import of_family
from report.hostile import PAYLOADS, harmless, poisoned
from report.synthetic import NAMES, repair, scan, unscanned, wrecked
from unbackdoor.report.page import write_page
from unbackdoor.report.triggers import GALLERY, POINTS
from unbackdoor.results import RepairResult, Result, ScanResult, Unscanned

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the page is not tested in a browser: no playwright here"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
AXE = next(
    (
        script
        for folder in (Path(__file__).parents[2], Path(sys.prefix))
        if (script := folder / "node_modules" / "axe-core" / "axe.min.js").is_file()
    ),
    None,
)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, NARROW, A4, PRINTED = 1100, 360, 794, 672
"""CSS pixels; the last is what A4 leaves between the margins of the page."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="the page is not tested in a browser: no chromium here (apt-get install chromium)",
)

RESULTS: dict[str, Result | Unscanned] = {
    "found": scan(),
    "inconclusive": scan("inconclusive", count=20),
    "repaired": repair(before=scan(targets=(0, 4), count=20)),
    "not repaired": repair("backdoored", known=False, before=scan(count=20)),
    "no repair": wrecked("stuck"),
    "hundred classes": scan(names=tuple(f"class {n}" for n in range(100)), targets=(3,), count=20),
    "endless names": scan(
        names=("W" * 300, "m" * 20, *NAMES[2:]), targets=(0, 1), count=20, path="p" * 400
    ),
    "hostile": poisoned(repair(before=scan(count=20)), *PAYLOADS),
    "patch at a place": of_family("patch:3@28,28", count=20),
    "warp": of_family("warp:2x4", count=20),
    "filter": of_family("filter:25", law="none"),
    "many spaces, clean": of_family("additive:4", "clean"),
    "many spaces, hostile": poisoned(of_family("mask:3", count=9), *PAYLOADS),
    "unscanned": unscanned(),
}


@dataclass
class Tab:
    """The page of a result, what it asked for, and what it or the browser complained of."""

    result: Result | Unscanned
    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))

    def look(self, width: int, *, dark: bool = False, printed: bool = False) -> None:
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(
            color_scheme="dark" if dark else "light", media="print" if printed else "screen"
        )

    def ask(self, script: str, argument: object = None) -> Any:
        return self.page.evaluate(script, argument)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()


Open = Callable[..., Tab]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def show(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Open the page of a result; ``unguarded`` takes its content security policy away."""
    with ExitStack() as stack:

        def opened(result: Result | Unscanned, *, unguarded: bool = False) -> Tab:
            context = browser.new_context(bypass_csp=unguarded)
            stack.callback(context.close)
            tab = Tab(result, context.new_page())
            path = tmp_path_factory.mktemp("page") / "page.html"
            write_page(result, path)
            tab.page.goto(path.as_uri())
            return tab

        yield opened


@pytest.fixture(scope="module", params=RESULTS)
def tab(show: Open, request: pytest.FixtureRequest) -> Iterator[Tab]:
    tab = show(RESULTS[request.param])
    yield tab
    # Whatever was looked at, in whatever way: nothing was asked for, and nothing went wrong.
    check_that_it_is_quiet(tab)


def check_that_it_is_quiet(tab: Tab) -> None:
    own, *others = tab.asked
    assert own.startswith("file:")
    assert [url for url in others if not url.startswith("data:image/png;base64,")] == []
    assert tab.complaints == []


def test_nothing_is_asked_for_and_nothing_goes_wrong(tab: Tab) -> None:
    check_that_it_is_quiet(tab)


def shown_scans(result: Result) -> list[ScanResult]:
    if isinstance(result, ScanResult):
        return [result]
    return [result.scan, *([result.rescan] if result.rescan else [])]


def test_every_figure_is_there(tab: Tab) -> None:
    tab.look(WIDE)
    if isinstance(result := tab.result, Unscanned):
        assert tab.count("svg") == tab.count("img") == 0
        return
    scans = shown_scans(result)
    drawn = [record for one in scans for record in one.classes if record.stairs]
    stairs = [stair for record in drawn for stair in record.stairs]
    with_volumes = [one for one in scans if any(record.log_volume for record in one.classes)]
    assert tab.count(".curves:visible") == len(with_volumes)
    assert tab.count(".rungs:visible") == sum(len(one.spaces) > 1 for one in scans)
    sizes = [set(Counter(place.size for place in one.places).values()) for one in scans]
    assert tab.count(".heat") in set(map(sum, product(*(one or {0} for one in sizes))))
    assert tab.count("td img") == sum(len(one.classes) for one in scans)
    assert tab.count(".gallery") == len(drawn)
    assert tab.count(".gallery img") == sum(min(GALLERY, len(r.stairs[-1].values)) for r in drawn)
    assert tab.count(".panel svg") == len(stairs)
    assert tab.count(".panel image") == sum(min(POINTS, len(stair.values)) for stair in stairs)
    assert tab.count(".example") == len(scans[0].examples)
    assert tab.count(".example image") == len(scans[0].examples)
    whole = tab.count(".example.three")
    assert whole in {0, len(scans[0].examples)}
    assert tab.count(".example img") == len(scans[0].examples) + whole
    repaired = isinstance(result, RepairResult)
    assert tab.count(".bars") == repaired
    assert tab.count(".trade-off") == bool(repaired and result.guard)
    if repaired and result.guard:
        assert tab.count(".trade-off .state") == len(result.guard.states)
    assert tab.count(".findings li") == len(scans[0].preflight)
    assert tab.ask(
        """async () => {
            const all = [...document.images, ...document.querySelectorAll('image')];
            const broken = all.map(async one => {
                const copy = new Image();
                copy.src = one.getAttribute('src') || one.getAttribute('href');
                const box = one.getBoundingClientRect();
                return copy.decode().then(() => !(box.width && box.height), () => true);
            });
            return [all.length > 0, (await Promise.all(broken)).filter(Boolean).length];
        }"""
    ) == [True, 0]


@pytest.mark.skipif(AXE is None, reason="no axe-core here (npm install axe-core)")
@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("repaired", WIDE, True),
        ("inconclusive", WIDE, False),
        ("hundred classes", NARROW, False),
        ("patch at a place", WIDE, True),
        ("filter", NARROW, False),
        ("unscanned", NARROW, True),
    ],
)
def test_axe_finds_nothing_serious(show: Open, name: str, width: int, dark: bool) -> None:
    assert AXE is not None
    tab = show(RESULTS[name])
    tab.look(width, dark=dark)
    tab.ask(AXE.read_text("utf-8"))
    found = tab.ask("axe.run({resultTypes: ['violations']})")
    assert len(found["passes"]) > 10
    serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []


INTERACTIVE = """[...document.querySelectorAll(
    'a[href], area, button, input, select, textarea, iframe, summary, [tabindex], [onclick]'
)].filter(one => one.checkVisibility())"""
FOCUSED = f"""() => {{
    const one = document.activeElement, style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    const seen = box.bottom > 0 && box.top < innerHeight;
    const marked = style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2;
    return [{INTERACTIVE}.indexOf(one), seen && marked];
}}"""


@pytest.mark.parametrize("name", ["repaired", "hundred classes"])
def test_keys_reach_all_that_is_interactive_and_show_where_they_are(show: Open, name: str) -> None:
    tab = show(RESULTS[name])
    for summary in tab.page.locator("summary").all():
        before = tab.ask(f"{INTERACTIVE}.length")
        summary.focus()
        tab.page.keyboard.press("Enter")
        assert tab.ask(f"{INTERACTIVE}.length") == before + 1
    everything = tab.ask(f"{INTERACTIVE}.length")
    assert everything > 0
    visited: set[int] = set()
    # Once round, with one stop between the last and the first, where the browser's own parts are.
    for _ in range(everything + 1):
        tab.page.keyboard.press("Tab")
        place, visible = tab.ask(FOCUSED)
        assert visible or place < 0
        visited.add(place)
    assert visited >= set(range(everything))


COLOURS = """[getComputedStyle(document.body).backgroundColor,
    getComputedStyle(document.body).color]"""
CUT = """width => {
    const cut = [];
    for (const one of document.querySelectorAll('main *')) {
        const box = one.getBoundingClientRect();
        const drawing = one.closest('svg');
        if (!one.checkVisibility() || one.closest('.hidden') || one.localName === 'title') continue;
        if (drawing && drawing !== one) {
            const frame = drawing.getBoundingClientRect();
            const inside = box.left > frame.left - 1 && box.right < frame.right + 1
                && box.top > frame.top - 1 && box.bottom < frame.bottom + 1;
            if (!inside) cut.push(one.outerHTML.slice(0, 200));
        } else if (!one.parentElement.closest('.scroll') && (box.left < 0 || box.right > width)) {
            cut.push(one.outerHTML.slice(0, 200));
        }
    }
    return cut;
}"""


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_is_cut_and_only_tables_scroll(tab: Tab, width: int) -> None:
    tab.look(width)
    assert tab.ask("document.documentElement.scrollWidth") == width
    assert tab.ask(CUT, width) == []


def test_on_paper_everything_is_there_on_white(tab: Tab) -> None:
    tab.look(A4, dark=True, printed=True)
    assert tab.ask(COLOURS) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    tab.ask("width => { document.body.style.width = `${width}px` }", PRINTED)
    assert tab.ask(CUT, PRINTED) == []
    boxes = "[...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility())"
    assert tab.ask(f"{boxes}.map(one => one.scrollWidth - one.clientWidth).filter(Boolean)") == []
    assert tab.ask("[...document.querySelectorAll('tr')].every(one => one.checkVisibility())")
    tab.ask("document.body.style.width = ''")


def test_light_and_dark_as_the_reader_wants_it(tab: Tab) -> None:
    for dark in (False, True):
        tab.look(WIDE, dark=dark)
        paper, ink = (sum(map(int, re.findall(r"\d+", one))) / 3 for one in tab.ask(COLOURS))
        assert (paper < 40 and ink > 200) if dark else (paper > 240 and ink < 40)


@pytest.mark.parametrize(
    "host",
    [scan(count=9), repair(before=scan(count=9)), of_family("warp:2x4", count=9), unscanned()],
)
def test_a_browser_makes_no_element_of_a_text(show: Open, host: Result | Unscanned) -> None:
    # Without the policy, so that the escaping alone has to hold.
    tab = show(poisoned(host, *PAYLOADS), unguarded=True)
    shape = """[...document.querySelectorAll('*')].map(
        one => [one.tagName, ...one.getAttributeNames()].join(' '))"""
    tab.page.wait_for_timeout(100)
    assert tab.ask(shape) == show(poisoned(host, *map(harmless, PAYLOADS))).ask(shape)
    check_that_it_is_quiet(tab)
