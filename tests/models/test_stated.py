"""What a folder says of its network is believed: pictures are prepared as its library does it."""

from __future__ import annotations

import pytest
import torch

from unbackdoor.models import Normalise
from unbackdoor.models.stated import of_timm, of_transformers

CLASSES = {"id2label": {"0": "north", "1": "sea horse, sea-dragon", "2": "West"}}


@pytest.mark.parametrize(
    "processor",
    [
        {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]},
        {"image_mean": [0.2, 0.2, 0.2], "image_std": [0.3, 0.3, 0.3], "rescale_factor": 1 / 127.5},
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
        {"do_normalize": False, "do_rescale": False},
        {"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True},
    ],
)
def test_pictures_are_prepared_as_the_processor_does(processor: dict[str, object]) -> None:
    pixels = torch.randint(256, (2, 3, 4, 4)).double()
    values = pixels * float(processor.get("rescale_factor", 1 / 255))  # pyright: ignore
    values = values if processor.get("do_rescale", True) else pixels
    values = values - 1 if processor.get("rescale_offset") else values
    if processor.get("do_normalize", True):
        mean, std = (
            torch.tensor(processor[key], dtype=torch.float64).reshape(3, 1, 1)
            for key in ("image_mean", "image_std")
        )
        values = (values - mean) / std
    stated = of_transformers({}, processor)
    assert stated.mean is not None
    assert stated.std is not None
    prepared = Normalise(stated.mean, stated.std)((pixels / 255).float())
    assert torch.allclose(prepared.double(), values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "side"),
    [
        (224, 224),
        ({"height": 32, "width": 32}, 32),
        ({"shortest_edge": 256}, 256),
        ({"height": 32, "width": 48}, None),
        (10**9, None),
        (True, None),
        ("224", None),
    ],
)
def test_the_side_of_its_pictures(size: object, side: int | None) -> None:
    assert of_transformers({}, {"size": size}).size == side


def test_classes_are_known_by_their_names() -> None:
    stated = of_transformers(CLASSES, {})
    assert stated.indices(["west", "North"]) == {"west": 2, "North": 0}
    assert stated.indices(["sea_dragon", "north"]) == {"sea_dragon": 1, "north": 0}
    assert stated.indices(["north", "east"]) is None  # one is not known: nothing is guessed
    assert stated.indices(["sea horse", "sea-dragon"]) is None  # one class of the network twice
    assert stated.indices(["north", "sea horse", "west"]) is None  # the order that they have
    generic = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    assert of_transformers(generic, {}).classes == ()


@pytest.mark.parametrize(
    "nonsense",
    [
        {"image_mean": ["NaN", 1e400, None], "image_std": [0, 0, 0]},
        {"image_mean": [0.5] * 9, "image_std": 0.5, "rescale_factor": -1e999},
        {"image_mean": {}, "size": {"height": []}},
    ],
)
def test_nonsense_is_not_believed(nonsense: dict[str, object]) -> None:
    stated = of_transformers({"id2label": {"x": 1, "9" * 50: "y", "1": "z"}}, nonsense)
    assert stated.mean is None
    assert stated.classes == ()


def test_a_folder_of_timm() -> None:
    described = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 48, 48]}
    stated = of_timm({"label_names": ["b", "a"], "pretrained_cfg": described})
    assert (stated.mean, stated.std, stated.size) == ((0.5,) * 3, (0.25,) * 3, 48)
    assert stated.indices(["a", "b"]) == {"a": 1, "b": 0}
    assert of_timm({"label_names": 3, "pretrained_cfg": []}).classes == ()
