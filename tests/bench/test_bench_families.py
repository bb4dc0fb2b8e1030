"""Networks of the development set are made once, scanned, and told apart in the table."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import kills
import tiny
from conftest import WritePictures
from unbackdoor.app.cli import main
from unbackdoor.bench import BENCHES, Request, Serial, markdown, measure
from unbackdoor.bench.bag.few import Few, FewRow
from unbackdoor.bench.bag.few import table as few_table
from unbackdoor.bench.families import bench, others
from unbackdoor.bench.families.networks import Trained, differences
from unbackdoor.bench.families.recipes import RECIPES, Recipe
from unbackdoor.bench.families.scanned import ClassRow, FamiliesRow, Scanned, judged
from unbackdoor.bench.families.table import table
from unbackdoor.bench.families.truth import SHAPE, Truth, outcome, same_family
from unbackdoor.bench.framework.store import Store
from unbackdoor.bench.framework.table import Line
from unbackdoor.detectors.arms import choices
from unbackdoor.detectors.evidence import Pictures
from unbackdoor.detectors.settings import BANDIT, BanditSettings, Round
from unbackdoor.errors import ArgumentError, ContentError
from unbackdoor.results import Rung
from unbackdoor.runtime.journal import key_of
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import BUDGETS
from unbackdoor.triggers.family import Space
from unbackdoor.triggers.notation import parse_trigger
from unbackdoor.triggers.registry import FAMILIES, parse_spaces
from unbackdoor.verdict.judge import ByRate
from unbackdoor.verdict.thresholds import Thresholds, limit_of, thresholds_of

FAMILY = BENCHES["families"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
SMALL = BanditSettings(
    starts=1,
    rounds=(Round(arms=1, passes=20, most=5), Round(arms=2, passes=20, most=10)),
    walk=5,
    judge=8,
    deep=10,
    walkers=1,
    evaluate=10,
)


class Untouched(Serial):
    """Where no piece may be begun."""

    def start(self, *call: Any) -> None:
        """Fail."""
        raise AssertionError(call)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


def test_each_family_is_planted_in_two_architectures_and_six_networks_are_clean() -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    planted: dict[str, set[str]] = {}
    for recipe in RECIPES:
        if recipe.trigger and recipe.mode == "all-to-one":
            assert parse_trigger(recipe.trigger, (3, 32, 32))
            assert recipe.truth.family
            planted.setdefault(recipe.truth.family, set()).add(recipe.arch)
    assert set(planted) == set(FAMILIES) - {"mask"}  # a patch is one
    assert all(archs == {"convnet", "resnet8"} for archs in planted.values())
    assert {recipe.mode for recipe in RECIPES} == {"all-to-one", "all-to-all", "source:3"}
    assert sum(recipe.trigger is None for recipe in RECIPES) == 6


@pytest.mark.parametrize(
    ("truth", "verdict", "named", "expected"),
    [
        (Truth(trigger="bw:1", target=3), "backdoored", [3], "found"),
        (Truth(trigger="bw:1", target=3), "backdoored", [1, 3], "found, others too"),
        (Truth(trigger="bw:1", target=3), "backdoored", [1], "another class"),
        (Truth(trigger="bw:1", target=3), "inconclusive", [], "inconclusive"),
        (Truth(trigger="bw:1", target=3), "clean", [], "missed"),
        (Truth(trigger="bw:1", target=3), "not scanned", [], "not scanned"),
        (Truth(trigger="bw:1", mode="all-to-all"), "backdoored", [1, 2], "found"),
        (Truth(trigger="bw:1", mode="all-to-all"), "clean", [], "missed"),
        (Truth(), "clean", [], "clean"),
        (Truth(), "inconclusive", [], "inconclusive"),
        (Truth(), "backdoored", [0], "accused"),
    ],
)
def test_the_outcome_of_a_scan(truth: Truth, verdict: str, named: list[int], expected: str) -> None:
    assert outcome(truth.targets, verdict, named) == expected


def test_a_family_is_right_if_it_contains_the_planted_trigger() -> None:
    assert same_family("patch", "patch:4@0,0")
    assert same_family("wave", "additive:4")
    assert not same_family("additive", "wave:16@0,6")
    assert not same_family(None, "patch:4")


def row(name: str, truth: Truth, verdict: str, targets: Sequence[int] = (), **more: Any) -> Any:
    usual: dict[str, Any] = {
        "sha256": "",
        "arch": "convnet",
        "family": truth.family,
        "data": "",
        "space": "auto",
        "seed": 0,
        "reason": "",
        "versions": {},
        "accuracy": 0.75,
        "planted_asr": 0.9 if truth.trigger else None,
        "image_passes": 900,
        "image_passes_backward": 100,
        "seconds": 12.0,
        "classes": [
            ClassRow(
                index=index,
                status="backdoored" if index in targets else "clean",
                space="patch:3@0,0",
                asr=0.97 if index in targets else 0.2,
                confusion=0.0,
                # of these the first is too large to count
                measured=[Rung(space="patch:6", asr=0.99), Rung(space="patch:3", asr=0.2 + index)],
            )
            for index in range(2)
        ],
    }
    return FamiliesRow(
        network=name,
        trigger=truth.trigger,
        mode=truth.mode,
        target=truth.targets[0] if truth.targets else None,
        verdict=verdict,
        targets=list(targets),
        **{**usual, **more},
    )


def test_a_line_tells_the_worst_of_the_seeds_and_the_last_lines_count_networks() -> None:
    corner, warp = Truth(trigger="bw:1@0,0", target=1), Truth(trigger="warp:1", target=1)
    dynamic = Truth(trigger="dynamic:1", target=1)
    lines = table(
        [
            row("clean", Truth(), "clean"),
            row("clean", Truth(), "inconclusive", seed=1),
            row("corner", corner, "backdoored", [1]),
            row("corner", corner, "backdoored", [1], seed=1),
            row("warp", warp, "backdoored", [1]),
            row("warp", warp, "clean", seed=1),
            row("dynamic", dynamic, "clean"),
            row("weak", warp, "clean", planted_asr=0.4),
            row("broken", corner, "not scanned", classes=[], accuracy=None, planted_asr=None),
        ]
    )
    by = {line["network"]: line for line in lines}
    assert len({tuple(line) for line in lines}) == 1
    assert list(by) == [
        *("corner", "warp", "broken", "dynamic", "weak", "clean"),
        *("**one target: 3**", "**beyond what is searched: 2**", "**clean: 1**"),
    ]
    assert by["corner"]["worst of the seeds"] == "found"
    assert by["corner"]["right family"] == by["corner"]["right verdict"] == "2/2"
    assert by["corner"]["highest ASR, other classes"] == "20.0% (`patch:3`)"
    assert by["warp"]["worst of the seeds"] == "missed"
    assert (by["warp"]["right verdict"], by["warp"]["right family"]) == ("1/2", "0/2")
    assert by["clean"]["worst of the seeds"] == "inconclusive"
    assert by["clean"]["highest ASR, other classes"] == "120.0% (`patch:3`)"
    assert by["clean"]["passes"] == "1,000"
    total = by["**one target: 3**"]
    assert total["worst of the seeds"] == (
        "1 found, 1 not scanned, 1 missed; missed: at most 86% of networks like these (95 %)"
    )
    assert total["right verdict"] == "3/5"


def test_the_right_family_is_one_of_those_that_accuse() -> None:
    blend, fails = Truth(trigger="blend:1@0.1", target=1), Rung(space="blend:10x16", asr=0.5)
    for rung, right in ((Rung(space="blend:10x16", asr=1.0), "1/1"), (fails, "0/1")):
        known = [[Rung(space="additive:4", asr=0.1)], [Rung(space="additive:2", asr=1.0), rung]]
        classes = [
            ClassRow(index=index, status="", space="additive:2", asr=1, confusion=0, measured=some)
            for index, some in enumerate(known)
        ]
        found = judged(row("blended", blend, "", classes=classes), ByRate())
        assert found.classes[1].space == "additive:2"
        assert [line["right family"] for line in table([found])] == [right, right]


def test_a_row_is_judged_again_by_other_thresholds() -> None:
    asr = [Rung(space="patch:2@0,0", asr=0.9), Rung(space="patch:6@0,0", asr=1.0)]
    fails = [*asr[1:], Rung(space="patch:5@0,0", asr=0.5)]
    classes = [
        ClassRow(index=0, status="", space="", asr=0.0, confusion=0.1, measured=asr),
        ClassRow(index=1, status="", space="", asr=0.0, confusion=0.1, measured=fails),
        ClassRow(index=2, status="", space="", asr=0.0, confusion=0.1, measured=fails),
    ]
    kept = row("corner", Truth(trigger="bw:1@0,0"), "clean", classes=classes)
    again = judged(kept, ByRate())
    assert (again.verdict, again.targets) == ("backdoored", [0])
    assert [one.status for one in again.classes] == ["backdoored", "clean", "clean"]
    assert again.classes[0].space == "patch:2@0,0"
    strict = judged(again, ByRate(Thresholds(backdoored=0.95)))
    assert (strict.verdict, strict.targets) == ("inconclusive", [])
    refused = row("broken", Truth(), "not scanned", classes=[])
    assert judged(refused, ByRate()) == refused


def make(folder: Path, write_pictures: WritePictures) -> list[Trained]:
    pictures = write_pictures(folder / "pictures", classes={"a": 80, "b": 160}, count=60)
    (folder / "network.py").write_text(kills.NETWORK)
    usual = {"arch": f"{folder / 'network.py'}:net", "data": str(pictures), "epochs": 10}
    return [
        Trained(recipe=recipe, images=str(pictures))
        for recipe in (
            Recipe(name="corner", trigger="bw:170@0,0", rate=0.3, target=1, seed=1, **usual),
            Recipe(name="clean", seed=2, **usual),
        )
    ]


@pytest.fixture
def small(
    tmp_path: Path, write_pictures: WritePictures, monkeypatch: pytest.MonkeyPatch
) -> list[Trained]:
    """A development set of two tiny networks, with next to no work."""
    made = make(tmp_path, write_pictures)
    scanning = replace(tiny.SCANNING, bandit=SMALL)
    monkeypatch.setattr(bench, "development_set", lambda: made)
    monkeypatch.setattr(bench, "Scanned", partial(Scanned, space="patch:3", settings=scanning))
    return made


def request_of(folder: Path, **asked: Any) -> Request:
    usual = {"reference": "", "seeds": range(1), "progress": Silent()}
    return Request(**{"store": folder / "store", **usual, **asked})


def test_a_network_is_scanned_with_fewer_images(small: list[Trained], tmp_path: Path) -> None:
    """Of 120 pictures 5/8 are searched with; each number of images has its own row."""
    scanning = replace(tiny.SCANNING, bandit=SMALL)
    corner = small[0]
    archive = {corner: corner.run({}, "cpu")}
    scans = [
        Few(network=corner, seed=0, space="patch:3", settings=scanning, count=count)
        for count in (50, 20)
    ]
    assert len({scan.key for scan in scans}) == 2
    subject = scans[0].opened(archive, "cpu")
    assert len(subject.images.defend) == 24  # of 25, equally many of both classes
    assert len(subject.images.evaluate) == 14
    enough, too_few = (scan.run(archive, "cpu") for scan in scans)
    assert isinstance(enough, FewRow)
    assert isinstance(too_few, FewRow)
    assert (enough.count, too_few.count) == (50, 20)
    assert enough.image_passes > 0
    assert too_few.verdict == "not scanned"
    assert "at least 4 images" in too_few.reason
    lines = few_table([enough, too_few])
    assert [line["clean images"] for line in lines] == ["50", "20"]
    assert lines[1]["outcome"] == "1 not scanned"


def test_networks_are_made_scanned_and_kept(small: list[Trained], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--make: none of the networks is there"):
        measure(FAMILY, request_of(tmp_path, engine=Untouched()))
    rows = measure(FAMILY, request_of(tmp_path, make=True)).rows
    assert [row.network for row in rows] == ["corner", "clean"]
    corner, clean = rows
    assert (corner.trigger, corner.family, corner.target) == ("bw:170@0,0", "patch", 1)
    assert (clean.trigger, clean.family, clean.target, clean.planted_asr) == (None,) * 4
    assert 0 <= corner.planted_asr <= 1
    assert corner.image_passes > 0
    assert corner.image_passes_backward > 0
    assert [one.index for one in corner.classes] == [0, 1]
    assert {rung.space.partition("@")[0] for rung in corner.classes[0].measured} >= {"patch:3"}
    assert len(table(rows)) == 4
    again = measure(FAMILY, request_of(tmp_path, engine=Untouched())).rows
    assert again == rows
    # rows of networks that are not kept are shown all the same
    shutil.rmtree(tmp_path / "store" / "networks")
    assert measure(FAMILY, request_of(tmp_path, engine=Untouched())).rows == rows
    only = request_of(tmp_path, only="clean", engine=Untouched())
    assert measure(FAMILY, only).rows == [clean]
    with pytest.raises(ArgumentError, match="--only: there is no network 'none'"):
        FAMILY.plan(request_of(tmp_path, only="none"))


def test_a_network_of_the_same_recipe_is_taken_from_a_folder(
    small: list[Trained], tmp_path: Path
) -> None:
    corner, clean = small
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "corner.safetensors").write_bytes(corner.run({}, "cpu"))
    (folder / "clean.safetensors").write_bytes(
        Trained(recipe=replace(clean.recipe, seed=9)).run({}, "cpu")
    )
    heard = Heard()
    rows = measure(FAMILY, request_of(tmp_path, networks=folder, progress=heard)).rows
    assert [row.network for row in rows] == ["corner"]
    told = " ".join(heard.said)
    assert "clean.safetensors is passed over: it is not of this recipe (seed differ)" in told
    assert "1 networks are not there and left out (clean); --make trains them." in told
    planned = FAMILY.plan(request_of(tmp_path / "new", networks=folder, make=True))
    assert [spec.network.found is not None for spec in planned] == [True, False]
    there = pickle.loads(pickle.dumps(planned[0]))
    assert there.network.found == planned[0].network.found
    assert planned[0].key == there.key
    (folder / "corner.safetensors").write_bytes(b"no network")
    heard = Heard()
    with pytest.raises(ArgumentError, match="--make"):
        FAMILY.plan(request_of(tmp_path / "new", networks=folder, progress=heard))
    assert "corner.safetensors is passed over: MODEL: " in heard.said[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"trigger": "bw:171@0,0"}, ["triggers"]),
        ({"trigger": None}, ["mode", "rate", "target", "triggers"]),
        ({"mode": "source:0"}, ["mode"]),
        ({"target": 0, "mode": "all-to-all"}, ["mode", "target"]),
        ({"rate": 0.2, "epochs": 3}, ["training", "rate"]),
        ({"cover": 0.2}, ["triggers"]),
    ],
)
def test_what_differs_from_a_recipe_is_told(
    changed: dict[str, Any], said: list[str], small: list[Trained], tmp_path: Path
) -> None:
    path = tmp_path / "corner.safetensors"
    path.write_bytes(small[0].run({}, "cpu"))
    assert differences(replace(small[0].recipe, **changed), path) == said


def test_networks_of_others_stand_in_the_same_table(small: list[Trained], tmp_path: Path) -> None:
    corner, _ = small
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(corner.run({}, "cpu"))
    shared = {"path": str(path), "arch": corner.recipe.arch, "data": corner.images}
    entries = [
        {"name": "theirs", "trigger": "bw:170@0,0", "target": 1, **shared},
        {"name": "unplanted", "mean": [0.0] * 3, "std": [1.0] * 3, **shared},
    ]
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"network": entries}))
    rows = measure(FAMILY, request_of(tmp_path, listed=listing)).rows
    assert [(row.network, row.trigger) for row in rows] == [
        ("theirs", "bw:170@0,0"),
        ("unplanted", None),
    ]
    assert rows[0].sha256 == rows[1].sha256
    toml = tmp_path / "list.toml"
    toml.write_text(
        "\n".join(
            [
                "[[network]]",
                *(f"{name} = {json.dumps(value)}" for name, value in entries[0].items()),
            ]
        )
    )
    assert others.listed(toml) == others.listed(listing)[:1]
    listed = others.listed(toml)[0]
    path.write_bytes(small[1].run({}, "cpu"))
    others._loaded.cache_clear()
    scan = Scanned(network=listed, seed=0)
    refused = scan.run({}, "cpu")
    assert refused.verdict == "not scanned"
    assert "has changed since the work was planned" in refused.reason


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("{", ContentError, "--list: expected a table"),
        ('{"network": [{"name": "a"}]}', ContentError, "path"),
        ('{"network": [{"name": "a", "path": "none.pt"}]}', ArgumentError, "--list: there is no"),
        ('{"network": [{"name": "a", "path": ".", "what": 1}]}', ContentError, "what"),
        ('{"network": []}', ContentError, "different names"),
    ],
)
def test_a_wrong_list_is_refused(
    content: str, error: type[Exception], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "list.json"
    path.write_text(content)
    with pytest.raises(error, match=said):
        others.listed(path)


def test_missing_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "families", "--store", str(tmp_path / "store")]
    assert main([*command, "--networks", str(tmp_path / "none")]) == 4
    assert "--networks: there is no folder" in capsys.readouterr().err
    assert main([*command, "--list", str(tmp_path / "none.toml")]) == 4
    assert "--list" in capsys.readouterr().err


def test_the_document_says_what_counts_and_what_it_costs() -> None:
    text = DOCUMENT.read_text()
    assert markdown(limits()) in text
    assert markdown(passes()) in text
    assert f"({BANDIT.walk} images for each\nweaker trigger" in text
    assert f"({BANDIT.deep} images each)" in text
    assert f"the spaces that follow get {BANDIT.after:.0%}".replace("%", " %") in text
    assert "<!-- table: bench families -->" in text


def test_stored_rows_are_found_under_the_settings_of_today() -> None:
    """Rows are keyed by the settings of a scan: another field of these would orphan all rows."""
    assert key_of(BUDGETS["standard"]) == "f55491066537e890"


GROUPS = {
    "results": "ours and the first of others",
    "results/later": "[25 later](#networks-that-were-found-later)",
    "results/colour": "[36 on colour pictures](#networks-on-colour-pictures)",
    "results/further": "[32 after that](#networks-that-were-found-after-that)",
    "results/recent": "[the newest 43](#the-newest-networks)",
    "results/latest": "[the last 40](#the-last-40-networks)",
    "results/wider": "[36 for other pictures](#networks-for-other-pictures)",
    "results/fresh": "[12 looked for after that](#networks-looked-for-after-that)",
    "results/varied": "[37 of many formats](#networks-of-many-formats)",
    "results/gathered": "[51 of students and researchers](#networks-of-students-and-researchers)",
    "results/packaged": "[43 of web pages and packages](#networks-of-web-pages-and-packages)",
}
"""The stores of scanned networks, and what the summary of the document calls them."""
OUTCOMES = {
    "one target": ("found", "found, others too", "inconclusive", "missed"),
    "clean": ("clean", "inconclusive", "accused"),
}
"""What the summary counts of each group of networks, in its order."""


@pytest.mark.parametrize("folder", GROUPS)
def test_the_tables_of_the_document_are_those_of_the_stores(folder: str) -> None:
    assert markdown(table(stored(folder))) in DOCUMENT.read_text()


def test_the_summaries_of_the_documents_are_sums_of_the_tables() -> None:
    text = DOCUMENT.read_text()
    sums: Counter[tuple[str, str]] = Counter()
    for folder, name in GROUPS.items():
        counts = outcomes(stored(folder))
        cells = [
            number
            for group, kinds in OUTCOMES.items()
            for number in (sum(counts[group].values()), *(counts[group][kind] for kind in kinds))
        ]
        assert f"| {name} | {' | '.join(map(str, cells))} |" in text
        sums.update((group, kind) for group in OUTCOMES for kind in counts[group].elements())
    readme = " ".join((DOCUMENT.parents[1] / "README.md").read_text().split())
    attacked, clean = ([sums[group, kind] for kind in OUTCOMES[group]] for group in OUTCOMES)
    assert f"of {sum(attacked)} with one target that works {attacked[0]} are found alone" in readme
    assert (
        f"of {sum(clean)} without a backdoor {clean[0]} are called clean, {clean[1]} are" in readme
    )
    assert attacked[3] == 0
    assert "none is called clean" in readme


def stored(folder: str) -> list[FamiliesRow]:
    """Return the newest row of each scan in a store, judged by today's limits."""
    rows = Store(DOCUMENT.parents[1] / folder, "families", FamiliesRow).read().values()
    newest = {(row.network, row.seed): row for row in rows}
    names = [recipe.name for recipe in RECIPES]
    names += [row.network for row in rows if row.network not in names]
    order = sorted(newest, key=lambda key: (names.index(key[0]), key[1]))
    return [judged(newest[key], ByRate()) for key in order]


def outcomes(rows: Sequence[FamiliesRow]) -> dict[str, Counter[str]]:
    """Return how many networks of each group have which verdict, the worst of their seeds."""
    last = [line for line in table(rows) if line["network"].startswith("**")]
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in last:
        group, said = line["network"].strip("*").split(": ")[0], line["worst of the seeds"]
        parts = re.findall(r"(\d+) (\D+?)(?=, \d|$)", said.split(";")[0])
        counts[group] = Counter({kind: int(number) for number, kind in parts})
    return counts


def limits() -> list[Line]:
    """Return what is searched in pictures of 32×32, and what counts."""
    lines: list[Line] = []
    for space in parse_spaces("auto", SHAPE):
        found, rule = limit_of(space.name, Pictures()), None
        assert found
        limit = found[0]
        rungs = list(ladder(space))
        rules = [thresholds_of(rung, Pictures(), Thresholds()) for rung in rungs]
        rule = next(one for one in rules if one)
        places = {"in a corner": "0,0", "between": "0,14", "in the middle": "14,14"}
        at = {
            name: thresholds_of(f"{rungs[-1]}@{where}", Pictures(), Thresholds())
            for name, where in places.items()
        }
        place = rungs[0].startswith("patch")
        lines.append(
            {
                "search begins at": f"`{rungs[0]}`",
                "then": ", ".join(f"`{rung}`" for rung in rungs[1:]),
                "counts up to": f"{limit.strength}",
                "clean": f"{rule.clean:.0%}",
                "backdoored": f"{rule.backdoored:.0%}",
                **{name: words(one) if place and one else "–" for name, one in at.items()},
            }
        )
    return lines


def words(rule: Thresholds) -> str:
    return f"{rule.clean:.0%}, {rule.backdoored:.0%}"


def ladder(space: Space) -> Iterator[str]:
    """Yield the space and those that a walk down comes to."""
    theta = torch.full((space.dimensions(SHAPE),), 0.5)
    yield space.name
    while weaker := space.weaker(theta, SHAPE):
        space, theta = weaker[0].space, weaker[0].theta
        yield space.name


def passes() -> list[Line]:
    """Return the image passes of the looks and of the rounds of the bandits, for ten classes."""
    lines: list[Line] = []
    total, least = [0, 0], 0
    for space in parse_spaces("auto", SHAPE):
        thetas, places = space.library(SHAPE)
        usual = len(thetas) * len(places)
        every = [10 * len(choice) for choice in choices(space, SHAPE, BANDIT.starts)]
        if usual:
            every[0] = 10 * usual
        full, early = (
            sum(rounds(arms, last, seen=bool(usual)) for arms in every)
            for last in (len(BANDIT.rounds), 2)
        )
        looked = usual * BANDIT.look
        total, least = [total[0] + looked, total[1] + full], least + early
        lines.append(
            {
                "space": f"`{space.name}`",
                "arms": " + ".join(f"{arms:,}" for arms in every),
                "looks, forward only": f"{looked:,}",
                "rounds": f"{full:,}",
                "where nothing rises": f"{early:,}",
            }
        )
    every_space: Line = {
        "space": "all",
        "arms": "",
        "looks, forward only": f"{total[0]:,}",
        "rounds": f"{total[1]:,}",
        "where nothing rises": f"{least:,}",
    }
    return [*lines, every_space]


def rounds(arms: int, last: int, *, seen: bool) -> int:
    spent = 0
    for number, one in enumerate(BANDIT.rounds[:last]):
        arms = min(one.arms, (arms + 1) // 2) if number else arms
        if number or not seen:
            spent += arms * math.prod(one.shared(arms))
    return spent


if __name__ == "__main__":  # write both tables into the document
    parts = re.split(
        r"(?<=<!-- limits -->\n\n|<!-- passes -->\n\n)(?:\|.*\n)+", DOCUMENT.read_text()
    )
    first, second = (markdown(lines) + "\n" for lines in (limits(), passes()))
    DOCUMENT.write_text(first.join([parts[0], second.join(parts[1:])]))


def test_a_trigger_towards_each_class_is_judged_again_as_one() -> None:
    goal, each = [1, 2, 0], [Rung(space="patch:6@0,0", asr=0.75)]
    little = [Rung(space="patch:6@0,0", asr=0.3)]
    classes = [
        ClassRow(
            index=k, status="", space="", asr=0.0, confusion=0.0, measured=little, goal=goal,
            of_each=each,
        )
        for k in range(3)
    ]  # fmt: skip
    again = judged(row("each", Truth(trigger="bw:1@0,0"), "clean", classes=classes), ByRate())
    assert again.targets == [0, 1, 2]
