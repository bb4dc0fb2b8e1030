from __future__ import annotations

import pytest
import torch

from unbackdoor.models import ARCHITECTURES, Normalise


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("side", [32, 15, 9, 3])
def test_every_architecture_maps_pictures_to_logits(arch: str, side: int) -> None:
    model = ARCHITECTURES[arch](7).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize(
    ("arch", "parameters"), [("resnet20", 269_722 + 2_752), ("resnet18", 11_173_962)]
)
def test_sizes_are_the_published_ones(arch: str, parameters: int) -> None:
    """ResNet-20 has 269,722; its two 1×1 shortcuts with their norms add 2,752."""
    assert sum(p.numel() for p in ARCHITECTURES[arch](10).parameters()) == parameters


def test_normalisation_is_per_channel_and_travels_with_the_weights() -> None:
    layer = Normalise((0.0, 0.5, 1.0), (1.0, 0.5, 0.25))
    out = layer(torch.full((1, 3, 2, 2), 0.5))
    assert out[0, :, 0, 0].tolist() == [0.5, 0.0, -2.0]
    assert set(layer.state_dict()) == {"mean", "std"}
    assert not list(layer.parameters())
