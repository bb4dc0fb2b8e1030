"""What ``bench paper`` compares, and what its table and figure say of rows that are known."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from unbackdoor import models
from unbackdoor.app.cli import main
from unbackdoor.bench import Request, measure
from unbackdoor.bench.framework.archive import Archive
from unbackdoor.bench.framework.engine import Serial
from unbackdoor.bench.framework.sweep import complete
from unbackdoor.bench.paper import attacks, features
from unbackdoor.bench.paper import robust as paper_robust
from unbackdoor.bench.paper import table as paper
from unbackdoor.bench.paper.defences import Mesa, SpectralFilter, Undefended
from unbackdoor.bench.paper.defended import DefenceRow, Defended
from unbackdoor.errors import ArgumentError
from unbackdoor.repairing.settings import TABLES
from unbackdoor.runtime.progress import Silent
from unbackdoor.scanning.settings import SCAN

ROW = DefenceRow(
    data="cifar10",
    arch="resnet8-wide",
    variant="implanted",
    trigger="bw:170",
    target=0,
    rate=0.01,
    network="abc",
    defence=paper.OURS,
    restart=0,
    seed=0,
    images=8000,
    evaluated=1800,
    asr_before=0.99,
    asr_after=0.03,
    asr_clean=0.02,
    excess=0.01,
    accuracy_clean=0.9,
    accuracy_before=0.89,
    accuracy_after=0.88,
    passes=32_000,
    seconds=10.0,
    device="cpu",
    versions={},
)


@pytest.fixture
def folder(tmp_path: Path, write_pictures: Callable[..., Path]) -> Path:
    write_pictures(tmp_path / "pictures", classes={"dark": 70, "light": 150}, count=80)
    return tmp_path


def test_the_patterns_are_the_51_classes() -> None:
    orbits = {frozenset(attacks._orbit(number)) for number in range(512)}
    assert len(orbits) == len(attacks.patterns()) == 51
    assert sum(map(len, orbits)) == 512
    assert {frozenset(attacks._orbit(number)) for number in attacks.patterns()} == orbits
    for number in attacks.patterns():
        assert number in (170, min(attacks._orbit(number)))


@given(
    number=st.integers(0, 511), turns=st.integers(0, 3), mirror=st.booleans(), swap=st.booleans()
)
def test_a_turned_mirrored_or_inverted_pattern_is_of_the_same_class(
    number: int, turns: int, mirror: bool, swap: bool
) -> None:
    square = torch.tensor([int(bit) for bit in f"{number:09b}"]).reshape(3, 3).rot90(turns)
    square = square.flip(0) if mirror else square
    square = 1 - square if swap else square
    other = int("".join(str(int(bit)) for bit in square.flatten()), 2)
    assert attacks._orbit(other) == attacks._orbit(number)


def test_the_attacks_are_those_of_the_paper() -> None:
    every = attacks.attacks()
    assert len(every) == len({attack.name for attack in every}) == 71
    towards = {attack.target for attack in every if attack.data == "cifar100"}
    assert len(towards) == 10
    assert towards <= set(range(100))
    assert {attack.target for attack in every if attack.data == "cifar10"} == {0}
    chosen = attacks.select("cifar10-rgb:3, cifar10-bw:170")
    assert [attack.trigger for attack in chosen] == ["rgb:3", "bw:170"]
    with pytest.raises(ArgumentError, match="'cifar10-bw:171'"):
        attacks.select("cifar10-bw:171")


def test_the_two_ways_in() -> None:
    (attack,) = attacks.select("cifar10-bw:170")
    bad, clean = attacks.networks(attack, "implanted", None)
    assert (bad.start, bad.trigger, bad.rate) == (clean.start, "bw:170", 0.01)
    assert clean.trigger is None
    assert (clean.training, clean.seed) == (bad.training, bad.seed)
    assert (bad.training, bad.training.epochs) == (attacks.IMPLANTING, 2)
    bad, clean = attacks.networks(attack, "scratch", "resnet18")
    assert (bad.start, bad.arch, clean.arch) == (None, "resnet18", "resnet18")
    assert bad.training == clean.training


@pytest.mark.parametrize("name", ["cifar10-bw:170", "cifar100-rgb:0"])
def test_the_clean_networks_come_along(tmp_path: Path, name: str) -> None:
    """The one that backdoors are implanted in, and the one that is trained as long as those."""
    (attack,) = attacks.select(name)
    _, longer = attacks.networks(attack, "implanted", None)
    archive = Archive(tmp_path)
    for wanted in (attacks.CLEAN[attack.data], longer):
        assert wanted in archive
        (tmp_path / "clean.safetensors").write_bytes(archive[wanted])
        loaded = models.load(str(tmp_path / "clean.safetensors"))
        assert (loaded.arch, loaded.facts["data"]) == (wanted.arch, wanted.data)
        assert loaded.facts["seed"] == wanted.seed
        assert loaded.facts["trigger"] is None
        assert loaded.facts["training"]["epochs"] == wanted.training.epochs


def test_rows_of_a_real_run_agree_with_each_other(folder: Path) -> None:
    rows = tiny.table(folder)
    of = {(row.trigger, row.defence, row.restart): row for row in rows}
    assert len(of) == len(rows) == 2 * len(tiny.DEFENCES)
    for row in rows:
        none = of[row.trigger, "none", 0]
        assert row.asr_before == none.asr_before == none.asr_after
        assert row.accuracy_before == none.accuracy_before == none.accuracy_after
        assert row.excess == row.asr_after - row.asr_clean
        assert (row.images, row.evaluated) == (80, 30)
    # 80 images twice, once to learn and once to be answered, also by an answer that is recalled.
    for defence in ("fine-tuning", "original trigger"):
        assert of["bw:170", defence, 0].passes == 2 * 160
    assert of["bw:170", "ensemble", 0].passes > 2 * 160
    rivals = {"fine-tuning on labels alone": 160, "ANP": 3 * 2 * 8, "I-BAU": 2 * 80 + 80 + 2 * 40}
    for defence, passes in {**rivals, "FT-SAM": 2 * 3 * 80}.items():
        assert of["bw:170", defence, 0].passes == passes, defence
    assert {row.trigger: row.variant for row in rows} == {"bw:170": "implanted", "rgb:3": "scratch"}
    assert json.loads(json.dumps(msgspec.to_builtins(rows)))[0]["defence"] == "none"


def test_the_summary_says_mean_worst_and_spread() -> None:
    rows = [
        ROW,
        msgspec.structs.replace(ROW, trigger="bw:1", network="d", asr_after=0.05, excess=0.03),
        msgspec.structs.replace(ROW, defence="fine-tuning", accuracy_after=0.885, asr_after=0.9),
        # Another machine trained the network again, so that no fine-tuning was of this one.
        msgspec.structs.replace(ROW, trigger="rgb:1", network="e"),
        msgspec.structs.replace(ROW, trigger="rgb:1", network="f", defence="fine-tuning"),
        msgspec.structs.replace(ROW, trigger="rgb:1", network="f", seed=1, asr_after=0.01),
    ]
    ours, tuned, colour, _ = paper.table(rows)
    assert ours["triggers"] == "2 black-white, implanted"
    assert ours["defence"] == "equal weights (our default)"
    assert ours["ASR after"] == "4.0 (5.0) %"
    assert ours["spread"] == "1.0 %"
    assert ours["excess over the clean network"] == "2.0 (3.0) %"
    assert ours["accuracy lost"] == "1.0 %"
    assert ours["against fine-tuning"] == "0.5 %"
    assert tuned["defence"] == "fine-tuning"
    assert colour["against fine-tuning"] == "–"
    assert (colour["triggers"], colour["of restarts"]) == (
        "1 random-colour, implanted (2 networks)",
        "–",
    )
    assert colour["ASR after"] == "2.0 (3.0) %"
    assert tuned["spread"] == "–"


def test_restarts_and_seeds_of_a_trigger_are_one_case() -> None:
    """Of two triggers with two restarts each the worst mean is told, not the worst restart."""
    rows = [
        msgspec.structs.replace(ROW, trigger=trigger, restart=restart, asr_after=asr)
        for trigger, restart, asr in (
            ("bw:1", 0, 0.1),
            ("bw:1", 1, 0.9),
            ("bw:2", 0, 0.2),
            ("bw:2", 1, 0.4),
        )
    ]
    (line,) = paper.table(rows)
    assert line["triggers"] == "2 black-white, implanted"
    assert line["ASR after"] == "40.0 (50.0) %"
    assert line["spread"] == "10.0 %"
    assert line["of restarts"] == "25.0 %"


def test_a_defence_is_not_asked_what_it_cannot_do() -> None:
    chosen = [
        attacks.networks(a, "implanted", None)
        for a in attacks.select("cifar10-rgb:0,cifar100-rgb:0")
    ]
    specs = paper.columns_of(chosen, paper.COLUMNS["all"], [0, 1])
    asked = [spec.network.data for spec in specs if isinstance(spec.defence, SpectralFilter)]
    assert asked == ["cifar10"] * 2


def test_a_row_is_of_the_network_that_it_names(folder: Path) -> None:
    """A store may come without its networks, and what was known of another one does not count."""
    bad, clean = tiny.networks(folder)[0]
    archive = Archive(folder / "store")
    spec = Defended(network=bad, clean=clean, defence=Undefended(), repair=tiny.REPAIR)
    (row,) = complete([spec], archive, Serial(), Silent())
    assert row.network == hashlib.sha256(archive[bad]).hexdigest()
    assert b"data_sha256" in archive[bad]  # what it was trained on stands in its header
    stale = msgspec.structs.replace(archive[spec.before], network="another", asr=0.123)
    archive.keep(spec.before, stale)
    inputs = {need: archive[need] for need in spec.needs}
    again = spec.run(inputs, "cpu")
    assert (again.network, again.asr_before) == (row.network, row.asr_before)
    mesa = replace(spec, defence=tiny.MESA)
    (wanted,) = complete([mesa], archive, Serial(), Silent())
    inputs = {need: archive[need] for need in mesa.needs}
    (recovered,) = mesa.defence.needs(mesa)
    inputs[recovered] = msgspec.structs.replace(
        inputs[recovered], network="another", stairs=[], seconds=1e6
    )
    anew = mesa.run(inputs, "cpu")
    assert anew.asr_after == wanted.asr_after
    assert anew.seconds < 1e6


def test_features_are_measured_beside_what_the_defences_leave(folder: Path) -> None:
    request = Request(
        reference="shipped:clean", seeds=[0, 1], store=folder / "store", progress=Silent()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "MAIN", (Undefended(), tiny.MESA))
        patch.setattr(features, "asked_for", lambda _: tiny.networks(folder))
        patch.setattr(paper, "Defended", partial(Defended, repair=tiny.REPAIR))
        measured = measure(features.BENCH, request).rows
        again = measure(features.BENCH, replace(request, limit=0))
        assert (again.rows, again.planned, again.missing) == (measured, 2 * (1 + 2 * 2), 0)
        lines = features.table(measured)
    assert [row["trigger"] for row in features.flat(measured)] == ["bw:170", "rgb:3"]
    assert all(0 <= one.features.spectral <= 1 <= one.features.poisoned for one in measured)
    assert (lines[0]["triggers"], lines[0]["same network"]) == ("2", "2")
    for one in measured:
        each = [row.excess for row in one.rows if row.defence == tiny.MESA.name]
        assert one.excess[tiny.MESA.name] == pytest.approx(sum(each) / 2)
        other = msgspec.structs.replace(one.features, network="another")
        assert one.same
        assert not replace(one, features=other).same
        assert features.table([replace(one, features=other)])[0]["same network"] == "0"
    assert lines[0]["ρ with none"] in {"1.00", "-1.00", "–"}
    assert features.table([]) == []


def test_the_figure_sorts_triggers_and_draws_their_patterns() -> None:
    rows = [
        msgspec.structs.replace(ROW, trigger="bw:170", asr_after=0.05),
        msgspec.structs.replace(ROW, trigger="bw:0", asr_after=0.01),
        msgspec.structs.replace(ROW, defence="none", asr_after=0.99, passes=0),
        msgspec.structs.replace(ROW, data="cifar100", trigger="rgb:1", asr_after=0.0),
    ]
    drawn = paper.BENCH.figure.draw(rows)
    root = ElementTree.fromstring(drawn)
    charts = root.findall("{http://www.w3.org/2000/svg}g")
    assert len(charts) == 2
    assert ">none<" not in drawn
    assert f">{paper.OURS} (our default)<" in drawn
    texts = [
        [str(part.text) for part in chart.iter("{http://www.w3.org/2000/svg}text")]
        for chart in charts
    ]
    assert "1 %" in texts[0]
    assert "0.5 %" not in texts[0]  # nothing is below one in a hundred there
    assert "≤ 0.05 %" in texts[1]
    squares = [rect.get("fill") for rect in charts[0].iter("{http://www.w3.org/2000/svg}rect")]
    assert squares[:9] == ["#000000"] * 9
    assert squares[10:19] == ["#000000" if bit == "0" else "#ffffff" for bit in "010101010"]


def test_robustness_changes_one_thing_at_a_time(folder: Path) -> None:
    bad, clean = tiny.networks(folder)[0]
    chosen = paper_robust.variants(bad, clean, [0, 1])
    usual = chosen[0].spec
    for variant in chosen:
        changed = [
            name
            for name in ("defence", "repair", "count", "seed")
            if getattr(variant.spec, name) != getattr(usual, name)
        ]
        assert len(changed) <= 1
    assert (usual.repair, usual.defence.scanning) == (TABLES, SCAN)  # pyright: ignore
    few = [
        replace(variant, spec=replace(variant.spec, repair=tiny.REPAIR, defence=tiny.MESA))
        for variant in (chosen[0], chosen[-1])
    ]
    archive = Archive(folder / "store")
    complete([variant.spec for variant in few], archive, Serial(), Silent())
    measured = paper_robust.rows_of(few, archive)
    assert [one.row.seed for one in measured] == [0, 1]
    assert paper_robust.flat(measured)[1]["parameter"] == "seed"
    assert paper_robust.table(measured)[1]["value"] == "1"


def test_the_cross_sections_have_a_square_for_each_temperature_and_level(folder: Path) -> None:
    bad, clean = tiny.networks(folder)[0]
    few = [
        replace(
            variant,
            spec=replace(
                variant.spec,
                repair=tiny.REPAIR,
                defence=Mesa(scanning=replace(tiny.SCANNING, temperature=float(variant.value))),
            ),
        )
        for variant in paper_robust.variants(bad, clean, [0])
        if variant.parameter == "temperature"
    ][:2]
    archive = Archive(folder / "store")
    complete([variant.spec for variant in few], archive, Serial(), Silent())
    measured = paper_robust.rows_of(few, archive)
    assert all(one.stairs for one in measured)
    drawn = paper_robust.BENCH.figure.draw(measured)
    for name in ("T = 0.1", "T = 0.2"):
        assert f">{name}<" in drawn
    elsewhere = msgspec.structs.replace(measured[0].row, network="another")
    archive.keep(few[0].spec, elsewhere)
    assert [bool(one.stairs) for one in paper_robust.rows_of(few, archive)] == [False, True]
    squares = ElementTree.fromstring(drawn).findall("{http://www.w3.org/2000/svg}g")
    assert len(squares) == 2 * len(tiny.SCANNING.betas)
    images = squares[0].findall("{http://www.w3.org/2000/svg}image")
    assert len(images) == tiny.SCANNING.stair_draws
    rings = [square.findall("{http://www.w3.org/2000/svg}circle") for square in squares]
    assert len({(ring.get("cx"), ring.get("cy")) for (ring,) in rings}) == 1


def test_the_command_prints_what_is_known_and_refuses_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, clean = attacks.networks(attacks.select("cifar10-bw:170")[0], "implanted", None)
    archive = Archive(tmp_path)
    for defence in paper.COLUMNS["all"]:
        spec = Defended(network=bad, clean=clean, defence=defence)
        archive.keep(spec, msgspec.structs.replace(ROW, defence=defence.name))
    command = ["bench", "paper", "--only", "cifar10-bw:170", "--store", str(tmp_path)]
    assert main([*command, "-f", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = ["none", "fine-tuning", "original trigger", "one reversed trigger", paper.OURS]
    assert [row["defence"] for row in shown] == names
    assert main([*command, "-f", "svg", "--columns", "all"]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    assert main([*command[:2], "--store", str(tmp_path), "--minutes", "0"]) == 3
    told = capsys.readouterr()
    assert "350 of 355 results are missing" in told.err
    assert "our default" in told.out
    assert main(["bench", "paper-robust", "--store", str(tmp_path / "no"), "--minutes", "0"]) == 3
    assert capsys.readouterr().out == ""
    assert main(["bench", "paper", "--minutes", "-1"]) == 4
    assert "--minutes: expected 0 or more, came -1." in capsys.readouterr().err
    assert main([*command, "--workers", "0"]) == 4
    assert "--workers: expected at least 1" in capsys.readouterr().err
    for two in (["--engine", "ray", "--workers", "2"], ["--workers", "2", "--address", "local"]):
        assert main([*command, *two]) == 4
        assert "leave one out" in capsys.readouterr().err
    others = set(multiprocessing.active_children())
    assert main([*command, "--engine", "processes"]) == 0  # all is there: nothing is run
    assert set(multiprocessing.active_children()) <= others
    assert main(["bench", "paper", "--only", "cifar10-bw:512"]) == 4
