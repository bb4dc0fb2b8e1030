"""The reversed trigger is one that works, for a classifier that obeys a white pixel."""

from __future__ import annotations

import torch
from torch import nn

from unbackdoor.data import Images
from unbackdoor.detectors.neural_cleanse import reverse
from unbackdoor.detectors.settings import ReversalSettings
from unbackdoor.metrics import attack_success
from unbackdoor.models import freeze
from unbackdoor.rng import stream
from unbackdoor.triggers.patch import Patch


class Obeys(nn.Module):
    """Class 1 where any pixel is white in every colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = 30 * (images.amin(1).flatten(1).amax(1) - 0.8)
        return torch.stack([torch.zeros_like(white), white], 1)


def test_it_finds_a_trigger_that_works_and_another_start_another() -> None:
    pixels = torch.randint(40, (60, 3, 8, 8), dtype=torch.uint8, generator=stream(0, "pixels"))
    images = Images.of("noise", ("a", "b"), pixels, torch.zeros(60, dtype=torch.int64))
    model, space = freeze(Obeys()), Patch(2)
    settings = ReversalSettings(steps=100, batch=8, learning_rate=0.3)
    one, two, again = (
        reverse(model, images, space, 1, settings, generator=stream(seed, "start"))
        for seed in (0, 1, 0)
    )
    assert model.passes == model.backward_passes == 3 * 100 * 8
    assert torch.equal(one, again)
    assert not torch.allclose(one, two, atol=0.1)
    for theta in (one, two):
        assert 0 <= float(theta.min()) <= float(theta.max()) <= 1
        rate = attack_success(model, images, space, theta[None], 1, generator=stream(0, "places"))
        assert rate == 1
