"""A network that is right too seldom always gets a finding, and the arguments that help it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_preflight import CLASSES, Net, found, levels, logits
from torch import Tensor, nn

from unbackdoor.app.inputs import read_labels
from unbackdoor.data import Split
from unbackdoor.data.images import joined
from unbackdoor.errors import ContentError
from unbackdoor.models import Normalise
from unbackdoor.preflight import adapt, check
from unbackdoor.preflight.look import LOOKED_AT
from unbackdoor.preflight.remedies import COLOURED, FINE, GREY, MOST, seen_by

ORDER = [2, 0, 3, 1]


def trained_on(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """A network for pictures that were prepared so; of others it is sure of nothing."""
    first, second = (torch.tensor(x).reshape(1, -1, 1, 1) for x in (mean, std))
    return lambda x: logits(x * second + first)


def flags_of(text: str) -> tuple[list[float], list[float]]:
    (mean, std) = re.findall(r"(?:--mean((?: \d[\d.e-]*)+) )?--std((?: \d[\d.e-]*)+)", text)[0]
    numbers = [float(x) for x in std.split()]
    return [float(x) for x in mean.split()] or [0.0] * len(numbers), numbers


@pytest.mark.parametrize("order", [list(range(CLASSES)), ORDER], ids=["range", "range and order"])
def test_order_and_range_are_found_together_and_the_remedy_works(
    order: list[int], tmp_path: Path
) -> None:
    network = Net(lambda x: trained_on((0.5,) * 3, (0.5,) * 3)(x)[:, order])
    images = levels(48)
    try:
        text = found(network.call, images)["accuracy"]
    except ContentError as error:
        text = str(error)
    mean, std = flags_of(text)
    names = [f"level {index}" for index in range(CLASSES)]
    labels = dict(zip(names, range(CLASSES), strict=True))
    if order == ORDER:
        (tmp_path / "labels.json").write_text(re.findall(r"\{.*\}", text)[0])
        labels = read_labels(tmp_path / "labels.json")
        assert labels == {names[cls]: index for index, cls in enumerate(order)}
    cleared = adapt(network, images, Normalise(mean, std))
    relabelled = cleared.images.relabelled(labels, CLASSES)
    assert check(cleared.network, relabelled, prepared=True) == ()


def test_an_order_alone_is_no_range() -> None:
    with pytest.raises(
        ContentError, match="another order, in which 100% are right: write"
    ) as caught:
        found(lambda x: logits(x)[:, ORDER], levels(48))
    order = json.loads(re.findall(r"\{.*\}", str(caught.value))[0])
    assert order == {f"level {cls}": index for index, cls in enumerate(ORDER)}


def test_a_range_is_not_named_where_the_order_explains_more() -> None:
    """Its order shows clearly only in another range, in which it is right less often."""

    def network(images: Tensor) -> Tensor:
        means = images.mean((1, 2, 3))
        shifted = (means < 0) | ((means - 0.22).abs() < 0.08) | ((means - 0.76).abs() < 0.05)
        plain = torch.where(shifted[:, None, None, None], (images + 1) / 2, images)
        drawn = (plain[:, 0, 0, 0] * 255).round() % 10
        right = logits(plain)
        last = right.argmax(1) == CLASSES - 1
        wrong = torch.where(shifted, drawn < 2.5, last & (drawn < 6))
        return torch.where(wrong[:, None], right.roll(-1, 1), right)[:, ORDER]

    with pytest.raises(ContentError, match="another order, in which") as caught:
        found(network, levels(64))
    assert "--std" not in str(caught.value)
    order = json.loads(re.findall(r"\{.*\}", str(caught.value))[0])
    assert order == {f"level {cls}": index for index, cls in enumerate(ORDER)}


def test_a_grey_network_gets_the_ranges_of_grey_ones() -> None:
    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)
            nn.init.ones_(self.conv.weight)

        def forward(self, images: Tensor) -> Tensor:
            return logits(self.conv(images) * 0.3081 + 0.1307)

    network = Grey().eval()
    try:
        cleared = adapt(network, levels(48))
        text = " ".join(f.remedy for f in check(cleared.network, cleared.images))
    except ContentError as error:
        text = str(error)
    assert "--mean 0.1307 --std 0.3081" in text
    cleared = adapt(network, levels(48), Normalise(*flags_of(text)))
    assert check(cleared.network, cleared.images, prepared=True) == ()


def test_below_the_bar_there_is_always_a_finding() -> None:
    def often_wrong(images: Tensor) -> Tensor:
        """Right about two of four levels."""
        return logits(images) - torch.tensor([0.0, 0.0, 99.0, 99.0])

    said = found(often_wrong)["accuracy"]
    assert "only 50%" in said
    assert "--labels, --size, --mean and --std" in said
    cleared = adapt(Net(often_wrong), levels())
    (finding,) = check(cleared.network, cleared.images, prepared=True)
    assert "--mean" not in finding.remedy


def right_on(here: float, there: float) -> Net:
    """A network that is right on such shares of pictures in [0, 1] and in [−1, 1]."""

    def network(images: Tensor) -> Tensor:
        scaled = bool((images < -0.5).any())
        seen = (images + 1) / 2 if scaled else images
        noise = (seen[:, 0, 0, 0] * 255).round().remainder(70) / 30  # uniform, whatever the level
        return logits(seen) * torch.where(noise < (there if scaled else here), 1.0, -1.0)[:, None]

    return Net(network)


@pytest.mark.parametrize("here", [FINE - 0.1, FINE + 0.1])
def test_ranges_in_which_a_good_network_is_clearly_worse_get_few_images(here: float) -> None:
    passed = 0

    def count(_: nn.Module, arguments: tuple[Tensor]) -> None:
        nonlocal passed
        passed += len(arguments[0])

    network, images = right_on(here, 0.0), levels(256).defend
    network.register_forward_pre_hook(count)
    seen = seen_by(network, images, prepared=False)
    if here < FINE:
        assert [one.flags for one in seen] == ["", *COLOURED]
        assert passed == MOST * len(seen)
    else:
        assert [one.flags for one in seen] == [""]
        assert passed == MOST + LOOKED_AT * (1 + len(COLOURED))


def test_no_range_is_left_out_where_a_network_always_names_the_most_frequent_class() -> None:
    images = levels(256).defend
    more = (images.targets == 0).nonzero()[:, 0].repeat(8)
    unequal = images.subset(torch.cat([torch.arange(len(images)), more]))
    constant = Net(lambda x: torch.eye(CLASSES)[torch.zeros(len(x), dtype=torch.int64)])
    seen = seen_by(constant, unequal, prepared=False)
    assert seen[0].accuracy >= FINE
    assert [one.flags for one in seen] == ["", *COLOURED]


def test_what_another_range_gives_is_measured_on_many_images_and_said() -> None:
    """Below one half nobody gets a verdict who has neither taken it nor turned it down."""
    images = levels(256)
    with pytest.raises(
        ContentError,
        match=r"; with --mean 0.5 --std 0.5 it is right on 7\d% of 512 images, and without on "
        r"4\d%; add that, or --mean 0 --std 1 to scan it as it is\.",
    ):
        check(right_on(0.4, 0.7), images)
    network = right_on(0.4, 0.7)
    cleared = adapt(network, images, Normalise([0.0], [1.0]))
    (finding,) = check(cleared.network, cleared.images, prepared=True)
    assert finding.severity == "warning"
    (finding,) = check(right_on(0.55, 0.7), images)
    assert re.match(r"With --mean 0.5 --std 0.5 it is right on 7\d% of 512", finding.remedy)
    (finding,) = check(right_on(0.6, 0.65), images)
    assert "--labels, --size, --mean and --std" in finding.remedy


def test_what_chance_gives_a_range_is_no_remedy() -> None:
    images = levels(16)
    assert len(images.defend) == 40
    (finding, *_) = check(right_on(0.55, 0.65), images)
    assert "Check that the data" in finding.remedy


@pytest.mark.parametrize("ranges", [COLOURED, GREY])
def test_the_flags_of_a_range_do_what_it_does(
    ranges: dict[str, Callable[[Tensor], Tensor]],
) -> None:
    images = torch.rand(2, 3, 4, 4)
    for flags, change in ranges.items():
        assert torch.allclose(Normalise(*flags_of(flags))(images), change(images), rtol=1e-4)


def prepared_for(network: nn.Module, images: Split, mean: float, std: float) -> list[str]:
    """What is said of a network where the user says a range."""
    cleared = adapt(network, images, Normalise([mean], [std]))
    found = check(cleared.network, cleared.images, prepared=True)
    return [f"{finding.sentence} {finding.remedy}" for finding in found]


def test_a_range_that_was_said_and_is_far_from_the_best_is_said_to_be() -> None:
    images = levels(256)
    (said,) = prepared_for(right_on(0.7, 0.5), images, 0.5, 0.5)
    assert re.search(
        r"With --mean 0 --std 1 it is right on 7\d% of 512 images, and with the range that was "
        r"said on 5\d%\.$",
        said,
    )
    (said,) = prepared_for(right_on(0.55, 1.0), images, 0.0, 1.0)
    assert said.endswith(
        "Check that the data and --labels and --size are those that it was trained with."
    )
    with pytest.raises(ContentError, match=r"guessing; with --mean 0 --std 1 .* say that instead"):
        prepared_for(right_on(1.0, 0.2), images, 0.5, 0.5)


def test_a_network_that_is_right_often_gets_the_range_in_which_it_is_right_more_often() -> None:
    (said,) = check(right_on(0.78, 1.0), levels(256))
    assert "With --mean 0.5 --std 0.5 it is right on 100%" in said.remedy
    assert check(right_on(0.78, 0.8), levels(256)) == ()


def test_a_network_without_gradients_in_one_range_gets_that_in_which_it_has_some() -> None:
    """Behind a ReLU that is dead in [0, 1] the answers still differ a little, by rounding."""

    def asleep(images: Tensor) -> Tensor:
        if bool((images < 0).any()):
            return logits((images + 1) / 2)
        return (-1000 * logits(images)).round() * 1e-6 + 0 * images.sum()

    with pytest.raises(ContentError, match=r"as gradients .* with --mean 0.5 --std 0.5 it is"):
        found(asleep, levels(48))


def test_two_unequal_classes_are_guessed_where_most_answers_are_the_larger_one() -> None:
    """It is right on most of all, and on half of either class: nothing would be searched."""
    images = levels(360)
    parts = (images.defend, images.evaluate)
    rare = [part.subset((part.targets == 0).nonzero()[::4, 0]) for part in parts]
    often = [part.subset((part.targets == 1).nonzero()[:, 0]) for part in parts]
    unequal = Split(*(joined([a, b]) for a, b in zip(rare, often, strict=True)))

    def network(images: Tensor) -> Tensor:
        if bool((images < 0).any()):
            return logits((images + 1) / 2)
        return images.mean((1, 2, 3))[:, None] * torch.tensor([0.0, 1.0, 0.0, 0.0])

    with pytest.raises(ContentError, match=r"guessing; with --mean 0.5 --std 0.5 .* 100%"):
        found(network, unequal)


def test_a_range_that_does_about_as_well_is_named_beside_the_best() -> None:
    """Of pictures from −1 on it reads brightness alone, so that no range is better than another."""

    def network(images: Tensor) -> Tensor:
        means = images.mean((1, 2, 3))
        ranks = means.argsort().argsort()[:, None] * CLASSES / len(means)
        right = -40 * (ranks - torch.arange(CLASSES) - 0.5).square() + 0 * means[:, None]
        return right if bool((images < 0).any()) else logits(images).roll(1, 1) + right * 1e-6

    images = levels(96)
    with pytest.raises(
        ContentError, match=r"with (--mean \S+ .*) \((--mean .*) does about as well"
    ):
        found(network, images)
