"""Pictures that a network was trained to see turned are recognised, and the remedy works."""

from __future__ import annotations

import pytest
import torch
from test_preflight import CLASSES, Net, found
from torch import Tensor

from unbackdoor.data import Images, Split
from unbackdoor.preflight.remedies import seen_by
from unbackdoor.preflight.turned import BLUE_FIRST, NEGATIVE, SWAPPED, Turn, turned_for
from unbackdoor.rng import stream

SIDE = 8


def bands(channels: int = 3) -> Split:
    """Dark pictures with an orange block, whose rows tell the class and whose columns nothing."""
    labels = torch.arange(48 * CLASSES) % CLASSES
    generator = stream(0, "bands")
    pixels = torch.randint(30, (len(labels), channels, SIDE, SIDE), generator=generator)
    columns = torch.randint(SIDE // 2, (len(labels),), generator=generator)
    for picture, label, column in zip(pixels, labels, columns, strict=True):
        block = picture[:, 2 * label : 2 * label + 2, 2 * column : 2 * column + 2]
        block += torch.tensor([200, 100, 0])[:channels, None, None]
    names = tuple(f"band {label}" for label in range(CLASSES))
    return Split(*Images.of("bands", names, pixels.to(torch.uint8), labels).divide(5 / 8))


def answers(images: Tensor) -> Tensor:
    """Tell in which rows there is most red, and least blue."""
    warm = images[:, 0] - (images[:, 2] if images.shape[1] == 3 else 0)
    return 40 * warm.mean(2).reshape(len(images), CLASSES, -1).mean(2)


def tones(images: Tensor) -> Tensor:
    """Tell in which rows there is most light."""
    return 40 * images.mean((1, 3)).reshape(len(images), CLASSES, -1).mean(2)


@pytest.mark.parametrize("turn", [BLUE_FIRST, SWAPPED, NEGATIVE])
def test_pictures_that_have_to_be_turned_are_said_and_the_code_works(turn: Turn) -> None:
    tell = tones if turn is NEGATIVE else answers
    told = found(lambda images: tell(turn.change(images)), bands())["accuracy"]
    assert turn.words in told
    assert "right on 100%" in told
    images = bands().defend.batch(torch.arange(6))
    turned = eval(turn.code, {"images": images})
    assert torch.equal(turned, turn.change(images))
    assert "accuracy" not in found(
        lambda images: answers(turn.change(turn.change(images))), bands()
    )


def turned(network: Net, images: Images) -> str | None:
    """What is said, after the pictures were tried as they are."""
    return turned_for(network, images, seen_by(network, images, prepared=False)[0].right)


def test_nothing_is_said_where_no_turn_helps() -> None:
    assert turned(Net(answers), bands().defend) is None
    assert turned(Net(lambda images: tones(images) * 0 + images.std()), bands().defend) is None


def test_grey_pictures_have_no_blue_channel() -> None:
    grey = bands(1).defend
    assert turned(Net(lambda images: answers(images.mT)), grey) is not None
    assert turned(Net(answers), grey) is None
