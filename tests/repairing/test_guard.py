"""No repair wrecks a network: what the guard watches, takes, and refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rescaled import resized
from unbackdoor.attack import Backdoor, Poison, goal_of
from unbackdoor.data import Images
from unbackdoor.errors import ArgumentError
from unbackdoor.metrics import accuracy, attack_success, predict
from unbackdoor.models import freeze
from unbackdoor.repairing import Charge, Lesson, Recalled
from unbackdoor.repairing.guard import Chosen, Guard, _best, _Candidate, mixture, train_last
from unbackdoor.repairing.lookout import Lookout, favoured, judged, loss
from unbackdoor.repairing.plan import always
from unbackdoor.repairing.rivals.ft_sam import SamSettings
from unbackdoor.repairing.rounds import kept_apart
from unbackdoor.repairing.settings import GUARD, Attempt, GuardSettings, RepairSettings
from unbackdoor.repairing.ways import Blind, Unlearning, Way
from unbackdoor.results import Attempted, Watched
from unbackdoor.rng import initialised_by, stream
from unbackdoor.runtime.work import Work
from unbackdoor.training import DivergedError, TrainingSettings, Watch, fit
from unbackdoor.triggers.additive import Additive
from unbackdoor.triggers.patch import Patch
from unbackdoor.triggers.planted import Trigger

SPACE = Patch(2)
TRIGGER = Trigger("check", SPACE, torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(3))
CHARGE = Charge(1, Lesson(SPACE, always(TRIGGER.theta)))
RECIPE = TrainingSettings(epochs=15, batch_size=32, learning_rate=0.05, shift=0)
UNLEARNING = RepairSettings(
    images_seen=3000,
    training=TrainingSettings(epochs=12, batch_size=32, learning_rate=0.03, shift=0, scaled=True),
)


def bars(count: int, seed: int) -> Images:
    """Bars across the upper or the lower half, in noise."""
    pixels = torch.randint(80, (count, 3, 10, 10), dtype=torch.uint8, generator=stream(seed, "x"))
    labels = torch.arange(count) % 2
    pixels[labels == 0, :, 2:4] += 60
    pixels[labels == 1, :, 6:8] += 60
    return Images.of("bars", ("up", "down"), pixels, labels)


def ending() -> list[nn.Module]:
    return [nn.AdaptiveMaxPool2d((3, 1)), nn.Flatten()]


def with_biases() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 24, 2), nn.ReLU(), *ending(), nn.Linear(72, 2))


def with_elu() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 2), nn.ELU(), nn.Conv2d(16, 24, 1), nn.ELU()]
    return nn.Sequential(*layers, *ending(), nn.Linear(72, 2))


def normalised_after() -> nn.Module:
    layers = [nn.Conv2d(3, 24, 2), nn.ELU(), nn.BatchNorm2d(24)]
    return nn.Sequential(*layers, *ending(), nn.Dropout(0.2), nn.Linear(72, 2))


def with_dropout() -> nn.Module:
    last = [nn.Linear(72, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 2)]
    return nn.Sequential(nn.Conv2d(3, 24, 2), nn.ReLU(), *ending(), *last)


def normalised() -> nn.Module:
    layers = [nn.Conv2d(3, 24, 2), nn.BatchNorm2d(24), nn.ReLU()]
    return nn.Sequential(*layers, *ending(), nn.Linear(72, 2))


KINDS = (with_biases, with_elu, normalised_after, with_dropout, normalised)


def backdoored(kind: Callable[[], nn.Module]) -> nn.Module:
    return copy.deepcopy(_trained(kind))


@cache
def _trained(kind: Callable[[], nn.Module]) -> nn.Module:
    """Return the first of a few trainings in which the backdoor took."""
    images = bars(400, 0)
    backdoor = Backdoor((TRIGGER,), goal_of("all-to-one", 1, 2), 0.2)
    model = kind()
    for seed in range(5):
        with initialised_by(stream(seed, "weights")):
            model = kind()
        poison = Poison(images, backdoor, stream(seed, "poison"))
        fit(model, images, RECIPE, generator=stream(seed, "training"), change=poison)
        if success(model.eval()) > 0.9 and accuracy(freeze(model), bars(400, 1)) > 0.95:
            break
    return model


def success(model: nn.Module) -> float:
    theta = TRIGGER.theta[None]
    places = stream(0, "places")
    return attack_success(freeze(model), bars(400, 1), SPACE, theta, 1, generator=places)


def repaired(model: nn.Module, settings: GuardSettings, unlearning: RepairSettings) -> Chosen:
    learn, watched = kept_apart(bars(300, 2), settings.kept_back)
    lookout = Lookout(model, watched, (CHARGE,), settings, seed=0)
    way = Unlearning(
        course=CHARGE.lesson, images=learn, settings=unlearning, original=Recalled(freeze(model))
    )
    return Guard(model, lookout, way, settings, Work(seed=0)).choose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.03, 3.0])
def test_whatever_the_network_and_the_rate_accuracy_is_kept(
    kind: Callable[[], nn.Module], rate: float
) -> None:
    """The higher rate wrecks networks; then a gentler attempt is taken, or none."""
    model = backdoored(kind)
    before = accuracy(freeze(model), bars(400, 1))
    assert before > 0.9
    assert success(model) > 0.8
    training = replace(UNLEARNING.training, learning_rate=rate)
    attempts = tuple(Attempt(rate=factor) for factor in (1, 0.1, 0.01))
    chosen = repaired(
        model, GuardSettings(attempts=attempts), replace(UNLEARNING, training=training)
    )
    assert accuracy(freeze(chosen.network), bars(400, 1)) > before - 0.03
    if chosen.taken is None:
        assert success(chosen.network) == success(model)
    else:
        assert success(chosen.network) < 0.5 * success(model)
        assert chosen.states[chosen.taken].accuracy_lost <= 1 / 75


@pytest.mark.parametrize("times", [1.0, 30.0])
def test_large_weights_keep_no_backdoor(times: float) -> None:
    """The same function by larger weights, before a normalisation that hides their size."""
    model = resized(backdoored(normalised), times)
    assert success(model) > 0.8
    chosen = repaired(model, GuardSettings(), UNLEARNING)
    assert chosen.taken is not None
    assert success(chosen.network) < 0.3


@dataclass(frozen=True)
class Scripted:
    """Moves the bias of the last layer, by which accuracy falls; tells what it was asked for."""

    bias: tuple[tuple[float, ...], ...]
    asked: list[int]

    def describe(self, attempt: Attempt) -> Attempted:
        return Attempted(
            method="script", learning_rate=attempt.rate, share=0, layers=1, images_seen=100
        )

    def __call__(self, network: nn.Module, attempt: Attempt, watch: Watch, work: Work) -> int:
        moves = self.bias[len(self.asked)]
        self.asked.append(len(moves))
        last = network.get_submodule("4")
        assert isinstance(last, nn.Linear)
        start = last.bias.detach().clone()
        for seen, bias in enumerate(moves, 1):
            if bias != bias:
                raise DivergedError("learning_rate: training diverged.")
            with torch.no_grad():
                last.bias.copy_(start + torch.tensor([bias, 0.0]))
            watch.look(seen)
        return 100


FINE, WRECKED, NAN = 0.0, 1e3, float("nan")
"""Added to the logit of the first class."""


def scripted(*bias: tuple[float, ...], charges: tuple[Charge, ...] = ()) -> tuple[Chosen, int]:
    guard, asked = scripted_guard(*bias, charges=charges)
    return guard.choose(), len(asked)


def scripted_guard(
    *bias: tuple[float, ...], charges: tuple[Charge, ...] = ()
) -> tuple[Guard, list[int]]:
    model = backdoored(with_biases)
    asked: list[int] = []
    settings = GuardSettings(attempts=(Attempt(),) * len(bias))
    lookout = Lookout(model, bars(100, 3), charges, settings, seed=0)
    way: Way = Scripted(bias, asked)
    return Guard(model, lookout, way, settings, Work(seed=0)), asked


def test_a_good_end_is_taken_and_no_further_attempt_is_made() -> None:
    chosen, attempts = scripted((WRECKED, FINE), (FINE,))
    assert (chosen.taken, attempts) == (2, 1)


def test_after_a_fall_the_best_earlier_state_counts_and_the_next_attempt_is_made() -> None:
    chosen, attempts = scripted((FINE, WRECKED), (WRECKED,), (NAN,))
    assert (chosen.taken, attempts) == (1, 3)
    assert [state.attempt for state in chosen.states] == [0] * 5 + [1] * 3
    assert [state.mixed for state in chosen.states[1:]] == [1, 1, 0.7, 0.5, 1, 0.7, 0.5]
    assert accuracy(freeze(chosen.network), bars(100, 3)) > 0.9


def test_an_end_that_keeps_accuracy_is_taken_before_an_earlier_state_of_another_attempt() -> None:
    chosen, attempts = scripted((FINE, WRECKED), (FINE,), (FINE,))
    assert (chosen.taken, attempts) == (5, 2)


def test_where_no_end_is_sure_a_gentler_attempt_counts_only_if_it_keeps_more() -> None:
    """The losses are more than is allowed, and not more than chance explains."""
    model, images = backdoored(with_biases), bars(100, 3)
    frozen = freeze(model)
    before = accuracy(frozen, images)
    losing: dict[int, float] = {}
    for bias in torch.linspace(0, 50, 2000).tolist():
        moved = accuracy(lambda x, b=bias: frozen(x) + torch.tensor([b, 0.0]), images)
        losing.setdefault(round(100 * (before - moved)), bias)
    some, more = [losing[count] for count in sorted(losing) if count >= 2][:2]
    chosen, attempts = scripted((some,), (some,))
    assert (chosen.taken, attempts) == (1, 2)
    chosen, attempts = scripted((more,), (some,))
    assert (chosen.taken, attempts) == (2, 2)


def test_where_every_state_is_wrecked_the_network_is_as_it_came() -> None:
    chosen, attempts = scripted((WRECKED, WRECKED), (NAN,), (WRECKED,))
    assert (chosen.taken, attempts) == (None, 3)
    model = backdoored(with_biases)
    assert all(
        torch.equal(chosen.network.state_dict()[key], value)
        for key, value in model.state_dict().items()
    )


def test_an_end_without_accuracy_is_mixed_with_the_network_as_it_came() -> None:
    states = mixture(
        {"a": torch.zeros(2), "n": torch.tensor(3)},
        {"a": torch.ones(2), "n": torch.tensor(5)},
        0.25,
    )
    assert (states["a"].tolist(), int(states["n"])) == ([0.25, 0.25], 5)
    model = backdoored(with_biases)
    last = model.get_submodule("4")
    assert isinstance(last, nn.Linear)
    images = bars(100, 3)
    frozen = freeze(model)
    bias = next(
        bias
        for bias in torch.linspace(0, 200, 400).tolist()
        if accuracy(lambda x, b=bias: frozen(x) + torch.tensor([b, 0.0]), images)
        < accuracy(frozen, images) - 0.01
    )
    chosen, _ = scripted((1.2 * bias,))
    assert chosen.taken is not None
    assert chosen.states[chosen.taken].mixed < 1


def test_accuracy_that_is_kept_is_not_enough_where_the_triggers_still_work() -> None:
    chosen, attempts = scripted((FINE,), (FINE, FINE), charges=(CHARGE,))
    assert (chosen.taken, attempts) == (None, 2)
    assert all((state.asr or 0) > 0.8 for state in chosen.states)


def test_triggers_of_a_class_are_held_to_what_goes_to_that_class_alone() -> None:
    """A class that gets many images anyway says nothing of one that gets none."""
    lookout = Lookout(backdoored(with_biases), bars(100, 3), (CHARGE,), GuardSettings(), seed=0)
    before = lookout.before
    assert before.excess == pytest.approx((before.asr or 0) - lookout.anyway[0])
    state = Watched(attempt=0, images_seen=9, accuracy_lost=0.0, asr=0.3, excess=0.02)
    assert lookout.lowers(state)
    assert not lookout.lowers(msgspec.structs.replace(state, asr=0.1, excess=0.09))


def test_of_attempts_after_which_stronger_triggers_work_a_gentle_one_is_taken_last() -> None:
    lookout = Lookout(backdoored(with_biases), bars(100, 3), (CHARGE,), GuardSettings(), seed=0)

    def state(number: int, asr: float, stronger: float, lost: float = 0.0) -> Watched:
        return Watched(
            attempt=number,
            images_seen=9,
            accuracy_lost=lost,
            asr=asr,
            excess=asr,
            stronger=stronger,
        )

    def best(*states: tuple[Watched, Attempt]) -> int:
        every = [_Candidate(one, attempt, {}, end=True) for one, attempt in states]
        chosen = _best(every, lookout)
        assert chosen is not None
        return chosen.state.attempt

    gentle = Attempt(rate=0.1)
    hidden = state(3, 0.0, 0.0), gentle
    assert best((state(0, 0.0, 0.3), Attempt()), hidden) == 0
    assert best((state(0, 0.0, 0.3), Attempt()), (state(1, 0.0, 0.2), Attempt()), hidden) == 1
    assert best((state(0, 0.0, 0.3), Attempt()), (state(1, 0.0, 0.0), Attempt()), hidden) == 1
    assert best((state(0, 0.9, 0.3), Attempt()), hidden) == 3
    assert best((state(0, 0.9, 0.3), Attempt()), (state(3, 0.5, 0.0), gentle)) == 3
    costly, cheap = state(0, 0.0, 0.1, lost=0.035), state(1, 0.0, 0.2)
    assert best((costly, Attempt()), (cheap, Attempt()), hidden) == 1


def test_few_layers_are_the_last_ones() -> None:
    model = with_dropout()
    train_last(model, 0.3)
    learns = [parameter.requires_grad for parameter in model.parameters()]
    assert learns == [False] * 4 + [True] * 2
    train_last(model, 0.01)
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] * 5 + [True]
    fixed = model.get_parameter("0.weight").detach().clone()
    fit(model, bars(64, 0), RECIPE, generator=stream(0, "fit"))
    assert torch.equal(model.get_parameter("0.weight"), fixed)


@pytest.mark.parametrize("count", [20, 100, 2000])
def test_images_are_kept_back_of_every_class_and_never_trained_on(count: int) -> None:
    learn, watched = kept_apart(bars(count, 0), 0.25)
    assert len(learn) + len(watched) == count
    assert not set(learn.rows.tolist()) & set(watched.rows.tolist())
    assert len(watched) == pytest.approx(count / 4, abs=2)
    assert torch.bincount(watched.targets, minlength=2).min() >= 1


def test_a_class_with_one_image_is_trained_on() -> None:
    images = bars(21, 0).subset(torch.tensor([0, 1, 3, 5, 7]))
    learn, watched = kept_apart(images, 0.25)
    assert (learn.targets == 0).sum() == 1
    assert (watched.targets == 0).sum() == 0


@given(st.integers(0, 400), st.integers(0, 400), st.integers(800, 5000), st.floats(0, 0.2))
def test_what_is_kept_never_lost_more_than_is_allowed(
    broken: int, mended: int, count: int, allowed: float
) -> None:
    outcome = judged(broken, mended, count, allowed)
    lost, error = loss(broken, mended, count)
    assert (outcome == "kept") == (lost <= allowed and error <= max(allowed, 0.01))
    if outcome == "lost":
        assert judged(broken, mended, 100 * count, 0.2) != "lost"


def test_a_loss_of_two_points_is_seldom_called_kept_by_few_images() -> None:
    """Of 175 images with as many changed answers as were seen in networks of the benchmark."""
    draws = np.random.default_rng(0).multinomial(175, [0.05, 0.03, 0.92], 2000)
    kept = [judged(int(b), int(m), 175, 0.01) == "kept" for b, m, _ in draws]
    assert np.mean(kept) <= 0.05


def test_what_unseen_images_turn_down_is_not_taken_and_gentler_attempts_follow() -> None:
    guard, asked = scripted_guard((FINE,), (FINE,), (WRECKED,), (FINE,))
    first = guard.choose()
    assert (first.taken, first.turned_down, len(asked)) == (1, [], 1)
    assert guard.turn_down()
    second = guard.choose()
    assert (second.taken, second.turned_down, len(asked)) == (2, [1], 2)
    assert guard.turn_down()
    third = guard.choose()  # the attempt between them has not kept accuracy
    assert third.taken is not None
    assert (third.states[third.taken].attempt, third.turned_down, len(asked)) == (3, [1, 2], 4)
    assert not guard.turn_down()  # not for ever


def test_where_there_is_nothing_better_the_record_is_that_of_what_was_turned_down() -> None:
    guard, asked = scripted_guard((FINE,), (WRECKED,))
    first = guard.choose()
    assert guard.turn_down()
    again = guard.choose()
    assert (again.taken, again.turned_down) == (first.taken, [])
    assert len(again.states) > len(first.states)
    assert len(asked) == 2
    assert not guard.turn_down()


def test_without_triggers_a_blind_repair_is_guarded_too() -> None:
    model = backdoored(normalised)
    learn, watched = kept_apart(bars(300, 2), 0.25)
    settings = GuardSettings(attempts=(Attempt(), Attempt(rate=0.1)))
    lookout = Lookout(model, watched, (), settings, seed=0)
    sam = SamSettings(
        training=replace(RECIPE, learning_rate=0.05, label_smoothing=0.0, warm_up=0.0)
    )
    way = Blind(images=learn, settings=sam, images_seen=2000)
    chosen = Guard(model, lookout, way, settings, Work(seed=0)).choose()
    assert chosen.taken is not None
    assert chosen.attempts[0].method == "FT-SAM"
    assert {state.asr for state in chosen.states} == {None}
    before = accuracy(freeze(model), bars(400, 1))
    assert accuracy(freeze(chosen.network), bars(400, 1)) > before - 0.03


@pytest.mark.parametrize(
    "wrong",
    [
        {"kept_back": 0.0},
        {"kept_back": 1.0},
        {"attempts": ()},
        {"max_accuracy_lost": -0.1},
        {"stronger": (1.0,)},
    ],
)
def test_settings_of_the_guard_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        GuardSettings(**wrong)  # type: ignore[arg-type]


def test_the_end_of_an_attempt_is_not_refused_for_a_loss_that_chance_explains() -> None:
    model = backdoored(normalised)
    lookout = Lookout(model, bars(100, 2), (CHARGE,), GuardSettings(), seed=0)

    def state(broken: int, mended: int) -> Watched:
        lost = (broken - mended) / 100
        return Watched(
            attempt=0, images_seen=1, accuracy_lost=lost, asr=0.0, broken=broken, mended=mended
        )

    assert lookout.keeps(state(1, 0))
    assert not lookout.keeps(state(5, 1))
    assert lookout.may_keep(state(5, 1))  # a loss of 4 % with a standard error of 2.4 %
    assert not lookout.may_keep(state(30, 2))


class Shade(nn.Module):
    """Answers 1 for pictures that are on average brighter than a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        over = images.mean((1, 2, 3)) - self.limit
        return torch.stack([-over, over], 1)


DARK = Images.of(
    "dark",
    ("dark", "bright"),
    torch.full((40, 3, 4, 4), 51, dtype=torch.uint8),  # a brightness of 0.2
    torch.arange(40) % 2,
)
SHINE = Additive(16)
BRIGHTER = Charge(1, Lesson(SHINE, always(torch.ones(SHINE.dimensions(DARK.shape)))))


def ahead(model: nn.Module, charge: Charge, strength: float) -> float:
    frozen = freeze(model)
    return favoured(frozen, [DARK], charge, [strength], predict(frozen, DARK), seed=0)


def test_a_backdoor_that_is_only_weakened_shows_under_stronger_triggers() -> None:
    for limit, favours in ((0.25, 1), (0.4, 4), (0.8, 16)):  # 0.2 + s · 16 / 255 has to exceed it
        for strength in (1.0, 4.0, 16.0):
            told = ahead(Shade(limit), BRIGHTER, strength)
            assert told == (1.0 if strength >= favours else -1.0)


def test_a_state_that_stronger_triggers_move_is_not_healed() -> None:
    lookout = Lookout(Shade(0.22), DARK, (BRIGHTER,), GuardSettings(), seed=0)
    assert (lookout.before.asr, lookout.before.stronger) == (1.0, 1.0)
    hidden, gone = (lookout.look(Shade(limit), 0, 1) for limit in (0.4, 0.8))
    assert (hidden.asr, hidden.stronger, lookout.heals(hidden)) == (0.0, 1.0, False)
    assert (gone.asr, gone.stronger, lookout.heals(gone)) == (0.0, -1.0, True)
    assert lookout.cost(gone) < lookout.cost(hidden)
    to_each = replace(BRIGHTER, goal=(1, 0))
    assert Lookout(Shade(0.22), DARK, (to_each,), GuardSettings(), seed=0).before.stronger is None


def test_what_a_network_prefers_without_a_trigger_is_no_sign_of_one() -> None:
    space = Patch(1)
    charge = Charge(1, Lesson(space, always(torch.zeros(space.dimensions(DARK.shape)))))
    assert ahead(Shade(0.1), charge, 2.0) == 0.0


def test_what_was_trained_but_gently_is_told() -> None:
    assert [attempt.gentle for attempt in GUARD.attempts] == [False] * 5 + [True] * 2
    model = backdoored(normalised)
    whole = repaired(model, GuardSettings(attempts=(Attempt(),)), UNLEARNING)
    faster = replace(UNLEARNING, training=replace(UNLEARNING.training, learning_rate=0.3))
    part = repaired(model, GuardSettings(attempts=(Attempt(rate=0.1),)), faster)
    assert whole.taken is not None
    assert part.taken is not None
    assert (whole.gently, part.gently) == (False, True)


def test_accuracy_is_watched_on_further_images_too() -> None:
    model = backdoored(normalised)
    alone = Lookout(model, bars(100, 2), (CHARGE,), GuardSettings(), seed=0)
    more = Lookout(model, bars(100, 2), (CHARGE,), GuardSettings(), seed=0, beside=[bars(60, 3)])
    assert (alone.count, more.count) == (100, 160)
    assert more.before.accuracy_lost == 0
    assert more.before.asr == alone.before.asr
