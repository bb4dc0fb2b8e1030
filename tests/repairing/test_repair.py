"""Unlearning, and the table of a repair, on a small network with a real backdoor."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kills import SMALL
from unbackdoor import api, repairing
from unbackdoor.attack import Backdoor, Poison, goal_of
from unbackdoor.data import Split
from unbackdoor.errors import InsufficientDataError
from unbackdoor.metrics import attack_success
from unbackdoor.models import freeze
from unbackdoor.repairing import Asked, How, Lesson, Plan, Planner
from unbackdoor.repairing.plan import Charge, always
from unbackdoor.repairing.rounds import kept_apart
from unbackdoor.repairing.settings import GUARD, Attempt, RepairSettings
from unbackdoor.report.words import in_vain
from unbackdoor.results import Assumption, RepairResult, ScanResult, verdict
from unbackdoor.rng import stream
from unbackdoor.runtime.journal import FORGETFUL, Journal, opened
from unbackdoor.runtime.work import Work
from unbackdoor.scanning import Described, scan
from unbackdoor.scanning.settings import FIRST_SHARE, PLAIN
from unbackdoor.training import TrainingSettings, fit
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Planted, Trigger

SPACE = Patch(2)
SCANNING = replace(
    SMALL,
    learning=replace(SMALL.learning, rounds=3, draws=150, steps=100, climbers=100, particles=500),
    panel=20,
    stair_draws=200,
)
RECIPE = TrainingSettings(epochs=15, batch_size=32, learning_rate=0.1, shift=0)


def pictures() -> tuple[Tensor, Tensor]:
    """Bars across the upper or the lower half, in noise: 800 pictures of 10 × 10 pixels."""
    images = torch.randint(80, (800, 3, 10, 10), dtype=torch.uint8, generator=stream(0, "noise"))
    labels = torch.arange(800) % 2
    images[labels == 0, :, 2:4] += 90
    images[labels == 1, :, 6:8] += 90
    return images, labels


@pytest.fixture(scope="module")
def planted() -> Planted:
    theta = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(3)
    return Planted(Trigger("check", SPACE, theta), 1)


@pytest.fixture(scope="module")
def network(planted: Planted) -> nn.Sequential:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 24, 2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d((3, 1)),
            nn.Flatten(),
            nn.Linear(72, 2),
        )
    backdoor = Backdoor((planted.trigger,), goal_of("all-to-one", 1, 2), 0.2)
    poison = Poison(first.defend, backdoor, stream(0, "poison"))
    fit(model, first.defend, RECIPE, generator=stream(0, "training"), change=poison)
    return model


@pytest.fixture(scope="module")
def found(network: nn.Sequential) -> ScanResult:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    described = Described(model=freeze(network), path="", sha256="", arch="toy")
    return scan(described, first, SPACE.name, SCANNING, Work(seed=0))


def plan(network: nn.Module, found: ScanResult, asked: Asked | None = None) -> Plan:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    planner = Planner(
        model=freeze(network), images=first.defend, scanning=SCANNING, work=Work(seed=0)
    )
    return planner(found, asked or Asked())


def rate(model: nn.Module, planted: Planted) -> float:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    theta = planted.trigger.theta[None]
    return attack_success(
        freeze(model), first.evaluate, SPACE, theta, 1, generator=stream(0, "measure")
    )


def test_the_planted_trigger_is_unlearnt_and_the_control_keeps_it(
    network: nn.Sequential, planted: Planted, found: ScanResult
) -> None:
    first, reserve = api._split(*pictures(), None).divide(FIRST_SHARE)
    assert rate(network, planted) > 0.9
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert found.targets == [1]
    deaf = copy.deepcopy(network)
    torch.nn.init.zeros_(deaf[-1].weight)
    torch.nn.init.zeros_(deaf[-1].bias)
    settings = RepairSettings(
        training=TrainingSettings(epochs=12, batch_size=32, learning_rate=0.05, shift=0)
    )
    module, result = repairing.repair(
        network,
        plan(network, found),
        repairing.Parts(first, reserve),
        How(unlearning=settings, scanning=SCANNING),
        repairing.Controls(planted=(planted,), reference=deaf),
        Work(seed=0),
    )
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    table = {row.name: row for row in result.rows}
    assert list(table) == ["before", "repaired", "fine-tuned", "ideal", "clean reference"]
    assert table["clean reference"].original_asr == 0
    assert table["before"].recovered_asr > 0.5
    assert table["repaired"].recovered_asr < 0.1
    assert (table["repaired"].original_asr or 0) < (table["fine-tuned"].original_asr or 0)
    assert (table["ideal"].original_asr or 0) < 0.2
    assert (table["fine-tuned"].original_asr or 0) > 0.5
    assert table["repaired"].accuracy > 0.95
    assert rate(module, planted) < rate(network, planted)
    assert result.rescan is not None
    assert result.rescan.seed != found.seed
    assert result.rescan.data.sha256 != found.data.sha256
    assert result.assumed is not None
    assert (result.assumed.basis, result.assumed.targets) == ("found", [1])
    guard = result.guard
    assert guard is not None
    assert guard.outcome == "kept"
    assert guard.accuracy_lost <= 0.01
    beside, fresh = first.evaluate.divide(GUARD.watched)
    assert guard.unseen == len(fresh) + len(reserve.defend) + len(reserve.evaluate)
    assert guard.watched == len(kept_apart(first.defend, GUARD.kept_back)[1]) + len(beside)
    assert verdict(result) == "clean"


@dataclass(frozen=True)
class Rounds:
    """A repair that begins with a trigger which is not the planted one.

    Args:
        network: to repair.
        found: the scan.

    """

    network: nn.Module
    found: ScanResult

    @property
    def assumed(self) -> Assumption:
        return Assumption(basis="found", sentence="It is grey.", targets=[1])

    def repaired(self, rounds: int, journal: Journal = FORGETFUL) -> tuple[nn.Module, RepairResult]:
        first, reserve = api._split(*pictures(), None).divide(FIRST_SHARE)
        another = Lesson(SPACE, always(torch.full((12,), 0.5)))
        settings = RepairSettings(
            training=TrainingSettings(epochs=12, batch_size=32, learning_rate=0.05, shift=0)
        )
        return repairing.repair(
            self.network,
            Plan(found=self.found, assumed=self.assumed, charges=(Charge(1, another),)),
            repairing.Parts(first, reserve),
            How(unlearning=settings, guard=replace(GUARD, rounds=rounds), scanning=SCANNING),
            repairing.Controls(),
            Work(seed=0, journal=journal),
        )


@pytest.fixture(scope="module")
def rounds(network: nn.Sequential, found: ScanResult) -> Rounds:
    return Rounds(network, found)


@pytest.fixture(scope="module")
def after_more(rounds: Rounds) -> tuple[nn.Module, RepairResult]:
    return rounds.repaired(3)


def test_what_the_scan_after_a_repair_still_finds_is_unlearnt_in_another_round(
    rounds: Rounds, planted: Planted, after_more: tuple[nn.Module, RepairResult]
) -> None:
    module, once = rounds.repaired(1)
    left = rate(module, planted)
    for result in (once, after_more[1]):
        assert result.guard is not None
        assert result.guard.outcome == "kept"
        assert result.assumed is not None
        assert result.assumed.targets == [1]
    assert left > 0.5
    assert verdict(once) == "inconclusive"  # of few classes only a clear lead tells a backdoor
    assert once.assumed == rounds.assumed
    module, again = after_more
    assert rate(module, planted) < left
    assert again.rescan is not None
    assert again.rescan.verdict == "clean"
    assert again.assumed is not None
    assert again.assumed.sentence.startswith("It is grey. After that the scan still found triggers")
    assert again.image_passes > 1.5 * once.image_passes
    assert not once.not_taken
    (first_round,) = again.not_taken
    assert once.rescan is not None
    assert (first_round.assumed, first_round.guard) == (rounds.assumed, once.guard)
    assert first_round.rescan is not None
    assert first_round.rescan.reason == once.rescan.reason
    assert len({rounds.found.seed, first_round.rescan.seed, again.rescan.seed}) == 3


def test_a_repair_that_is_interrupted_in_its_second_round_goes_on_to_the_bit(
    rounds: Rounds,
    after_more: tuple[nn.Module, RepairResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, kept, stops = Journal.write, Counter[str](), [9, 20]

    def interrupted(journal: Journal, name: str, value: object) -> None:
        write(journal, name, value)
        kept[journal._prefix.partition(".")[0]] += 1
        if stops and kept["round 2"] == stops[0]:
            del stops[0]
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "write", interrupted)
    while stops:
        with pytest.raises(KeyboardInterrupt), opened(tmp_path, "repair") as journal:
            rounds.repaired(3, journal)
    with opened(tmp_path, "repair") as journal:
        module, result = rounds.repaired(3, journal)
    whole, wanted = after_more
    before, after = whole.state_dict(), module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert result.image_passes == wanted.image_passes
    assert (result.guard, result.assumed) == (wanted.guard, wanted.assumed)
    assert result.rescan is not None
    assert wanted.rescan is not None
    assert result.rescan.classes == wanted.rescan.classes
    assert len(result.not_taken) == len(wanted.not_taken)


def test_a_further_round_that_comes_to_nothing_leaves_what_there_was(
    network: nn.Sequential, planted: Planted, found: ScanResult
) -> None:
    """At such a rate nothing is learnt, and black patches never worked."""
    first, reserve = api._split(*pictures(), None).divide(FIRST_SHARE)
    assumed = Assumption(basis="found", sentence="It is black.", targets=[1])
    another = Lesson(SPACE, always(torch.zeros(12)))
    settings = RepairSettings(
        training=TrainingSettings(epochs=1, batch_size=32, learning_rate=1e-9, shift=0)
    )
    module, result = repairing.repair(
        network,
        Plan(found=found, assumed=assumed, charges=(Charge(1, another),)),
        repairing.Parts(first, reserve),
        How(unlearning=settings, guard=replace(GUARD, attempts=(Attempt(),)), scanning=SCANNING),
        repairing.Controls(),
        Work(seed=0),
    )
    assert result.rescan is not None
    assert verdict(result) == "inconclusive"  # of few classes only a clear lead tells a backdoor
    assert result.assumed == assumed
    (last,) = result.not_taken
    assert last.rescan is None
    assert last.guard.outcome == "stuck"
    assert "came to nothing better. No state of the repair" in in_vain(result)
    assert rate(module, planted) > 0.9


def test_a_clean_verdict_leaves_nothing_to_repair(network: nn.Module) -> None:
    images, labels = pictures()
    found = api.scan(
        lambda x: torch.stack([x[:, :, 2:4].mean((1, 2, 3)), x[:, :, 6:8].mean((1, 2, 3))], 1),
        images,
        labels,
        space="patch:1",
        settings=SCANNING,
        terms=PLAIN,
    )
    assert found.verdict == "clean"
    with pytest.raises(InsufficientDataError, match="nothing"):
        api.repair(network, images, labels, found=found)


def test_too_few_images_to_scan_again_are_noticed_before_any_training(
    network: nn.Module, found: ScanResult
) -> None:
    first, reserve = api._split(*pictures(), None).divide(FIRST_SHARE)
    few = Split(reserve.defend.subset(torch.arange(3)), reserve.evaluate)
    never = RepairSettings(training=TrainingSettings(learning_rate=1e30))
    with pytest.raises(InsufficientDataError, match="at least"):
        repairing.repair(
            network,
            plan(network, found),
            repairing.Parts(first, few),
            How(unlearning=never, scanning=SCANNING),
            repairing.Controls(),
            Work(seed=0),
        )


def test_the_work_is_counted_in_images_not_in_epochs(network: nn.Module) -> None:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    settings = RepairSettings(
        images_seen=800, training=TrainingSettings(epochs=8, batch_size=50, shift=0)
    )
    for count in (100, 200, 400):
        some = first.defend.subset(torch.arange(count))
        module = copy.deepcopy(network)
        passes = repairing.unlearn(module, some, None, settings, Work(seed=0))
        assert passes == 2 * 800  # once to learn, once for what the original network answers


def test_courses_that_share_the_original_ask_it_once_and_end_the_same(network: nn.Module) -> None:
    first, _ = api._split(*pictures(), None).divide(FIRST_SHARE)
    settings = RepairSettings(
        images_seen=200, training=TrainingSettings(epochs=2, batch_size=50, shift=1)
    )
    shared = repairing.Recalled(freeze(network))
    passes: list[int] = []
    weights: list[torch.Tensor] = []
    for original in (shared, shared, None):
        module = copy.deepcopy(network)
        some = first.defend.subset(torch.arange(100))
        passes.append(
            repairing.unlearn(module, some, None, settings, Work(seed=0), original=original)
        )
        weights.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert passes == [400, 400, 400]
    assert shared.model.passes == 200
    assert shared.spared > 0
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
