"""Our scan and detectors of others run on the same tiny networks, and their rows are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_bench_families import SMALL, Untouched, make, request_of

import tiny
from conftest import WritePictures
from unbackdoor.app.cli import main
from unbackdoor.bench import BENCHES, Request, measure
from unbackdoor.bench.families.networks import Trained
from unbackdoor.bench.families.truth import Truth
from unbackdoor.bench.scan import bench, methods, networks
from unbackdoor.bench.scan.looked import ClassFound, Looked, ScanRow
from unbackdoor.bench.scan.methods import PEERS, SUBSET, Peer, peers_of
from unbackdoor.bench.scan.rules import anomaly
from unbackdoor.bench.scan.seen import seen
from unbackdoor.bench.scan.table import table
from unbackdoor.detectors.peers.cleanse import Cleanse, CleanseSettings
from unbackdoor.detectors.peers.karm import KArm, KArmSettings
from unbackdoor.detectors.peers.margin import LargestMargin, MarginSettings
from unbackdoor.errors import ArgumentError

SCAN = BENCHES["scan"]
SHORT: dict[str, Any] = {
    "mm-bd": LargestMargin(MarginSettings(pictures=2, steps=2)),
    "k-arm": KArm(KArmSettings(images=8, pulls=2)),
    "nc": Cleanse(CleanseSettings(epochs=1, images=20)),
}


@pytest.fixture
def small(
    tmp_path: Path, write_pictures: WritePictures, monkeypatch: pytest.MonkeyPatch
) -> list[Trained]:
    """Two tiny networks, and methods with next to no work."""
    made = make(tmp_path, write_pictures)
    short = [
        replace(peer, detector=SHORT.get(peer.key, peer.detector))
        for peer in PEERS
        if peer.key in {"head", *SHORT}
    ]
    monkeypatch.setattr(networks, "development_set", lambda: made)
    monkeypatch.setattr(methods, "PEERS", tuple(short))
    scanning = replace(tiny.SCANNING, bandit=SMALL)
    monkeypatch.setattr(bench, "Looked", partial(Looked, space="patch:3", settings=scanning))
    return made


def test_every_method_has_a_row_for_every_network_and_is_not_run_again(
    small: list[Trained], tmp_path: Path
) -> None:
    asked = request_of(tmp_path, make=True, methods="head,mm-bd,k-arm,nc")
    rows = measure(SCAN, asked).rows
    keys = ("unbackdoor", "head", "mm-bd", "k-arm", "nc")
    assert [(row.network, row.method) for row in rows] == [
        (network, key) for network in ("corner", "clean") for key in keys
    ]
    for row in rows:
        own = next(one for one in rows if (one.network, one.method) == (row.network, keys[0]))
        assert row.our_passes == own.image_passes + own.image_passes_backward > 0
        assert row.truth == (small[0] if row.network == "corner" else small[1]).truth
        assert [one.index for one in row.classes] == ([] if row is own else [0, 1])
        assert (row.scan is not None) == (row is own)
    by = {row.method: row for row in rows[:5]}
    evaluated = by["head"].image_passes
    assert by["head"].image_passes_backward == 0
    assert by["mm-bd"].image_passes_backward == 2 * 2 * 2
    assert by["mm-bd"].image_passes == evaluated + 8
    assert by["k-arm"].image_passes_backward == 2 * 8
    assert by["nc"].image_passes_backward == 2 * 20
    assert measure(SCAN, replace(asked, engine=Untouched())).rows == rows
    some = replace(asked, only="clean", methods="mm-bd", engine=Untouched())
    assert [row.method for row in measure(SCAN, some).rows] == ["unbackdoor", "mm-bd"]
    lines = table(rows)
    assert len(lines) == 10 + 5
    assert len({tuple(line) for line in lines}) == 1
    assert lines[0]["× our passes"] == lines[-5]["× our passes"] == "1"
    assert "<polyline" in SCAN.figure.draw(rows)
    with pytest.raises(ArgumentError, match="-f svg: no method ran"):
        SCAN.figure.draw(rows[:5])


def test_networks_of_files_and_of_others_are_compared_on_too(
    small: list[Trained], tmp_path: Path
) -> None:
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(small[1].run({}, "cpu"))
    entry = {"name": "theirs", "path": str(path), "arch": small[1].recipe.arch}
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"network": [{**entry, "data": small[1].images}]}))
    asked: dict[str, Any] = {"models": ("shipped:rgb7",), "listed": listing, "limit": 0}
    planned = SCAN.plan(request_of(tmp_path, **asked))
    named = {spec.network.name: spec.network for spec in planned}
    assert list(named) == ["shipped:rgb7", "theirs"]
    assert named["shipped:rgb7"].truth == Truth(trigger="rgb:7", target=7)
    assert named["theirs"].truth == Truth()
    only = SCAN.plan(request_of(tmp_path, only="theirs", **asked))
    assert {spec.network.name for spec in only} == {"theirs"}
    assert only[0].key in {spec.key for spec in planned}


def test_dear_methods_run_on_a_few_networks_unless_they_are_named() -> None:
    dear = [peer.key for peer in PEERS if peer.unasked is not None]
    assert dear == ["mine", "nc", "nc-trojanzoo"]
    assert not set(dear) & {peer.key for peer in peers_of(None, "another")}
    assert {"mine", "nc"} < {peer.key for peer in peers_of(None, SUBSET[0])}
    assert [peer.key for peer in peers_of("nc,unbackdoor", "another")] == ["nc"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": "none"}, "--methods: there is no method 'none'; there are unbackdoor, head"),
        ({"only": "none"}, "--only: there is no network 'none' of this benchmark"),
        ({"only": "corner"}, "--only: none of these networks is there; add --make"),
    ],
)
def test_what_there_is_not_is_refused(
    asked: dict[str, Any], said: str, small: list[Trained], tmp_path: Path
) -> None:
    request: Request = request_of(tmp_path, **{"make": "only" not in asked, **asked})
    with pytest.raises(ArgumentError, match=said):
        SCAN.plan(request)


def test_other_benchmarks_have_no_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "shipped", "--methods", "nc"]) == 4
    assert "--methods: shipped does not have it" in capsys.readouterr().err


def row(network: str, statistics: list[float], **more: Any) -> ScanRow:
    usual: dict[str, Any] = {
        "sha256": "",
        "arch": "convnet",
        "trigger": None,
        "family": None,
        "mode": "all-to-one",
        "target": None,
        "planted_asr": None,
        "accuracy": 0.8,
        "seed": 0,
        "method": "nc",
        "classes": [ClassFound(index=k, statistic=one) for k, one in enumerate(statistics)],
        "image_passes": 300,
        "image_passes_backward": 200,
        "cpu_seconds": 60.0,
        "our_passes": 10,
        "our_cpu_seconds": 2.0,
        "versions": {},
    }
    return ScanRow(network=network, **{**usual, **more})


def test_a_line_of_a_method_counts_what_is_found_and_accused() -> None:
    planted: dict[str, Any] = {
        "trigger": "bw:1@0,0",
        "family": "patch",
        "target": 3,
        "planted_asr": 0.99,
    }
    small, flat = [-50.0, -48.0, -52.0, -3.0, -47.0], [-50.0, -48.0, -52.0, -49.0, -47.0]
    rows = [
        row("found", small, **planted),
        row("missed", flat, **planted),
        row("weak", flat, **{**planted, "planted_asr": 0.4}),  # is not counted
        row("clean", flat),
        row("accused", small),
        row("refused", [], image_passes=0, image_passes_backward=0, cpu_seconds=0.0, our_passes=0),
    ]
    *lines, total = table(rows)
    assert [line["outcome"] for line in lines] == [
        *("found", "missed", "missed", "clean", "accused", "not scanned")
    ]
    assert [line["accused"] for line in lines] == ["3", "–", "–", "–", "3", "–"]
    assert lines[0]["× our passes"] == "50"
    assert lines[0]["× our CPU seconds"] == "30"
    assert total["method"] == "neural-cleanse, BackdoorBench"
    assert total["outcome"] == "found 1/2; accused 1/2 clean (at most 97%)"
    assert total["score"].startswith("AUC 0.500 (")
    assert seen(rows[0]).score == pytest.approx(45 / 2 / 1.4826)


def test_rows_say_everything_that_a_rule_needs() -> None:
    kept = row("found", [-50.0, -48.0, -52.0, -3.0, -47.0])
    again = msgspec.json.decode(msgspec.json.encode(kept), type=ScanRow)
    assert again == kept
    peer: Peer = next(one for one in PEERS if one.key == kept.method)
    assert peer.rule is anomaly
