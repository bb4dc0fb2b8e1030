"""Each check of the preflight finds what it is for, with a remedy, and lets good models pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import pytest
import torch
from torch import Tensor, nn

from kills import SMALL
from unbackdoor import api, results
from unbackdoor.data import Images, Intake, Split
from unbackdoor.errors import ContentError, InsufficientDataError, SizesError
from unbackdoor.models import Adapted, bare
from unbackdoor.preflight import adapt, check, only_side
from unbackdoor.rng import stream

CLASSES = 4


def levels(per_class: int = 32, side: int = 8) -> Split:
    """Noisy pictures of four brightnesses, one for each class."""
    labels = torch.arange(per_class * CLASSES) % CLASSES
    noise = torch.randint(30, (len(labels), 3, side, side), generator=stream(0, "levels"))
    pixels = (noise + labels[:, None, None, None] * 70).to(torch.uint8)
    names = tuple(f"level {label}" for label in range(CLASSES))
    return Split(*Images.of("levels", names, pixels, labels).divide(5 / 8))


def logits(images: Tensor) -> Tensor:
    """Tell the levels apart."""
    centres = torch.arange(CLASSES) * 70 / 255 + 0.06
    return -40 * (images.mean((1, 2, 3))[:, None] - centres).square()


class Net(nn.Module):
    """A network that is made of a function."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call
        self.weight = nn.Parameter(torch.ones(1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.call(images) * self.weight


def found(call: Callable[[Tensor], Tensor], images: Split | None = None) -> dict[str, str]:
    """What is seen about a network: check → sentence and remedy."""
    cleared = adapt(Net(call), images or levels())
    findings = (*cleared.findings, *check(cleared.network, cleared.images))
    return {finding.check: f"{finding.sentence} {finding.remedy}" for finding in findings}


def test_a_good_network_passes_as_it_is() -> None:
    network = Net(logits)
    cleared = adapt(network, levels())
    assert cleared.network is network
    assert (*cleared.findings, *check(network, levels())) == ()


def test_probabilities_become_logits_and_it_is_said() -> None:
    cleared = adapt(Net(lambda x: logits(x).softmax(1)), levels())
    assert "probabilities" in cleared.findings[0].sentence
    images = levels().defend.batch(torch.arange(8))
    assert torch.allclose(cleared.network(images).softmax(1), logits(images).softmax(1), atol=1e-5)
    assert isinstance(cleared.network, Adapted)
    assert isinstance(bare(cleared.network), Net)


def test_another_size_is_adapted_and_said() -> None:
    linear = nn.Linear(3 * 28 * 28, CLASSES)
    cleared = adapt(Net(lambda x: linear(x.flatten(1))), levels())
    assert cleared.images.evaluate.shape == (3, 28, 28)
    assert "scaled to 28×28" in cleared.findings[0].sentence
    assert "--size" in cleared.findings[0].remedy
    assert "cropped" not in cleared.findings[0].sentence


def test_the_one_side_that_a_network_takes_is_known() -> None:
    fixed, free = nn.Linear(3 * 48 * 48, CLASSES), nn.Conv2d(3, CLASSES, 3)
    assert only_side(Net(lambda x: fixed(x.flatten(1)))) == 48
    assert only_side(Net(lambda x: free(x).mean((2, 3)))) is None
    assert only_side(nn.Linear(3 * 50 * 50, CLASSES)) is None
    with pytest.raises(ContentError, match=r"^--data: two sizes; say --size 48, which the network"):
        raise SizesError("--data: two sizes", 90).known(48)


def test_pictures_that_are_no_squares_are_said_to_be_cropped() -> None:
    linear = nn.Linear(3 * 28 * 28, CLASSES)
    images = levels()
    wide = [
        replace(p, pixels=p.pixels.repeat(1, 1, 1, 2)) for p in (images.defend, images.evaluate)
    ]
    cleared = adapt(Net(lambda x: linear(x.flatten(1))), Split(*wide))
    assert "cropped to the middle and scaled to 28×28" in cleared.findings[0].sentence


def test_grey_networks_get_grey_pictures() -> None:
    def grey(images: Tensor) -> Tensor:
        return logits(nn.functional.conv2d(images, torch.ones(1, 1, 1, 1)))

    said = found(grey)
    assert "grey" in said["channels"]
    assert "accuracy" not in said


@pytest.mark.parametrize("side", [28, 32], ids=["of its size", "of another"])
def test_a_reshape_to_rows_of_one_channel_gets_grey_pictures(side: int) -> None:
    """Colour would pass it without an error, as three pictures instead of one."""
    said = found(lambda x: logits(x.reshape(-1, 1, 28, 28)), levels(side=side))
    assert "grey" in said["channels"]
    assert "accuracy" not in said
    assert ("size" in said) == (side != 28)
    with pytest.raises(ContentError, match=r"row of logits for each image, .* \(192, 4\)"):
        found(lambda x: logits(x).repeat(3, 1))


def test_empty_axes_behind_the_classes_are_dropped() -> None:
    cleared = adapt(Net(lambda x: logits(x)[:, :, None, None]), levels())
    assert cleared.network(torch.rand(2, 3, 8, 8)).shape == (2, CLASSES)


def test_training_mode_is_left_on_a_copy_and_said() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, CLASSES)).train()
    cleared = adapt(network, levels())
    assert cleared.findings[0].check == "train mode"
    assert network.training
    assert not cleared.network.training


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: logits(x) + 10 * torch.randn(len(x), CLASSES), "run again"),
        (lambda x: logits(x).detach(), "do not change with the pixels"),
        (lambda x: (logits(x) * 1e4).round() + 0 * x.sum(), "do not change with the pixels"),
        (lambda x: logits(x) * torch.nan, "not finite"),
        (lambda x: logits(x)[:, :3], "remove those"),
        (lambda x: logits(x).argmax(1), "row of logits"),
        (lambda x: logits(x)[:, [1, 2, 3, 0]], r'another order.*"level 0": 3, "level 1": 0'),
        (lambda x: logits(x / 255) + 0 * x.sum(), "--std 0.0039"),
    ],
    ids=["random", "no gradient", "zero gradient", "nan", "classes", "argmax", "order", "range"],
)
def test_what_would_mean_nothing_is_refused_with_a_remedy(
    call: Callable[[Tensor], Tensor], words: str
) -> None:
    with pytest.raises(ContentError, match=words) as caught:
        found(call)
    assert str(caught.value).startswith("MODEL: ")


def test_a_network_whose_answer_does_not_depend_on_the_picture_is_told_so() -> None:
    def dead(images: Tensor) -> Tensor:
        return (images.mean((1, 2, 3))[:, None] - 300).relu() + torch.arange(4.0)

    with pytest.raises(ContentError, match=r"the same to every picture.* weights are dead"):
        found(dead)

    def asleep(images: Tensor) -> Tensor:
        """Alive for bytes alone."""
        return logits(images / 255).where(images.amax((1, 2, 3))[:, None] > 1, 0.0)

    with pytest.raises(ContentError, match=r"the same to every .*; with --std 0.0039\d* it is rig"):
        found(asleep)


def test_a_network_that_wavers_without_changing_its_mind_is_scanned_and_it_is_said() -> None:
    scales = cycle((1.0, 1.1))
    said = found(lambda x: logits(x) * next(scales))["repeats"]
    assert "the same classes" in said
    assert "randomness off" in said


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    network = Net(logits)
    network.weight.data.fill_(value)
    with pytest.raises(ContentError, match="weight holds values that are not finite"):
        adapt(network, levels())


def test_a_range_that_costs_some_accuracy_is_a_warning() -> None:
    """Input in [-1, 1] is told apart; of [0, 1] the darkest and the brightest alone."""

    def network(images: Tensor) -> Tensor:
        dark = ((images.mean((1, 2, 3)) - 0.06).abs() < 0.05)[:, None]
        return torch.where(dark, logits(images), logits((images + 1) / 2))

    said = found(network)["accuracy"]
    assert "the right class for only 50%" in said
    assert "With --mean 0.5 --std 0.5 it is right on 100% of 80 images, and without on 50%." in said


def test_guesses_without_a_remedy_are_a_warning() -> None:
    def guesses(images: Tensor) -> Tensor:
        """See noise alone, whatever the brightness, so that no range of values helps."""
        noise = images - images.mean((1, 2, 3), keepdim=True)
        return noise.flatten(1) @ torch.randn(192, CLASSES, generator=stream(1, "w"))

    said = found(guesses)
    assert "says little" in said["accuracy"]


def test_few_images_and_duplicates_are_said() -> None:
    images = levels(16)
    assert "only 6 images" in found(logits, images)["images per class"]
    shared = images.defend.pixels.clone()
    shared[images.evaluate.rows[:2]] = shared[images.defend.rows[:2]]
    twice = Split(
        *(
            Images(p.name, p.classes, shared, p.labels, p.rows)
            for p in (images.defend, images.evaluate)
        )
    )
    assert "2 of 24 held-back" in found(logits, twice)["duplicates"]


def test_pictures_in_two_classes_are_said() -> None:
    images = levels(16)
    pixels = images.defend.pixels.clone()
    first, second = ((images.defend.targets == label).nonzero()[:2, 0] for label in (0, 1))
    for part, rows in ((images.defend, second), (images.evaluate, second[:1])):
        pixels[part.rows[rows]] = pixels[images.defend.rows[first[: len(rows)]]]
    changed = Split(*(replace(part, pixels=pixels) for part in (images.defend, images.evaluate)))
    said = found(logits, changed)["contradictions"]
    assert said.startswith("2 pictures lie in several classes, such as in 'level 0' and 'level 1'")
    assert "contradictions" not in found(logits, images)


def test_no_image_of_a_class_is_too_few() -> None:
    images = levels()
    only = images.evaluate.subset((images.evaluate.targets != 2).nonzero()[:, 0])
    with pytest.raises(InsufficientDataError):
        found(logits, Split(images.defend, only))


def test_the_result_of_a_scan_says_what_was_seen() -> None:
    images = levels(64).defend
    result = api.scan(
        lambda x: logits(x).softmax(1),
        images.pixels,
        images.labels,
        space="patch:1",
        settings=SMALL,
    )
    assert [finding.check for finding in result.preflight] == ["softmax"]
    assert results.encode(result).count(b"probabilities") == 1


def test_blank_images_are_said_and_are_no_duplicates() -> None:
    images = levels(16)
    blank = images.defend.pixels.clone()
    blank[images.defend.rows[:3]] = blank[images.evaluate.rows[:2].repeat(2)[:3]] = 255
    changed = Split(*(replace(p, pixels=blank) for p in (images.defend, images.evaluate)))
    said = found(logits, changed)
    assert "5 of 64 pictures have one colour" in said["blank"]
    assert "duplicates" not in said


def test_what_was_done_to_the_pictures_is_said_once() -> None:
    images = levels(16)
    read = Intake(
        read=64,
        passed_over={".heic": 3, ".txt": 1},
        turned=5,
        first_of_several=2,
        transparent=4,
        scaled=6,
        white=4095,
        clipped=1,
    )
    said = found(
        logits, Split(*(replace(p, intake=read) for p in (images.defend, images.evaluate)))
    )
    assert "5 of 64 pictures were turned upright" in said["orientation"]
    assert "2 files hold several" in said["several pictures"]
    assert "4 pictures have transparent parts" in said["transparency"]
    assert "0 to 4,095" in said["range"]
    assert "1 pictures have values that lie beyond 0 to 4,095" in said["clipped values"]
    assert "3 .heic" in said["formats"]
    assert ".txt" not in said["formats"]


def test_other_counts_of_classes_have_a_remedy_each() -> None:
    def more(images: Tensor) -> Tensor:
        return nn.functional.pad(logits(images), (2, 3), value=-90.0)

    with pytest.raises(ContentError, match="9 classes and the data 4; write the index") as error:
        found(more)
    written = json.loads(re.findall(r"{.*}", str(error.value))[0])
    images = levels()
    assert found(more, images.relabelled(written, 9)).keys() == {"absent classes"}
    with pytest.raises(ContentError, match="do not show which") as error:
        found(lambda pixels: more(pixels.mean(0, keepdim=True).expand_as(pixels)))
    assert not re.findall(r'": \d', str(error.value))
    with pytest.raises(
        ContentError, match=r"3 classes and the data 4 \(level 0, level 1, .*remove"
    ):
        found(lambda pixels: logits(pixels)[:, :3])


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_later_images_that_are_labelled_otherwise_are_seen(share: float) -> None:
    images = levels()
    labels = images.evaluate.labels.clone()
    last = images.evaluate.rows[-round(share * len(images.evaluate)) :]
    labels[last] = (labels[last] + 1) % CLASSES
    mixed = Split(images.defend, replace(images.evaluate, labels=labels))
    said = found(logits, mixed)
    assert list(said) == ["later images"]
    assert "for 100% of 64 of the first images of each class and for only" in said["later images"]


def test_classes_without_pictures_are_named() -> None:
    images = levels(16)
    kept = [p.subset((p.targets != 2).nonzero()[:, 0]) for p in (images.defend, images.evaluate)]
    assert (
        "no pictures of 1 of the 4 classes (level 2)"
        in found(logits, Split(*kept))["absent classes"]
    )


def test_labels_that_begin_at_one_are_the_cause_that_is_named() -> None:
    labels = torch.arange(128) % CLASSES + 1
    pixels = torch.randint(256, (128, 3, 8, 8), generator=stream(0, "one")).to(torch.uint8)
    images = Split(*Images.of("one", tuple("01234"), pixels, labels).divide(5 / 8))
    with pytest.raises(ContentError, match="labels of the data go from 1 to 4; number"):
        check(Net(logits), images)
