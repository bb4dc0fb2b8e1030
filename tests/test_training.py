from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rescaled import resized
from unbackdoor import training
from unbackdoor.data import Images
from unbackdoor.errors import ArgumentError
from unbackdoor.metrics import accuracy
from unbackdoor.rng import stream
from unbackdoor.runtime.cpu import half_precision_pays
from unbackdoor.training import TrainingSettings, Watch, augment, fit

EXACT = 1e-3
ROUNDING = 1e-2 if half_precision_pays(torch.device("cpu"), nn.Identity()) else EXACT
SETTINGS = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.1, shift=1)


def bright_or_dark(count: int = 60) -> Images:
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, 3, 6, 6), generator=stream(0))
    pixels = (noise + 160 * labels[:, None, None, None]).to(torch.uint8)
    return Images.of("toy", ("dark", "bright"), pixels, labels)


def tiny() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        )


def trained(seed: int) -> dict[str, Tensor]:
    model = tiny()
    fit(model, bright_or_dark(), SETTINGS, generator=stream(seed))
    return model.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_a_separable_set_is_learnt_without_an_error() -> None:
    model = tiny()
    seen = fit(model, bright_or_dark(), SETTINGS, generator=stream(0))
    assert seen == 6 * 60
    assert not model.training
    assert accuracy(model, bright_or_dark()) == 1.0


def test_the_seed_alone_decides_the_weights() -> None:
    first = trained(0)
    torch.rand(7)
    assert same(trained(0), first)
    assert not same(trained(1), first)


def test_layers_that_draw_follow_the_seed_and_leave_the_global_state_as_it_was() -> None:
    weights: list[dict[str, Tensor]] = []
    for count in (0, 7):
        torch.rand(count)
        before = torch.get_rng_state()
        model = nn.Sequential(nn.Dropout2d(0.3), *tiny())
        fit(model, bright_or_dark(), SETTINGS, generator=stream(0))
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(model.state_dict())
    assert same(*weights)


def test_every_epoch_shows_every_image_once_and_its_position_to_change() -> None:
    images, seen = bright_or_dark(50), list[int]()
    notes = iter(range(100))

    def change(pixels: Tensor, labels: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
        assert torch.equal(labels, images.targets[picks])
        assert len(pixels) <= SETTINGS.batch_size
        seen.extend(picks.tolist())
        return pixels, labels

    fit(
        tiny(),
        images,
        replace(SETTINGS, epochs=2),
        generator=stream(0),
        change=change,
        watch=Watch(look=lambda _: str(next(notes))),
    )
    assert sorted(seen[:50]) == sorted(seen[50:]) == list(range(50))
    assert seen[:50] != seen[50:]
    assert next(notes) == 2


def test_change_decides_what_is_learnt() -> None:
    model = tiny()
    fit(
        model,
        bright_or_dark(),
        SETTINGS,
        generator=stream(0),
        change=lambda pixels, labels, _: (pixels, 1 - labels),
    )
    assert accuracy(model, bright_or_dark()) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"shift": 6}, {"shift": -1}],
)
def test_a_setting_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        fit(tiny(), bright_or_dark(), replace(SETTINGS, **wrong), generator=stream(0))  # type: ignore[arg-type]


def test_diverged_training_is_an_error_and_no_network() -> None:
    with pytest.raises(ArgumentError, match="diverged"):
        fit(tiny(), bright_or_dark(), replace(SETTINGS, learning_rate=1e30), generator=stream(0))


def test_augment_follows_its_generator() -> None:
    images = torch.rand(20, 3, 8, 8, generator=stream(0))
    first = augment(images, 2, stream(1))
    assert torch.equal(augment(images, 2, stream(1)), first)
    assert not torch.equal(augment(images, 2, stream(2)), first)


def test_without_shift_images_are_mirrored_or_left() -> None:
    images = torch.rand(200, 3, 5, 7, generator=stream(0))
    out = augment(images, 0, stream(1))
    kept = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert bool((kept ^ mirrored).all())
    assert 70 < int(mirrored.sum()) < 130


def test_shifts_are_windows_of_the_reflected_image_with_all_offsets() -> None:
    image = torch.arange(2 * 25.0).reshape(1, 2, 5, 5)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")[0]
    windows = [padded[:, y : y + 5, x : x + 5] for y in range(3) for x in range(3)]
    allowed = [view for window in windows for view in (window, window.flip(2))]
    found: set[int] = set()
    for out in augment(image.expand(400, -1, -1, -1), 1, stream(0)):
        matches = [at for at, view in enumerate(allowed) if torch.equal(view, out)]
        assert matches
        found.update(matches)
    assert len(found) == 18


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 6])
def test_any_number_of_steps_will_do(epochs: int) -> None:
    """A fifth of five steps is one step of warm-up."""
    settings = replace(SETTINGS, epochs=epochs, batch_size=60, warm_up=0.2)
    assert fit(tiny(), bright_or_dark(), settings, generator=stream(0)) == 60 * epochs


@pytest.mark.parametrize("clip", [None, 0.03])
@pytest.mark.parametrize("times", [0.1, 1000.0])
def test_scaled_training_does_not_depend_on_the_size_of_weights(
    times: float, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By large weights before normalisation an attacker could keep what is trained away."""
    if clip:  # bfloat16 rounds the norms that are compared
        monkeypatch.setattr(training, "half_precision_pays", lambda *_: False)
    images = bright_or_dark()
    pixels = images.batch(torch.arange(len(images)))

    def answers(model: nn.Module, scaled: bool) -> Tensor:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-20  # by this the size would be told
        fit(model, images, replace(SETTINGS, scaled=scaled, clip=clip), generator=stream(0))
        return model(pixels).detach()

    wanted = answers(tiny(), scaled=True)
    rounding = EXACT if clip else ROUNDING
    assert torch.allclose(answers(resized(tiny(), times), scaled=True), wanted, atol=rounding)
    plain = answers(tiny(), scaled=False)
    assert not torch.allclose(answers(resized(tiny(), times), scaled=False), plain, atol=1e-2)


@pytest.mark.parametrize("clip", [None, 0.03])
@pytest.mark.parametrize("times", [0.05, 20.0])
def test_scaled_training_does_not_depend_on_which_of_two_layers_is_large(
    times: float, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "half_precision_pays", lambda *_: False)  # which rounds
    images = bright_or_dark()
    pixels = images.batch(torch.arange(len(images)))

    def answers(times: float) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            one, two = nn.Linear(108, 12, bias=False), nn.Linear(12, 2)
        with torch.no_grad():
            one.weight.mul_(times)
            two.weight.div_(times)
        model = nn.Sequential(nn.Flatten(), one, nn.ReLU(), two)
        fit(model, images, replace(SETTINGS, scaled=True, clip=clip), generator=stream(0))
        return model(pixels).detach()

    assert torch.allclose(answers(times), answers(1.0), atol=EXACT)


def test_clipping_shortens_what_is_too_long_and_nothing_else() -> None:
    settings = replace(SETTINGS, scaled=True, clip=0.03)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[2].weight.zero_()
    groups = training._groups(model, settings)
    for factor in (1e-6, 1e6):
        for one in model.parameters():
            one.grad = factor * torch.randn(one.shape, generator=stream(0))
        before = [one.grad.clone() for one in model.parameters() if one.grad is not None]
        training._clip(groups, 0.03)
        for one, was in zip(model.parameters(), before, strict=True):
            assert one.grad is not None
            if one.dim() == 1 or factor < 1:
                assert torch.equal(one.grad, was)
                continue
            size = float(one.detach().square().sum()) / len(one) or 1.0
            longest = 0.03 / size * max(float(one.detach().norm()), training.SHORT)
            assert float(one.grad.norm()) == pytest.approx(longest, rel=1e-4)
            assert torch.allclose(one.grad / one.grad.norm(), was / was.norm(), atol=1e-5)


@pytest.mark.parametrize(("layers", "small"), [(1, False), (2, False), (3, True)])
def test_a_picture_that_shrinks_below_a_kernel_is_noticed(layers: int, small: bool) -> None:
    """12 pixels become 6, 3 and 2; what follows is a kernel of 3."""
    convolutions = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(layers)]
    model = nn.Sequential(*convolutions, nn.Conv2d(3, 3, 3, padding=1), nn.Dropout()).train()
    assert training._outgrown(model, torch.rand(1, 3, 12, 12)) == small
    assert model.training
